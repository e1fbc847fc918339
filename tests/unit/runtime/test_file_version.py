"""Changes of exactly one version of a file."""

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.errors import UnreachableError
from runtime.storage import Pieces, file_version, open_storage
from runtime.storage.file_version import replace_version, unlink_version, version_of


def shard() -> Pieces:
    """A small shard."""
    yield b"body"
    return b"HEAD"


def lost(real: Callable[..., object], tries: list[int]) -> Callable[..., object]:
    """A call that takes effect, and whose answer is lost the first time."""

    def call(*args: object) -> object:
        tries.append(1)
        done = real(*args)
        if len(tries) == 1:
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        return done

    return call


def test_a_rename_whose_answer_was_lost_is_known_as_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file server did it and fell silent: the retry finds the name taken, by this very file."""
    storage, tries = open_storage(str(tmp_path)), list[int]()
    storage.write("s", b"old")
    monkeypatch.setattr(Path, "replace", lost(Path.replace, tries))
    asked: list[int] = []
    storage.write_shard("s", shard(), 4, lambda: asked.append(1))
    assert (storage.read("s"), len(tries), asked) == (b"HEADbody", 1, [1])


def test_a_link_whose_answer_was_lost_is_known_as_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for a name that was free."""
    storage, tries, asked = open_storage(str(tmp_path)), list[int](), list[int]()
    monkeypatch.setattr(os, "link", lost(os.link, tries))
    storage.write_shard("s", shard(), 4, lambda: asked.append(1))
    assert (storage.read("s"), asked, list(tmp_path.iterdir())) == (
        b"HEADbody",
        [1],
        [tmp_path / "s"],
    )


def test_a_file_of_equal_size_is_another_version(tmp_path: Path) -> None:
    """It may even have the time of the one before."""
    target, new = tmp_path / "s", tmp_path / "n"
    target.write_bytes(b"old")
    seen = version_of(target)
    assert seen is not None
    other = tmp_path / "o"
    other.write_bytes(b"two")
    os.utime(other, ns=(seen.modified_ns, seen.modified_ns))
    other.replace(target)
    with new.open("xb") as file:
        assert not replace_version(file, new, target, seen)
        assert not unlink_version(target, seen)
    assert target.read_bytes() == b"two"
    present = version_of(target)
    assert present is not None
    assert unlink_version(target, present)
    assert unlink_version(target, present)  # gone already: an answer may have been lost


def test_a_frozen_writer_is_named_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the lock on the file that it replaces; the others do not wait without end."""
    monkeypatch.setattr(file_version, "_LOCK_S", 0.05)
    storage = open_storage(str(tmp_path))
    storage.write("s", b"old")
    with (tmp_path / "s").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UnreachableError, match="does not come to an end"):
            storage.write_shard("s", shard(), 4, lambda: None)
    storage.write_shard("s", shard(), 4, lambda: None)
    assert storage.read("s") == b"HEADbody"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """There the check just before the rename must do."""

    def none(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", none)
    storage = open_storage(str(tmp_path))
    for _ in range(2):
        storage.write_shard("s", shard(), 4, lambda: None)
    assert list(tmp_path.iterdir()) == [tmp_path / "s"]


def test_links_and_read_only_files_are_replaced(tmp_path: Path) -> None:
    """As rename does: a broken link too; a directory is named."""
    storage = open_storage(str(tmp_path))
    (tmp_path / "elsewhere").write_bytes(b"kept")
    for name, to in (("a", "elsewhere"), ("b", "nowhere")):
        (tmp_path / name).symlink_to(to)
        storage.write_shard(name, shard(), 4, lambda: None)
        assert not (tmp_path / name).is_symlink()
    assert (tmp_path / "elsewhere").read_bytes() == b"kept"
    (tmp_path / "c").write_bytes(b"old")
    (tmp_path / "c").chmod(0o444)
    storage.write_shard("c", shard(), 4, lambda: None)
    (tmp_path / "d").mkdir()
    with pytest.raises(UnreachableError, match="directory"):
        storage.write_shard("d", shard(), 4, lambda: None)
