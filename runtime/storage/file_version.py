"""Version of a file: what tells whether it was replaced, and changes of exactly one version.

`rename` replaces whatever is there. Here every writer locks the file that it replaces and checks
that it is still the one it saw; where there was none, a hard link takes the name only if it is
free. So a writer that was held up, however long, replaces nothing that it has not seen.
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from runtime.errors import UnreachableError
from runtime.storage import files

_LOCK_S: Final = 10.0  # a writer holds the lock for one rename; longer only if it is frozen
_POLL_S: Final = 0.02
_NO_LOCKS: Final = {  # file systems without locks; there the check alone must do
    *(errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EOPNOTSUPP)
}


class FileVersion(NamedTuple):
    """What differs between two files that had the same name one after the other."""

    device: int
    inode: int
    modified_ns: int
    size: int

    @classmethod
    def of(cls, found: os.stat_result) -> "FileVersion":
        """The version that a stat tells of."""
        return cls(found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


def version_of(path: Path) -> FileVersion | None:
    """The present version of a file or link; None if there is none."""
    try:
        return FileVersion.of(path.lstat())
    except FileNotFoundError:
        return None


def replace_version(
    file: BinaryIO, temporary: Path, target: Path, seen: FileVersion | None
) -> bool:
    """Give a finished file its name if that names the version that was seen; whether it has it.

    Args:
        file: the finished file, open.
        temporary: its present name.
        target: its name to come.
        seen: version to be replaced; None: the name is free.
    """
    if _is(file, target):  # an earlier try succeeded, and its answer was lost
        return True
    if seen is None:
        return files.publish_new(temporary, target)
    with _locked(target):
        if version_of(target) != seen:
            return False
        temporary.replace(target)
    return True


def unlink_version(target: Path, seen: FileVersion) -> bool:
    """Remove a file if it is the version that was seen; False if another took its place."""
    with _locked(target):
        present = version_of(target)
        if present == seen:
            target.unlink()
    return present in (seen, None)


def _is(file: BinaryIO, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    return False


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lock on the file of this name, if there is one; the kernel releases that of a dead writer."""
    try:
        fd = _opened(path)
    except OSError:  # gone, a link, a directory, or not ours: the version is checked all the same
        yield
        return
    try:
        _lock(fd, path)
        yield
    finally:
        os.close(fd)


def _opened(path: Path) -> int:
    flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        return os.open(path, os.O_RDWR | flags)  # NFS locks only what is open for writing
    except PermissionError:
        return os.open(path, os.O_RDONLY | flags)


def _lock(fd: int, path: Path) -> None:
    until_s = time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until_s:
                raise UnreachableError(
                    f"{path}: another program that replaces it does not come to an end",
                    hint="a frozen worker may hold it: end or resume that one",
                ) from None
            time.sleep(_POLL_S)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return
        else:
            return
