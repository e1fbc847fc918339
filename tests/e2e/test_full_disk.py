"""Full disks, and disks without inodes, on volume, state and queue: said, and nothing is torn.

After there is room the same command makes the volume.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import file_systems
from tests.support.commands import CommandResult
from tests.support.ended_whole import check_end, check_receipts, shard_files
from tests.support.file_systems import EXT4, MIB
from tests.support.in_process_fleet import in_process_fleets
from tests.support.workspace import Workspace, make_small_workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KIB = 1 << 10
PLACES = ("volume", "state", "queue")
BYTES = {"volume": (8 * KIB, 24 * KIB), "state": (6 * KIB, 16 * KIB), "queue": (8 * KIB, 80 * KIB)}
INODES = {"volume": (2, 8), "state": (4, 15), "queue": (1, 2)}
CASES = [
    pytest.param(place, what, room, id=f"{place}-{room}-{what}")
    for place in PLACES
    for what, rooms in (("bytes", BYTES), ("inodes", INODES))
    for room in rooms[place]
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """An export."""
    return make_small_workspace(tmp_path_factory.mktemp("full-disk").resolve() / "work")


@pytest.fixture(scope="module")
def reference(workspace: Workspace) -> dict[str, bytes]:
    """The volume of a run with room."""
    done = run_here(workspace, command_line(workspace, workspace.folder / "calm", ""))
    assert done.returncode == 0, done.stderr
    return shard_files(workspace.folder / "calm" / "volume")


def places(disk: Path, small: str) -> dict[str, Path]:
    """Where volume, state and queue are; one of them on a small file system."""
    return {place: disk / ("small" if place == small else ".") / place for place in PLACES}


def command_line(workspace: Workspace, disk: Path, small: str) -> list[str]:
    """A run with one of its places on a small file system."""
    at = places(disk, small)
    where = ("--state", str(at["state"]), "--queue", f"sqlite:{at['queue']}/queue.db")
    options = ("--scales", "0", "--downres", "1", "--wait", *where)
    return workspace.enqueue_command(*options, dest=str(at["volume"]))


def run_here(workspace: Workspace, command: list[str]) -> CommandResult:
    """The command, with its fleet in this process."""
    with in_process_fleets():
        return workspace.run(*command)


@contextlib.contextmanager
def small_file_system(kind: str, at: Path, image: Path) -> Iterator[None]:
    """An empty one."""
    if kind == "tmpfs":
        with file_systems.small_tmpfs(at, MIB, 300):
            yield
    else:
        file_systems.new_image(EXT4, image, "-m", "0", "-N", "300")
        with file_systems.mounted_image(EXT4, image, at):
            yield


def fill(at: Path, what: str, room: int) -> None:
    """Fill a file system but for so many bytes or inodes."""
    (at / "filler").mkdir()
    with contextlib.suppress(OSError):
        for number in range(1 << 20):
            with (at / "filler" / str(number)).open("wb", buffering=0) as file:
                while what == "bytes":
                    file.write(bytes(KIB))
    if what == "inodes":
        for number in range(room):
            (at / "filler" / str(number)).unlink()
    else:
        size = (at / "filler" / "0").stat().st_size
        os.truncate(at / "filler" / "0", size - room)


def check_full_disk(
    workspace: Workspace, reference: dict[str, bytes], place: str, what: str, room: int
) -> None:
    """Run on a disk with so much room, then again with more."""
    disk = workspace.folder / "disk"
    command = command_line(workspace, disk, place)
    fill(disk / "small", what, room)
    done = run_here(workspace, command)
    check_said(done, disk, place, reference)
    shutil.rmtree(disk / "small" / "filler")
    again = run_here(workspace, command)
    assert check_end(again, places(disk, place)["volume"], reference), again.stderr


def check_said(done: CommandResult, disk: Path, place: str, reference: dict[str, bytes]) -> None:
    """Not exit code 0, the place is named, and each receipt has its shard."""
    at = places(disk, place)
    assert not check_end(done, at["volume"], reference), done
    assert str(at[place]) in done.stderr, done.stderr
    check_receipts(at["volume"], at["state"])


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
@pytest.mark.parametrize(("place", "what", "room"), CASES)
def test_a_full_disk(  # noqa: PLR0917 - fixtures and cases
    workspace: Workspace,
    reference: dict[str, bytes],
    tmp_path: Path,
    kind: str,
    place: str,
    what: str,
    room: int,
) -> None:
    """At the first file, or somewhere in the middle."""
    disk = workspace.folder / "disk"
    shutil.rmtree(disk, ignore_errors=True)
    with small_file_system(kind, disk / "small", tmp_path / "image"):
        check_full_disk(workspace, reference, place, what, room)


@pytest.mark.parametrize("place", PLACES)
def test_a_full_disk_with_processes(
    workspace: Workspace, reference: dict[str, bytes], tmp_path: Path, place: str
) -> None:
    """Fleet, workers and executors end too."""
    disk = workspace.folder / "disk"
    shutil.rmtree(disk, ignore_errors=True)
    command = command_line(workspace, disk, place)
    with small_file_system("tmpfs", disk / "small", tmp_path / "image"):
        fill(disk / "small", "bytes", BYTES[place][1])
        check_said(workspace.run_subprocess(*command), disk, place, reference)
        shutil.rmtree(disk / "small" / "filler")
        again = workspace.run_subprocess(*command)
        assert check_end(again, places(disk, place)["volume"], reference), again.stderr
