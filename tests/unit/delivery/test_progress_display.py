"""The live screen and its lines: what they say, how wide they are, where nothing moves."""

import sys
from datetime import timedelta
from pathlib import Path

import pytest
from rich.console import Console

from delivery.ledger.run import Heartbeat, Run
from delivery.ledger.shard_status import read_status
from delivery.progress import Progress, measure
from delivery.progress_display import LineDisplay, ScreenDisplay, display, draw
from delivery.progress_text import plain_line, total_parts, wrap
from tests.support.ledgers import at, fail, finish, made_run
from tests.support.terminal_screen import run_on_terminal

MIB = 1 << 20


def progress(run: Run, seconds: float, workers: int = 0) -> Progress:
    """Progress at a time, with so many workers of 80 MiB."""
    beats = [
        Heartbeat(worker=f"w{n}", tier="2gi", key="s0/03", rss_bytes=80 * MIB, at=at(seconds))
        for n in range(workers)
    ]
    return measure(run, read_status(run), beats, {}, at(seconds))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A pyramid of seven shards."""
    return made_run(tmp_path)


def test_a_run_under_way(run: Run) -> None:
    """Every number of the whole, with its word; the time left is work over busy workers."""
    finish(run, "s0/00", chunks=100, bytes_out=3 * MIB)
    finish(run, "s0/01", chunks=100, bytes_out=3 * MIB)
    parts = total_parts(progress(run, 10, workers=2))
    assert parts == [
        "2 of 7 shards done",
        "28 %",
        "20 chunk/s",
        "6.0 MiB written",
        "2 workers, 160 MiB",
        "10 s elapsed",
        "about 25 s left",
        "0 dead",
    ]


def test_the_beginning(run: Run) -> None:
    """What happens until a worker is heard of; then it is counted."""
    assert total_parts(progress(run, 1), beginning="starting workers") == [
        "0 of 7 shards done",
        "0 %",
        "starting workers",
        "0 dead",
    ]
    assert "1 worker, 80 MiB" in total_parts(progress(run, 1, 1), beginning="starting workers")
    assert "no workers" in total_parts(progress(run, 1))


def test_large_shards(run: Run) -> None:
    """Until the first is finished, chunks that are done in shards in work show that it goes on."""
    beats = [Heartbeat(worker=f"w{n}", tier="2gi", key=f"s0/0{n}", chunks=70, at=at(9))
             for n in range(2)]  # fmt: skip
    assert "140 chunks in work" in total_parts(measure(run, read_status(run), beats, {}, at(9)))
    assert "140 chunks in work" not in total_parts(
        measure(run, read_status(run), beats, {}, at(900))
    )
    finish(run, "s0/03")
    parts = total_parts(measure(run, read_status(run), beats, {}, at(9)))
    assert not [part for part in parts if "in work" in part]


def test_a_run_that_is_over(run: Run) -> None:
    """It took some time; none is left, and no worker is missed."""
    fail(run, "s0/00")
    for key in ("s0/01", "s0/02", "s0/03"):
        finish(run, key)
    finish(run, "s1/01", inputs={"s0/02": "crc-a=", "s0/03": "crc-a="})
    parts = total_parts(progress(run, 500))
    assert parts[0] == "4 of 7 shards done"
    assert parts[-2:] == ["1 dead", "2 blocked"]
    assert [part for part in parts if "took" in part] == ["took 9.0 s"]
    assert not [part for part in parts if "left" in part or "worker" in part]


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_lines_fit(run: Run, width: int) -> None:
    """Six columns stay free; no part is divided, no bar without room."""
    finish(run, "s0/00", chunks=100_000_000)
    fail(run, "s0/01")
    screen = draw(progress(run, 10, workers=2), width).plain.splitlines()
    assert max(map(len, screen)) <= max(width - 6, 20)
    assert any("━" in line for line in screen) == (width >= 80)
    if width >= 80:
        header = next(line for line in screen if line.startswith("scale"))
        assert header.split() == ["scale", "done", "chunk/s", "dead", "blocked"]
        assert next(line for line in screen if line.startswith("s0")).split()[-2:] == ["1", "0"]
        assert "x" in next(line for line in screen if line.startswith("s1"))  # blocked


def test_a_narrow_screen_has_bars(run: Run) -> None:
    """At 40 columns, as long as nothing is dead."""
    finish(run, "s0/00")
    screen = draw(progress(run, 10, workers=1), 40).plain.splitlines()
    assert [line.split()[0] for line in screen if "─" in line] == ["s0", "s1", "s2"]
    ascii_only = draw(progress(run, 10, workers=1), 40, plain=True).plain
    assert "#" in ascii_only
    assert not [c for c in ascii_only if c in "━─"]


def test_wrap() -> None:
    """As many parts in a line as fit."""
    assert wrap(["aa", "bb", "cc"], 7) == ["aa · bb", "cc"]
    assert wrap(["a" * 9, "b"], 7) == ["a" * 9, "b"]


def test_lines_for_logs(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """When due and only what is new; the last one always."""
    clock = [0.0]
    lines = LineDisplay("starting workers", clock=lambda: clock[0])
    with lines:
        lines.show(progress(run, 0))
        lines.show(progress(run, 0))
        finish(run, "s0/00")
        lines.show(progress(run, 1))
        clock[0] = 5.0
        lines.show(progress(run, 1))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0] == (
        "0 of 7 shards done · 0 % · starting workers · 0 dead · s0 0/4  s1 0/2  s2 0/1"
    )
    assert said[1] == plain_line(progress(run, 1))


def test_where_nothing_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe and a dumb terminal get lines; a terminal gets a screen."""
    assert isinstance(display(), LineDisplay)
    monkeypatch.setattr(Console, "is_terminal", property(lambda _: True))
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(display(), LineDisplay)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert isinstance(display(), ScreenDisplay)


