"""Power cuts at any moment: no receipt without its whole shard, and the same command goes on.

Once with a model of a disk that keeps nothing but what was flushed, and once with images of real
file systems as they were on their device at some moment of a run.
"""

import contextlib
import os
import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import file_systems
from tests.support.commands import CommandResult
from tests.support.ended_whole import check_end, check_receipts, shard_files
from tests.support.file_systems import FileSystem
from tests.support.in_process_fleet import in_process_fleets
from tests.support.machine_faults import Change, Entry, OddMachine
from tests.support.power_cut import Disk, Loss, apply_all
from tests.support.workspace import Workspace, make_small_workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CUTS = 60
IMAGES = 20
LARGE_BYTES = 64 << 20  # images beyond take long
LOSSES: tuple[Loss, ...] = ("all", "names", "bytes", "some", "some", "some")
SEED = int(os.environ.get("CHAOS_SEED", "1"))


def command_line(workspace: Workspace) -> list[str]:
    """A run whose volume, state and queue are on one disk."""
    options = ("--scales", "0", "--downres", "1", "--wait", "--queue", "sqlite:disk/queue/queue.db")
    return workspace.enqueue_command(*options, dest="disk/out")


def go_on(workspace: Workspace) -> CommandResult:
    """The same command, after the power is back."""
    with in_process_fleets():
        return workspace.run(*command_line(workspace))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """An export, and a disk that is empty."""
    made = make_small_workspace(tmp_path_factory.mktemp("power-cut").resolve() / "work")
    (made.folder / "disk").mkdir()
    return made


@pytest.fixture(scope="module")
def recorded(workspace: Workspace) -> tuple[list[Entry], dict[str, bytes]]:
    """Every change of the disk by a whole run of real processes, and the volume at its end."""
    disk = workspace.folder / "disk"
    machine = OddMachine(workspace.folder / "machine", [disk], journal=True)
    process = workspace.start(*command_line(workspace), **machine.environment)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    return list(machine.changes()), shard_files(disk / "out")


def test_the_journal_is_complete(
    workspace: Workspace, recorded: tuple[list[Entry], dict[str, bytes]]
) -> None:
    """All changes together give the volume that the run left."""
    entries, reference = recorded
    root = workspace.folder / "disk"
    disk = Disk(root)
    apply_all(disk, entries)
    disk.write_state("all", 0)
    assert check_receipts(root / "out", root / "out.runs") == len(reference) - 1  # and info
    assert shard_files(root / "out") == reference


def test_new_directories_are_flushed(recorded: tuple[list[Entry], dict[str, bytes]]) -> None:
    """Every directory's name is flushed before a file in it is given its own."""
    entries, _ = recorded
    unflushed: set[str] = set()
    for entry in entries:
        if entry.kind is Change.MKDIR:
            unflushed.add(entry.path)
        elif entry.kind is Change.FLUSH_DIRECTORY:
            unflushed -= {path for path in unflushed if str(Path(path).parent) == entry.path}
        elif entry.kind in {Change.RENAME, Change.LINK}:
            assert str(Path(entry.other).parent) not in unflushed, entry.other


def test_power_cuts(workspace: Workspace, recorded: tuple[list[Entry], dict[str, bytes]]) -> None:
    """Whatever was not flushed is lost, or only names, or only bytes, or some of all."""
    entries, reference = recorded
    root = workspace.folder / "disk"
    generator = random.Random(SEED)
    cuts = sorted(generator.sample(range(len(entries)), CUTS))
    generator.shuffle(losses := [LOSSES[number % len(LOSSES)] for number in range(CUTS)])
    disk, done, went_on = Disk(root), 0, 0
    for number, (cut, loss) in enumerate(zip(cuts, losses, strict=True)):
        apply_all(disk, entries[done:cut])
        done = cut
        disk.write_state(loss, SEED + number)
        what = f"cut {cut} of {len(entries)}, lost: {loss}, seed {SEED + number}"
        try:
            check_receipts(root / "out", root / "out.runs")
            went_on += check_end(go_on(workspace), root / "out", reference)
        except BaseException:
            print(what, f"after {entries[cut - 1].kind.name} {entries[cut - 1].path}")  # noqa: T201
            raise
    assert went_on == CUTS


@pytest.mark.parametrize(
    "file_system",
    [
        pytest.param(file_systems.EXT4, id="ext4"),
        pytest.param(file_systems.EXT4_WRITEBACK, id="ext4-writeback"),
        pytest.param(file_systems.EXT2, id="ext2"),
        pytest.param(file_systems.XFS, id="xfs"),
        pytest.param(file_systems.BTRFS, id="btrfs"),
    ],
)
def test_images_of_file_systems(
    workspace: Workspace,
    recorded: tuple[list[Entry], dict[str, bytes]],
    file_system: FileSystem,
    tmp_path: Path,
) -> None:
    """What is on the device at some moment of a run is mounted again, as after a power cut."""
    _, reference = recorded
    disk = workspace.folder / "disk"
    shutil.rmtree(disk, ignore_errors=True)
    image = tmp_path / "image"
    file_systems.new_image(file_system, image)
    camera = Camera(image, tmp_path)
    with file_systems.mounted_image(file_system, image, disk):
        with in_process_fleets(camera.step), camera.running():
            done = workspace.run(*command_line(workspace))
        assert done.returncode == 0, done.stderr
    pictures = camera.pictures
    assert len(pictures) >= IMAGES // 2
    generator = random.Random(SEED)
    wanted = IMAGES if file_system.image_bytes <= LARGE_BYTES else IMAGES // 2
    for picture in sorted(generator.sample(pictures, min(wanted, len(pictures)))):
        file_systems.repair(file_system, picture)
        with file_systems.mounted_image(file_system, picture, disk):
            check_receipts(disk / "out", disk / "out.runs")
            whole = check_end(go_on(workspace), disk / "out", reference)
            assert whole or not file_system.journaled
        picture.unlink()


class Camera:
    """Takes pictures of an image during a run: as a device is when the power is cut.

    Args:
        image: that a file system lies in.
        folder: for the pictures.
    """

    def __init__(self, image: Path, folder: Path) -> None:
        self._image = image
        self._folder = folder
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._last = b""
        self.pictures: list[Path] = []

    def step(self, _moment: str) -> None:
        """Take a picture between two steps of a shard."""
        with self._lock:
            self._take()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Take pictures meanwhile, at any moment."""
        thread = threading.Thread(target=self._keep_on)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _keep_on(self) -> None:
        while not self._ended.wait(0.01):
            self.step("")

    def _take(self) -> None:
        """One that is the same when it is read twice is of one moment."""
        first = self._image.read_bytes()
        if first == self._last or first != self._image.read_bytes():
            return
        self._last = first
        picture = self._folder / f"picture{len(self.pictures):03d}"
        with picture.open("wb") as file:  # with holes, so that many fit
            for begin in range(0, len(first), 1 << 16):
                part = first[begin : begin + (1 << 16)]
                if part.strip(b"\0"):
                    file.seek(begin)
                    file.write(part)
            file.truncate(len(first))
        self.pictures.append(picture)
