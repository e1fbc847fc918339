"""`status --watch`: bars and a map on a terminal, plain lines elsewhere; the picture at the end."""

import io
import sys
import time
from pathlib import Path

import pytest

from delivery.ledger.run import Run
from producer.end_picture import show_end_picture
from producer.synthetic_export import SyntheticVolume
from tests.support.commands import run_in_process
from tests.support.ledgers import fail, finish, made_run, row
from tests.support.run_harness import small_spec
from tests.support.terminal_screen import run_on_terminal
from tests.support.volumes import write_volume

SIZE = (256, 64, 64)  # four shards of one chunk
STATUS = ("-m", "producer", "status", "--watch", "--run")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Four shards side by side: two done, one failed, one ready."""
    spec = small_spec(SIZE, 1)
    write_volume(tmp_path / "out", spec.to_info(), SyntheticVolume(SIZE).labels((0, 0, 0), SIZE))
    rows = [row(f"s0/{number}") for number in range(4)]
    made = made_run(
        tmp_path / "out.runs", rows, downres=(), volume=spec.to_info(), dest=str(tmp_path / "out")
    )
    finish(made, "s0/0")
    finish(made, "s0/1")
    fail(made, "s0/2")
    return made


@pytest.mark.parametrize("columns", [40, 80])
def test_a_run_on_a_terminal(run: Run, tmp_path: Path, columns: int) -> None:
    """The run, its bars, its map and a legend; then what is to be done. It ends with the run."""
    finish(run, "s0/3")
    command = [sys.executable, *STATUS, run.uri]
    root = str(Path(__file__).parents[2])
    shown = run_on_terminal(command, tmp_path, columns=columns, PYTHONPATH=root)
    assert shown.exit_code == 0
    text = "\n".join(shown.lines)
    assert text.startswith(f"run {run.run_id}")
    assert "3 of 4 shards done · 75 %" in text
    assert "1 dead" in text
    assert text.index("shards done") < text.index("█ done  █ failed") < text.index("1 shard: s0/2")
    at = shown.lines.index("s0")  # above its map
    assert shown.lines[at + 1] == "▀▀▀▀"
    plain = run_on_terminal(command, tmp_path, columns=columns, PYTHONPATH=root, NO_COLOR="1")
    assert "##F#" in plain.lines
    dumb = run_on_terminal(command, tmp_path, columns=columns, PYTHONPATH=root, TERM="dumb")
    assert "▀" not in dumb.seen
    assert "##F#" in dumb.lines
    assert "took" in dumb.seen


def test_a_run_in_a_pipe(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line when something has changed; at the end what `status` prints."""
    pauses = iter(range(9))

    def pause(_: float) -> None:
        if next(pauses) == 1:
            finish(run, "s0/3")

    monkeypatch.setattr(time, "sleep", pause)
    shown = run_in_process("producer", *STATUS[2:], run.uri, folder=tmp_path)
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert lines[0].startswith("2 of 4 shards done · 50 % · ")
    assert lines[0].endswith(" · no workers · 1 dead · s0 2/4") or " elapsed · 1 dead" in lines[0]
    assert lines[1] == f"run {run.run_id}: ended with shards that are not done, 3 of 4 shards"
    whole = run_in_process("producer", "status", "--run", run.uri, folder=tmp_path)
    assert "\n".join(lines[1:]) == whole.stdout.rstrip("\n")


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        """It is one."""
        return True


def test_a_picture_at_the_end(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal with many colours; elsewhere, and of a volume that is gone, nothing."""
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "TMUX", "STY", "TERM_PROGRAM", "KITTY_WINDOW_ID", "LC_TERMINAL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLORTERM", "truecolor")
    terminal, pipe = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    show_end_picture(run)
    lines = terminal.getvalue().splitlines()
    assert lines[-1].startswith("a slice at z ")
    assert all(line.startswith("\x1b[38;2;") for line in lines[:-1])
    monkeypatch.setattr(sys, "stderr", pipe)
    show_end_picture(run)
    assert pipe.getvalue() == ""
    gone = Terminal()
    monkeypatch.setattr(sys, "stderr", gone)
    (Path(run.info.dest) / "info").unlink()
    for shard in Path(run.info.dest).rglob("*.shard"):
        shard.write_bytes(b"x")
    show_end_picture(run)
    assert gone.getvalue() == ""