SCRIPT = """
import sys, time
from datetime import timedelta
from delivery.ledger.run import Run
from delivery.ledger.shard_status import read_status
from delivery.messages import now
from delivery.progress import read_progress
from delivery.progress_display import display
from runtime.cli import print_stderr
run = Run.open(sys.argv[1])
try:
    with display("starting workers") as shown:
        while True:
            shown.show(read_progress(run, None, read_status(run), now()))
            time.sleep(0.05)
except KeyboardInterrupt:
    print_stderr("note: stopping")
"""


@pytest.mark.parametrize("columns", [40, 80])
def test_ctrl_c_leaves_one_screen(run: Run, tmp_path: Path, columns: int) -> None:
    """No bar stays twice, though the terminal echoes `^C` behind the last one."""
    finish(run, "s0/00")
    command = [sys.executable, "-c", SCRIPT, run.uri]
    shown = run_on_terminal(
        command, tmp_path, columns=columns, interrupt_at=lambda text: "s2" in text,
        PYTHONPATH=str(Path(__file__).parents[3]),
    )  # fmt: skip
    assert "starting workers ..." in shown.seen
    firsts = [line.split()[0] for line in shown.lines if line.startswith("s")]
    assert firsts == ["scale", "s0", "s1", "s2"]
    assert [line for line in shown.lines if line][-1] == "note: stopping"
    assert sum("of 7 shards done" in line for line in shown.lines) == 1


def test_a_dumb_terminal_gets_lines(run: Run, tmp_path: Path) -> None:
    """No cursor is moved."""
    finish(run, "s0/00")
    command = [sys.executable, "-c", SCRIPT, run.uri]
    shown = run_on_terminal(
        command, tmp_path, columns=120, interrupt_at=lambda text: "s2 0/1" in text,
        PYTHONPATH=str(Path(__file__).parents[3]), TERM="dumb",
    )  # fmt: skip
    assert shown.lines[0].startswith("1 of 7 shards done · 14 % · ")
    assert "━" not in shown.seen


def test_elapsed_begins_with_the_first_shard(run: Run) -> None:
    """Also while none is finished: by the heartbeats."""
    beat = Heartbeat(worker="w", tier="2gi", key="s0/00", at=at(20), since=at(4))
    found = measure(run, read_status(run), [beat], {}, at(24))
    assert found.elapsed_s == timedelta(seconds=20).total_seconds()
