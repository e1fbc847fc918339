"""Log lines of real workers, as Cloud Logging reads them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.workspace import Workspace, converted_workspace, make_small_workspace

CONTEXT = ("run", "shard", "tier", "attempt")
SHARDS = 12


def log_lines(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """All lines of a worker that ended well; each is one event."""
    stderr = process.communicate(timeout=120)[1]
    assert process.returncode == 0, stderr
    return [json.loads(line) for line in stderr.splitlines()]


def work(workspace: Workspace, *more: str, **environment: str) -> list[dict[str, Any]]:
    """The log of a worker that does what is published."""
    queue = ("--queue", "sqlite:queue.db")
    command = ("work", "--tier", "512mi", *queue, "--until-idle", "0", *more)
    return log_lines(workspace.start(*command, program="consumer", **environment))


@pytest.mark.parametrize("slots", ["1", "4"])
def test_lines_about_a_shard_say_which(tmp_path: Path, slots: str) -> None:
    """Run, shard, tier and attempt, whichever slot has it; the rest carries no shard."""
    workspace = make_small_workspace(tmp_path / "work")
    assert workspace.enqueue().returncode == 0
    lines = work(workspace, "--slots", slots)
    done = [line for line in lines if line["event"] == "shard_done"]
    assert len({line["shard"] for line in done}) == len(done) >= SHARDS
    for line in lines:
        about_shard = line["event"].startswith("shard_")
        assert all((name in line) == about_shard for name in ("run", "shard", "attempt")), line
        assert line["severity"] == line["level"].upper()
        assert line["time"] == line["timestamp"]
    assert {(line["tier"], line["attempt"]) for line in done} == {("512mi", 1)}
    (run,) = {line["run"] for line in done}
    assert (tmp_path / "work" / "out.runs" / run).is_dir()
    assert done[0]["message"] == f"shard done {done[0]['shard']}"


def test_lines_of_an_executor_say_which_shard_too(tmp_path: Path) -> None:
    """It is a process of its own, whose lines the worker passes on in the same format."""
    workspace = converted_workspace(tmp_path / "work")
    (workspace.folder / "out.runs").rename(tmp_path / "gone")  # as if made elsewhere
    options = ("--queue", "sqlite:queue.db", "--adopt", "--overwrite")
    enqueued = workspace.run(*workspace.enqueue_command("--downres", "1", *options))
    assert enqueued.returncode == 0, enqueued.stderr
    workspace.shards()[0].unlink()
    lines = work(workspace)
    (absent,) = [line for line in lines if line["event"] == "inputs_absent"]
    assert all(absent[name] for name in CONTEXT), absent
    assert absent["severity"] == "WARNING"
