"""Names of new files and directories survive a power cut, where the file system can promise it."""

import errno
import os
import stat
from pathlib import Path

import pytest

from runtime.errors import UnreachableError
from runtime.storage import open_storage


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The directories that are flushed, in order."""
    found: list[str] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            found.append(Path(f"/proc/self/fd/{fd}").readlink().name)
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    return found


def fail_on_directories(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    """Let the system refuse to flush directories."""
    real = os.fsync

    def fsync(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(error, os.strerror(error))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("how", ["write", "create"])
def test_new_directories_are_flushed(tmp_path: Path, flushed: list[str], how: str) -> None:
    """From the one above the root down to the file's own."""
    storage = open_storage(str(tmp_path / "above" / "root"))
    getattr(storage, how)("a/b/file", b"")
    assert {tmp_path.name, "above", "root", "a", "b"} <= set(flushed)


def test_directories_of_another_process_are_flushed(tmp_path: Path, flushed: list[str]) -> None:
    """It may have made them a moment ago."""
    (tmp_path / "root" / "a").mkdir(parents=True)
    storage = open_storage(str(tmp_path / "root"))
    storage.write("a/first", b"")
    assert flushed == ["a", "root", tmp_path.name]
    storage.write("a/second", b"")
    assert flushed == ["a", "root", tmp_path.name, "a"]


def test_a_removed_file_stays_removed(tmp_path: Path, flushed: list[str]) -> None:
    """Else a receipt of zeros could outlive the shard that it says is gone."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"")
    assert open_storage(str(tmp_path)).delete("a/file")
    assert flushed == ["a"]


def test_a_file_system_without_such_flushes_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network and FUSE file systems refuse."""
    fail_on_directories(monkeypatch, errno.EINVAL)
    storage = open_storage(str(tmp_path))
    storage.write("a/file", b"bytes")
    assert storage.read("a/file") == b"bytes"


def test_a_flush_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name may not be on the disk."""
    fail_on_directories(monkeypatch, errno.EIO)
    with pytest.raises(UnreachableError, match="Input/output error"):
        open_storage(str(tmp_path)).write("file", b"bytes")
