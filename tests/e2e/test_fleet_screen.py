"""`consumer fleet` on a terminal: a screen as `enqueue --wait` has it; log lines with -v."""

import sys
from pathlib import Path

import pytest

from tests.support.terminal_screen import run_on_terminal
from tests.support.workspace import Workspace, make_workspace

FLEET = ("-m", "consumer", "fleet", "--dest", "out", "--until-drained")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An export with one file that is cut short, enqueued."""
    made = make_workspace(tmp_path)
    with made.arrow(5).open("r+b") as file:
        file.truncate(100)
    assert made.enqueue().returncode == 0
    return made


def test_a_fleet_on_a_terminal(workspace: Workspace) -> None:
    """Total and bars, each once; warnings of workers above, for people; then its end."""
    shown = run_on_terminal([sys.executable, *FLEET], workspace.folder, columns=100)
    assert shown.exit_code == 1
    lines = shown.lines
    assert "starting workers" in shown.seen
    assert sum("shards done" in line for line in lines) == 1
    assert [line.split()[0] for line in lines if "━" in line or "xx" in line] == ["s0", "s1", "s2"]
    (total,) = [number for number, line in enumerate(lines) if "shards done" in line]
    logged, after = "\n".join(lines[:total]), "\n".join(lines[total:])
    assert "shard_dead_lettered" in logged
    assert '"event"' not in logged  # no JSON
    assert "leased" not in shown.seen
    assert "1 dead" in after
    assert "error: run" in after

    verbose = run_on_terminal([sys.executable, *FLEET, "-v"], workspace.folder, columns=100)
    assert "fleet_started" in verbose.seen
    assert "shards done" not in verbose.seen
