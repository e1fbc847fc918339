"""Logs: on stderr, for people or as JSON, filtered by level."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from runtime import log

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _unconfigured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOG_LEVEL", raising=False)
    monkeypatch.delenv("LOG_FORMAT", raising=False)
    structlog.reset_defaults()


def test_away_from_a_terminal_each_event_is_a_json_line(capsys: Captured) -> None:
    """With level, time, the event's name and its fields; nothing on stdout."""
    log.configure()
    log.get(shard="s0/0a").info(log.SHARD_DONE, chunks=3, where=object)
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
    log.get().warning(log.LEASE_LOST, tier="2gi")
    text = capsys.readouterr().err
    assert "lease_lost" in text
    assert "tier=2gi" in text
    assert not text.startswith("{")


def test_the_level_filters(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below it nothing is printed."""
    monkeypatch.setenv("LOG_LEVEL", "ERROR")
    log.configure(json=True)
    log.get().warning(log.LEASE_LOST)
    assert capsys.readouterr().err == ""
    log.get().error(log.SHARD_DEAD_LETTERED)
    assert "shard_dead_lettered" in capsys.readouterr().err


def test_a_program_may_log_less(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless LOG_LEVEL asks for more."""
    log.configure(json=True, level="warning")
    log.get().info(log.RUN_CREATED)
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("LOG_LEVEL", "info")
    log.configure(json=True, level="warning")
    log.get().info(log.RUN_CREATED)
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


def test_event_names_are_said_once() -> None:
    """Each constant is its own name in small letters, and no two are equal."""
    names = {key: value for key, value in vars(log).items() if key.isupper()}
    assert len(names) > 10
    assert all(value == key.lower() for key, value in names.items())
