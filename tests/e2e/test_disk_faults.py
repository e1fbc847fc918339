"""System calls that fail at any moment: the command ends plainly, and continues when run again."""

import errno
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import CommandResult
from tests.support.ended_whole import check_end, check_receipts, shard_files
from tests.support.in_process_fleet import in_process_fleets
from tests.support.machine_faults import OddMachine, Rule
from tests.support.workspace import Workspace, clean_environment, make_small_workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
SEED = int(os.environ.get("CHAOS_SEED", "1"))
NEVER = 1 << 40
SHORT = None  # half of the bytes
WRITING: dict[str, tuple[int | None, ...]] = {
    "mkdir": (errno.ENOSPC, errno.EROFS),
    "create": (errno.ENOSPC, errno.EMFILE, errno.EDQUOT),
    "write": (errno.ENOSPC, errno.EIO, SHORT),
    "fsync": (errno.EIO, errno.ENOSPC, errno.EINTR),
    "rename": (errno.EIO, errno.ENOSPC),
    "link": (errno.EIO, errno.EPERM),
    "close": (errno.EIO,),
    "open": (errno.EMFILE, errno.EIO),
    "read": (errno.EIO, SHORT),
    "opendir": (errno.EMFILE,),
}
READING: dict[str, tuple[int | None, ...]] = {
    "open": (errno.EMFILE, errno.EIO, errno.ESTALE),
    "read": (errno.EIO, SHORT),
    "pread": (errno.EIO, SHORT),
    "opendir": (errno.EMFILE,),
}
QUEUE: dict[str, tuple[int | None, ...]] = {
    "create": (errno.ENOSPC, errno.EMFILE),
    "pwrite": (errno.ENOSPC, errno.EIO, SHORT),
    "pread": (errno.EIO,),
    "fsync": (errno.EIO, errno.ENOSPC),
    "ftruncate": (errno.ENOSPC,),
    "mmap": (errno.ENOMEM,),
    "unlink": (errno.EIO,),
}
PLACES = {"disk/volume": WRITING, "disk/state": WRITING, "disk/queue": QUEUE, "export": READING}
CASES = [
    pytest.param(
        place, call, error, id=f"{place}-{call}-{errno.errorcode.get(error or 0, 'short')}"
    )
    for place, calls in PLACES.items()
    for call, errors in calls.items()
    for error in errors
]


def command_line(workspace: Workspace) -> list[str]:
    """A run whose volume and state begin with different names."""
    options = ("--scales", "0", "--downres", "1", "--wait", "--queue", "sqlite:disk/queue/queue.db")
    return workspace.enqueue_command(*options, "--state", "disk/state", dest="disk/volume")


def run_on(machine: OddMachine, workspace: Workspace) -> CommandResult:
    """The command in one process on this machine."""
    environment = clean_environment() | machine.environment | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.single_process", *command_line(workspace)],
        cwd=workspace.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return CommandResult(done.args, done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """An export."""
    return make_small_workspace(tmp_path_factory.mktemp("disk-faults").resolve() / "work")


@pytest.fixture(autouse=True)
def _empty_disk(workspace: Workspace) -> None:
    disk = workspace.folder / "disk"
    shutil.rmtree(disk, ignore_errors=True)
    disk.mkdir()


@pytest.fixture(scope="module")
def calm(workspace: Workspace) -> tuple[dict[str, dict[str, int]], dict[str, bytes]]:
    """How often each call is made on each place by a run without faults; and its volume."""
    counted = {}
    volume: dict[str, bytes] = {}
    for place, calls in PLACES.items():
        shutil.rmtree(workspace.folder / "disk", ignore_errors=True)
        (workspace.folder / "disk").mkdir()
        rules = [Rule(call, errno.EIO, NEVER) for call in calls]
        machine = OddMachine(workspace.folder / "machine", [workspace.folder / place], rules)
        assert run_on(machine, workspace).returncode == 0
        counted[place] = dict(zip(calls, machine.calls, strict=True))
        volume = shard_files(workspace.folder / "disk" / "volume")
    return counted, volume


@pytest.mark.parametrize(("place", "call", "error"), CASES)
def test_a_call_that_fails(
    calm: tuple[dict[str, dict[str, int]], dict[str, bytes]],
    workspace: Workspace,
    place: str,
    call: str,
    error: int | None,
) -> None:
    """It is retried or said, nothing is torn, and the same command then makes the volume."""
    counted, reference = calm
    calls = counted[place][call]
    if not calls:
        pytest.skip(f"no {call} there")
    nth = random.Random(f"{SEED} {place} {call} {error}").randint(1, calls)
    machine = OddMachine(
        workspace.folder / "machine", [workspace.folder / place], [Rule(call, error, nth)]
    )
    disk = workspace.folder / "disk"
    done = run_on(machine, workspace)
    print(nth, calls, done.returncode, done.stderr)  # noqa: T201
    assert machine.failures == 1
    check_receipts(disk / "volume", disk / "state")
    check_end(done, disk / "volume", reference)
    with in_process_fleets():
        again = workspace.run(*command_line(workspace))
    assert check_end(again, disk / "volume", reference), again.stderr
