"""Shard files that are younger than their receipts."""

import os
from pathlib import Path

import pytest

from producer import rewritten_files
from tests.support.workspace import Workspace, converted_workspace


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    """A volume of three scales that is done."""
    return converted_workspace(tmp_path)


def change_a_byte(path: Path, *, keep_time: bool = False) -> bytes:
    """Turn one byte of a file; what it was before."""
    before, found = path.read_bytes(), path.stat()
    data = bytearray(before)
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    later_ns = 0 if keep_time else 60 * 10**9
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + later_ns))
    return before


@pytest.mark.parametrize("scale", [0, 1])
def test_other_bytes_of_equal_size_are_made_again(work: Workspace, scale: int) -> None:
    """Nothing but their time gives them away in a directory; so such files are read."""
    path = work.shards(scale)[0]
    before = change_a_byte(path)
    found = work.run("verify", "--dest", "out")
    assert found.returncode == 1
    assert "its file's crc32c is" in found.stdout
    again = work.enqueue("--wait")
    assert again.returncode == 0, again.stderr
    assert path.read_bytes() == before
    assert work.run("verify", "--dest", "out").returncode == 0


def test_a_copy_is_whole(work: Workspace) -> None:
    """Its files are younger than their receipts, and have their bytes: nothing is to do."""
    for path in work.shards(0):
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime + 3600))
    done = work.enqueue("--wait")
    assert done.returncode == 0
    assert "nothing to do" in done.stdout


def test_a_large_copy_is_not_read_but_noted(
    work: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole volumes are for `verify --deep`."""
    monkeypatch.setattr(rewritten_files, "MOST_BYTES", 0)
    change_a_byte(work.shards(0)[0])
    done = work.enqueue("--wait")
    assert done.returncode == 0
    assert "written after their receipts: 1, such as that of s0/" in done.stderr
    assert work.run("verify", "--dest", "out", "--deep").returncode == 1


def test_a_directory_in_place_of_a_shard_is_named(work: Workspace) -> None:
    """It cannot be replaced; whose it is, nobody knows."""
    path = work.shards(1)[0]
    path.unlink()
    path.mkdir()
    done = work.enqueue("--wait")
    assert done.returncode == 3
    assert str(path) in done.stderr
