"""Small file systems of a test's own: tmpfs, and others in a file by a loop device; needs root."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

MIB = 1 << 20


@dataclass(frozen=True)
class FileSystem:
    """How to make and mount one.

    Attributes:
        kind: as `mount -t` names it.
        make: command that makes it in a file, which is appended.
        options: of the mount.
        image_bytes: size of that file.
        repair: command before an image that was cut off is mounted; the image is appended.
        journaled: whether names are whole after a cut; else a folder may become a file.
    """

    kind: str
    make: tuple[str, ...]
    options: str = "loop"
    image_bytes: int = 16 * MIB
    repair: tuple[str, ...] = ()
    journaled: bool = True


EXT4 = FileSystem("ext4", ("mkfs.ext4", "-q", "-b", "1024"), "loop,commit=1")
EXT4_WRITEBACK = FileSystem("ext4", EXT4.make, "loop,commit=1,data=writeback")
EXT2 = FileSystem(
    "ext2", ("mkfs.ext2", "-q", "-b", "1024"), repair=("e2fsck", "-fy"), journaled=False
)
XFS = FileSystem("xfs", ("mkfs.xfs", "-q", "-f"), "loop,nouuid", 300 * MIB)
BTRFS = FileSystem("btrfs", ("mkfs.btrfs", "-q", "-f"), image_bytes=128 * MIB)


@contextmanager
def small_tmpfs(at: Path, size_bytes: int, inodes: int) -> Iterator[None]:
    """A file system in memory."""
    options = f"size={size_bytes},nr_inodes={inodes}"
    with _mounted(["-t", "tmpfs", "-o", options, "tmpfs"], at):
        yield


def new_image(file_system: FileSystem, image: Path, *more: str) -> None:
    """A file system in a file; skips where there is no program to make it."""
    program = file_system.make[0]
    if shutil.which(program) is None and not Path("/usr/sbin", program).exists():
        pytest.skip(f"needs {program}")
    with image.open("wb") as file:
        file.truncate(file_system.image_bytes)
    _run([*file_system.make, *more, str(image)])


@contextmanager
def mounted_image(file_system: FileSystem, image: Path, at: Path) -> Iterator[None]:
    """Mount a file system that is in a file."""
    with _mounted(["-t", file_system.kind, "-o", file_system.options, str(image)], at):
        yield


def repair(file_system: FileSystem, image: Path) -> None:
    """Do what a start after a power cut does before it mounts the file system."""
    if file_system.repair:
        subprocess.run([*file_system.repair, str(image)], capture_output=True, check=False)


@contextmanager
def _mounted(arguments: Sequence[str], at: Path) -> Iterator[None]:
    """Mount; without the right to, the test skips."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a file system")
    at.mkdir(parents=True, exist_ok=True)
    command = ["mount", *arguments, str(at)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield
    finally:
        _run(["umount", "--lazy", str(at)])


def _run(command: Sequence[str]) -> None:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    subprocess.run(command, check=True, env=os.environ | {"PATH": path}, capture_output=True)
