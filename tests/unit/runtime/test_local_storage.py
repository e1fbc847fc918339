"""Local storage: disk errors, and features of file systems."""

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runtime.errors import (
    EXIT_UNREACHABLE,
    MachineError,
    ObjectNotFound,
    PermanentError,
    UnreachableError,
)
from runtime.storage import files, open_storage, source_stamp
from runtime.storage.base import Pieces

FULL = """
import resource, sys
from runtime.errors import UnreachableError
from runtime.storage import open_storage, source_stamp

resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
storage = open_storage(sys.argv[1])

def pieces():
    for _ in range(30):
        yield bytes(100_000)
    return b"HEAD"

for write in (
    lambda: storage.write_shard("s/1.shard", pieces(), 4, lambda: None),
    lambda: storage.write("plan.arrow", bytes(2 << 20)),
    lambda: storage.create("receipt", bytes(2 << 20)),
):
    try:
        write()
    except UnreachableError as error:
        print(error)
"""


def shard() -> Pieces:
    """A small one."""
    yield b"body"
    return b"HEAD"


def names(root: Path) -> list[str]:
    """All files, hidden ones too."""
    return sorted(file.name for file in root.rglob("*") if file.is_file())


def test_a_file_that_cannot_grow_leaves_nothing(tmp_path: Path) -> None:
    """As on a full disk: one line, no temporary file (here a real limit of the kernel's)."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert done.stdout.splitlines() == [
        f"File too large: {tmp_path}/s/1.shard",
        f"File too large: {tmp_path}/plan.arrow",
        f"File too large: {tmp_path}/receipt",
    ]
    assert done.stderr == ""
    assert names(tmp_path) == []


def test_a_full_disk_gets_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to do, and that no work is lost."""

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnreachableError, match="No space left on device") as caught:
        open_storage(str(tmp_path)).write("a", b"x")
    assert "free some space" in (caught.value.hint or "")
    assert names(tmp_path) == []


def test_checks_at_once_do_not_harm_each_other(tmp_path: Path) -> None:
    """Each makes a directory and removes it, perhaps while another has no file in it yet."""
    storage = open_storage(str(tmp_path / "a" / "b"))
    errors: list[Exception] = []

    def check() -> None:
        try:
            for _ in range(150):
                storage.check_writable()
        except UnreachableError as error:
            errors.append(error)

    threads = [threading.Thread(target=check) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.parametrize("root", ["file", "file/below", "/proc/nothing"])
def test_an_unwritable_root_is_one_line(tmp_path: Path, root: str) -> None:
    """Where a file stands in the way, or the directory is not writable."""
    (tmp_path / "file").write_bytes(b"")
    storage = open_storage(str(tmp_path / root))
    for write in (
        storage.check_writable,
        lambda: storage.write("a", b""),
        lambda: storage.create("a", b""),
        lambda: storage.write_shard("a", shard(), 4, lambda: None),
    ):
        with pytest.raises(UnreachableError, match=root) as caught:
            write()
        assert caught.value.exit_code == EXIT_UNREACHABLE
        assert "\n" not in str(caught.value)


def test_the_root_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """As it was typed, and nothing below it that nobody named."""
    (tmp_path / "README.md").write_bytes(b"")
    for root in ("README.md", "README.md/below"):
        with pytest.raises(UnreachableError) as caught:
            open_storage(str(tmp_path / root)).check_writable()
        assert str(caught.value) == f"{tmp_path / root} is a file, or lies below one"
        assert caught.value.hint == "name a directory"
    with pytest.raises(UnreachableError, match=r": /proc/nothing$"):
        open_storage("/proc/nothing").check_writable()


def test_checking_leaves_nothing_behind(tmp_path: Path) -> None:
    """Directories made for the check are removed; those that were there stay."""
    (tmp_path / "there").mkdir()
    open_storage(str(tmp_path / "there/not/yet")).check_writable()
    open_storage(str(tmp_path / "there")).check_writable()
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_a_missing_source_is_reported(tmp_path: Path) -> None:
    """Before anything is planned."""
    (tmp_path / "file").write_bytes(b"")
    for missing in ("nothing", "file"):
        with pytest.raises(UnreachableError, match=f"no such directory: {tmp_path}/{missing}"):
            open_storage(str(tmp_path / missing)).check_readable()


def test_a_conflicting_folder_is_one_line(tmp_path: Path) -> None:
    """A file cannot take its place."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(UnreachableError, match="directory"):
        open_storage(str(tmp_path)).write("a", b"")
    assert names(tmp_path) == []


def test_a_transient_error_is_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system loses a handle now and then."""
    storage, tries, real = open_storage(str(tmp_path)), [], files._opened
    storage.write("a", b"x")

    def stale(path: str) -> int:
        tries.append(path)
        if len(tries) < 3:
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(path)

    monkeypatch.setattr(files, "_opened", stale)
    assert storage.read("a") == b"x"
    assert len(tries) == 3


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK])
def test_what_is_not_a_regular_file_is_named(tmp_path: Path, kind: int) -> None:
    """Opening a pipe would wait for a writer, for ever."""
    os.mknod(tmp_path / "a.arrow", kind | 0o600)
    storage = open_storage(str(tmp_path))
    for read in (storage.read, storage.source):
        with pytest.raises(PermanentError, match=r"a\.arrow is not a regular file"):
            read("a.arrow")


