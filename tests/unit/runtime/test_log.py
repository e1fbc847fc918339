"""Logs: on stderr, for people or as JSON, filtered by level."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from runtime import log, log_events
from tests.support.event_table import EVENTS_MD, events_md

ROOT = Path(__file__).resolve().parents[3]
ROOMS = ("runtime", "delivery", "memmodel", "producer", "consumer", "infra", "shardlift")

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _unconfigured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOG_LEVEL", raising=False)
    monkeypatch.delenv("LOG_FORMAT", raising=False)
    structlog.reset_defaults()


def test_away_from_a_terminal_each_event_is_a_json_line(capsys: Captured) -> None:
    """With level, time, the event's name and its fields; nothing on stdout."""
    log.configure()
    log.get(shard="s0/0a").info(log_events.SHARD_DONE, chunks=3, where=object)
    captured = capsys.readouterr()
    line = json.loads(captured.err)
    assert captured.out == ""
    assert line["event"] == "shard_done"
    assert (line["shard"], line["chunks"], line["level"]) == ("s0/0a", 3, "info")
    assert line["timestamp"].endswith("Z")


def test_people_get_text(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """By LOG_FORMAT, or because the program asks."""
    monkeypatch.setenv("LOG_FORMAT", "human")
    log.configure()
    log.get().warning(log_events.LEASE_LOST, tier="2gi")
    text = capsys.readouterr().err
    assert "lease_lost" in text
    assert "tier=2gi" in text
    assert not text.startswith("{")


@pytest.mark.parametrize("log_format", ["human", "json"])
def test_commands_work_where_the_program_was_started(
    log_format: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hint names the command that was typed, also in a worker of a fleet."""
    monkeypatch.setenv("LOG_FORMAT", log_format)
    monkeypatch.setenv("SHARDLIFT_COMMAND", "env/bin/shardlift")
    log.configure()
    hint = "delete it and run `python -m producer replay --missing`"
    log.get().warning(log_events.RUN_DAMAGED, run="r", reason="", hint=hint)
    assert "`env/bin/shardlift replay --missing`" in capsys.readouterr().err


def test_the_level_filters(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below it nothing is printed."""
    monkeypatch.setenv("LOG_LEVEL", "ERROR")
    log.configure(json=True)
    log.get().warning(log_events.LEASE_LOST)
    assert capsys.readouterr().err == ""
    log.get().error(log_events.SHARD_DEAD_LETTERED)
    assert "shard_dead_lettered" in capsys.readouterr().err


def test_a_program_may_log_less(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless LOG_LEVEL asks for more."""
    log.configure(json=True, level="warning")
    log.get().info(log_events.RUN_CREATED)
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("LOG_LEVEL", "info")
    log.configure(json=True, level="warning")
    log.get().info(log_events.RUN_CREATED)
    assert "run_created" in capsys.readouterr().err


def test_processes_that_share_a_log_do_not_mix_their_lines(tmp_path: Path) -> None:
    """A fleet's workers write to one stderr: each line stays one event."""
    program = (
        "from runtime import log\nlog.configure(json=True)\n"
        "for n in range(500): log.get().info('shard_leased', n=n, text='x' * 200)"
    )
    command = [sys.executable, "-u", "-c", program]
    with (tmp_path / "log").open("wb") as shared:
        processes = [subprocess.Popen(command, stderr=shared) for _ in range(4)]
        assert [process.wait() for process in processes] == [0] * 4
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert len(events) == 4 * 500


def test_every_event_has_its_constant() -> None:
    """Each constant is its own name in small letters; the table has all of them and no other."""
    constants = {key: value for key, value in vars(log_events).items() if key.isupper()}
    del constants["EVENTS"]
    assert all(value == key.lower() for key, value in constants.items())
    assert log_events.EVENTS.keys() == set(constants.values())


def test_events_are_logged_as_the_table_says() -> None:
    """Every event is logged somewhere, with the level and exactly the fields of its entry."""
    logged = {
        event for room in ROOMS for path in ROOT.glob(f"{room}/**/*.py") for event in _logged(path)
    }
    expected = {
        (name, spec.level, frozenset(spec.fields)) for name, spec in log_events.EVENTS.items()
    }
    assert logged == expected


def test_the_documented_table_is_the_table_of_the_code() -> None:
    """`python -m tests.support.event_table` writes it."""
    assert EVENTS_MD.read_text() == events_md()


def _logged(path: Path) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Name, level and fields of each call with `log_events.NAME` as an argument."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            fields = {keyword.arg for keyword in node.keywords if keyword.arg}
            for argument in node.args:
                if (name := _event_name(argument)) is None:
                    continue
                level = node.func.attr
                if level == "ack":  # Disposition.ack logs with these two
                    level, fields = "info", fields | {"shard", "tier"}
                yield name, level, frozenset(fields)


def _event_name(node: ast.expr) -> str | None:
    """Of `log_events.NAME`."""
    if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
        return None
    return node.attr.lower() if node.value.id == "log_events" else None


HOSTILE = "\x1b]0;owned\x07\x9b31m\r\u202e[red]\n2026-01-01 [info] forged\x7f"


def test_foreign_text_in_json_is_escaped(capsys: Captured) -> None:
    """Each event stays one line of printable ASCII, with the text as a value."""
    log.configure(json=True, level="debug")
    log.get().warning(log_events.LEASE_LOST, shard=HOSTILE, tier=[HOSTILE])
    _raise_and_trace()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert json.loads(lines[0])["shard"] == HOSTILE
    assert HOSTILE in json.loads(lines[1])["exception"]


def test_foreign_text_for_people_is_escaped(capsys: Captured) -> None:
    """Values by their escapes, once; lines of a traceback are indented."""
    log.configure(json=False, level="debug")
    log.get().warning(log_events.LEASE_LOST, shard="\x1b[2J", tier=[HOSTILE], reason="a \x9b b")
    _raise_and_trace()
    first, *rest = capsys.readouterr().err.splitlines()
    assert r"shard='\x1b[2J'" in first
    assert r"reason='a \x9b b'" in first
    assert all(line.isprintable() for line in (first, *rest))
    assert all(line.startswith("  ") for line in rest[1:])
    assert not any(line.startswith("2026-01-01 [info]") for line in rest)


def _raise_and_trace() -> None:
    with pytest.raises(ValueError, match="owned") as caught:
        raise ValueError(HOSTILE)
    log.trace(caught.value)
