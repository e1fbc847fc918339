"""Trouble that no shard causes: the command's own last words name the file and the cause."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.errors import EXIT_UNREACHABLE
from tests.support.workspace import Workspace, clean_environment, make_small_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An export; nothing is converted."""
    return make_small_workspace(tmp_path / "workspace")


def test_a_folder_where_a_shard_belongs_is_named(workspace: Workspace) -> None:
    """By `enqueue --wait`, which starts the fleet, then by `fleet`, `status` and `errors`."""
    key = workspace.spec.scales[0].key
    (workspace.volume / key / "0.shard").mkdir(parents=True)
    where = f"{key}/0.shard"

    waited = workspace.enqueue("--wait")
    assert waited.returncode == EXIT_UNREACHABLE, waited
    (error,) = [line for line in waited.stderr.splitlines() if line.startswith("error: ")]
    assert where in error

    status = workspace.of_run("status")
    assert "last trouble, at " in status.stdout
    assert where in status.stdout
    assert where in json.loads(workspace.of_run("status", "--json").stdout)["trouble"]["reason"]
    errors = workspace.of_run("errors")
    assert errors.stdout.startswith("no shard failed")
    assert where in errors.stdout

    fleet = workspace.run_subprocess(
        "fleet", "--until-drained", "--dest", "out", "--queue", "sqlite:queue.db",
        program="consumer",
    )  # fmt: skip
    assert fleet.returncode == EXIT_UNREACHABLE, fleet
    assert where in [line for line in fleet.stderr.splitlines() if line.startswith("error: ")][-1]

    (workspace.volume / key / "0.shard").rmdir()
    assert workspace.enqueue("--wait").returncode == 0
    assert "last trouble" not in workspace.of_run("status").stdout


def test_too_few_file_handles_are_told(workspace: Workspace) -> None:
    """A hard limit that no executor can live with: no shard is blamed, the limit is named."""
    assert workspace.enqueue().returncode == 0

    def few_handles() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (14, 14))

    done = subprocess.run(
        [sys.executable, "-m", "consumer", "work", "--tier", "512mi", "--dest", "out",
         "--queue", "sqlite:queue.db", "--until-drained"],
        cwd=workspace.folder,
        env=clean_environment(),
        preexec_fn=few_handles,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.returncode == EXIT_UNREACHABLE, done.stderr
    assert "error: the executor cannot be started: Too many open files" in done.stderr
    assert "ulimit -n" in done.stderr
    assert not list((workspace.folder / "out.runs").glob("*/failed/*/*"))