def test_links_that_lead_back_are_listed_once(tmp_path: Path) -> None:
    """Two of them would make a listing of more names than any disk holds."""
    (tmp_path / "s0").mkdir()
    (tmp_path / "s0" / "a").touch()
    for number, target in enumerate((".", "..", "../s0", str(tmp_path))):
        (tmp_path / "s0" / f"loop{number}").symlink_to(target)
    (tmp_path / "other").symlink_to("s0")
    listed = [info.path for info in open_storage(str(tmp_path)).list()]
    assert listed == ["other/a", "s0/a"]


def test_too_few_file_handles_are_the_machines_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the file and the limit to raise; no shard is blamed for it."""
    storage = open_storage(str(tmp_path))
    storage.write("a", b"x")

    def none_left(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", none_left)
    with pytest.raises(MachineError, match=r"too many files are open.*/a$") as raised:
        storage.source("a")
    assert raised.value.hint is not None
    assert "ulimit -n" in raised.value.hint


def test_create_works_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems have none: still one winner of many, and whole files."""

    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    storage, won = open_storage(str(tmp_path)), []
    start = threading.Barrier(8)

    def create(number: int) -> None:
        start.wait()
        if storage.create("one", b"%d" % number * 1000):
            won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert storage.read("one") == b"%d" % won[0] * 1000
    assert [info.path for info in storage.list()] == ["one"]


def test_a_replaced_file_is_read_to_its_end(tmp_path: Path) -> None:
    """The source holds the old file, which the system keeps until it is closed."""
    storage = open_storage(str(tmp_path))
    storage.write("a", b"old bytes")
    with storage.source("a") as source:  # type: ignore[attr-defined] # only files need closing
        storage.delete("a")
        assert source.read_at(0, 100) == b"old bytes"
    with pytest.raises(ObjectNotFound):
        storage.source("a")


def test_linked_files_and_folders_are_listed(tmp_path: Path) -> None:
    """An export may be put together of links; a broken one is not an object."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.arrow").write_bytes(b"123")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "s0").symlink_to(tmp_path / "real")
    (tmp_path / "root" / "b.arrow").symlink_to(tmp_path / "real" / "a.arrow")
    (tmp_path / "root" / "c.arrow").symlink_to(tmp_path / "gone")
    found = [(info.path, info.size) for info in open_storage(str(tmp_path / "root")).list()]
    assert found == [("b.arrow", 3), ("s0/a.arrow", 3)]


def test_links_without_a_target_are_listed_on_request(tmp_path: Path) -> None:
    """For who must know of them; a circle of links is one, and an object is none."""
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").symlink_to(tmp_path / "gone")
    (tmp_path / "c").symlink_to(tmp_path / "c")
    (tmp_path / "d").symlink_to(tmp_path / "a" / "not-a-folder")
    (tmp_path / "e").symlink_to(tmp_path / "a")
    storage = open_storage(str(tmp_path))
    assert [info.path for info in storage.list()] == ["a", "e"]
    found = [(info.path, info.broken_link) for info in storage.list(broken_links=True)]
    assert found == [("a", False), ("b", True), ("c", True), ("d", True), ("e", False)]
    assert storage.folders() == []


def test_stamps_hold_the_time_to_the_nanosecond(tmp_path: Path) -> None:
    """Two files of one size, written within a microsecond, are two."""
    storage = open_storage(str(tmp_path))
    stamps = set()
    for more in (0, 1, 999):
        (tmp_path / "a").write_bytes(b"x")
        os.utime(tmp_path / "a", ns=(1, 1_767_225_600_123_456_000 + more))
        stamps |= {source_stamp(storage.stat("a")), storage.source("a").stamp}
    assert len(stamps) == 3


def test_files_get_the_usual_rights(tmp_path: Path) -> None:
    """As if they had been written plainly: others may read what the umask lets them."""
    storage = open_storage(str(tmp_path))
    (tmp_path / "plain").write_bytes(b"")
    storage.write("a", b"")
    storage.create("b", b"")
    storage.write_shard("c", shard(), 4, lambda: None)
    modes = {(tmp_path / name).stat().st_mode for name in ("plain", "a", "b", "c")}
    assert len(modes) == 1


def test_a_linked_folder_is_listed_unless_its_disk_is_gone(tmp_path: Path) -> None:
    """What lies behind a link without a target is not nothing."""
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "0.shard").write_bytes(b"x")
    storage = open_storage(str(tmp_path / "volume"))
    storage.write("info", b"{}")
    (tmp_path / "volume" / "8x8x8").symlink_to(disk)
    assert [info.path for info in storage.list("8x8x8/")] == ["8x8x8/0.shard"]
    disk.rename(tmp_path / "elsewhere")
    with pytest.raises(UnreachableError, match="8x8x8 is a symbolic link without a target"):
        list(storage.list("8x8x8/"))
    assert [info.path for info in storage.list()] == ["info"]
    assert list(storage.list("16x16x16/")) == []
