"""Atomic file writes: a temporary file in the target directory, flushed, then renamed."""

import contextlib
import errno
import fcntl
import os
import random
import stat
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Final, ParamSpec, TypeVar

from runtime.errors import ObjectNotFound, PermanentError, ShardliftError, UnreachableError
from runtime.machine import os_machine_error
from runtime.storage.base import OWNER, TEMPORARY_PREFIX, temporary_name
from runtime.storage.stream import ShardStream

P = ParamSpec("P")
T = TypeVar("T")

_TRANSIENT: Final = {errno.EAGAIN, errno.EBUSY, errno.ESTALE, errno.ETIMEDOUT}
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_ABSENT: Final = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}
_PIECE_BYTES: Final = 1 << 20
_IN_THE_WAY: Final = {errno.EEXIST, errno.ENOTDIR}
# Of a directory: not supported there (network and FUSE file systems), or not ours to open.
_NO_DIRECTORY_FLUSH: Final = {
    *(errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP),
    *(errno.EACCES, errno.EPERM),
}
_NO_LINKS: Final = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in _TRANSIENT


_BEFORE_SECOND_S: Final = 0.1
_MOST_REMOVALS: Final = 20  # of a directory, while one file is made in it


def with_retry(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function to be tried again on transient errors."""

    def tried(*args: P.args, **kwargs: P.kwargs) -> T:
        try:  # the machinery for more costs as much as a small file takes to be read
            return function(*args, **kwargs)
        except OSError as error:
            if not _is_transient(error):
                raise
        time.sleep(random.uniform(0, _BEFORE_SECOND_S))  # noqa: S311 - no secret
        return _again(function)(*args, **kwargs)

    return tried


def _again(function: Callable[P, T]) -> Callable[P, T]:
    """Try some times more: network file systems recover; a full disk does not."""
    import tenacity  # noqa: PLC0415 - takes as long as a command's own work; seldom needed

    return tenacity.retry(
        retry=tenacity.retry_if_exception(_is_transient),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=2),
        stop=tenacity.stop_after_attempt(4),
        reraise=True,
    )(function)


@contextlib.contextmanager
def translate_read_errors(path: Path) -> Iterator[None]:
    """Translate OSError to ShardliftError; an absent file is ObjectNotFound."""
    try:
        yield
    except OSError as error:
        raise read_error(path, error) from error


def read_error(path: Path, error: OSError) -> ShardliftError:
    """The error for a file that cannot be read."""
    if error.errno in _ABSENT:
        return ObjectNotFound(f"not found: {path}")
    return _unreachable(path, error)


def read_whole(path: str) -> bytes:
    """All bytes of a regular file, with as few system calls as that takes; see `open_regular`."""
    fd = _opened(path)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise _not_regular_error(path, found.st_mode)
        data = more = os.read(fd, found.st_size + 1)  # less than wanted: its end
        while more and len(data) > found.st_size:
            more = os.read(fd, _PIECE_BYTES)
            data += more
        return data
    finally:
        os.close(fd)


@contextlib.contextmanager
def translate_write_errors(path: Path) -> Iterator[None]:
    """Translate OSError to UnreachableError; also for an absent directory."""
    try:
        yield
    except OSError as error:
        raise _unreachable(path, error) from error


def open_regular(path: Path) -> FileIO:
    """Open a file for reading; never waits, as opening a pipe would.

    Raises:
        PermanentError: it is a pipe, a socket or a device.
        OSError: it cannot be opened, or is a directory.
    """
    fd = _opened(path)
    mode = os.fstat(fd).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        os.close(fd)
        raise _not_regular(path)
    return FileIO(fd, "rb")  # refuses a directory


def _opened(path: Path | str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, or a device without a driver
            raise _not_regular(path) from error
        raise


def _not_regular_error(path: str, mode: int) -> Exception:
    if stat.S_ISDIR(mode):
        return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return _not_regular(path)


def _not_regular(path: Path | str) -> PermanentError:
    return PermanentError(
        f"{path} is not a regular file, but a pipe, a socket or a device",
        hint="put the file itself there",
    )


def _unreachable(path: Path, error: OSError) -> ShardliftError:
    if found := os_machine_error(error, str(path)):
        return found
    if error.errno in _IN_THE_WAY:
        return UnreachableError(f"{path} is a file, or lies below one", hint="name a directory")
    what = os.strerror(error.errno) if error.errno else str(error)
    wanted = "free some space" if error.errno in _FULL else "check the path and the rights to it"
    hint = f"{wanted}, then run the same command again: it continues"
    return UnreachableError(f"{what}: {path}", hint=hint)


@contextlib.contextmanager
def temporary_for(
    target: Path, *, named: Path | None = None, owner: str = OWNER
) -> Generator[tuple[Path, BinaryIO]]:
    """Temporary file in the directory of `target`; removed on exit unless renamed.

    Args:
        target: of the file to come.
        named: in errors; None: the target.
        owner: a run's id, for a shard.
    """
    path = target.with_name(temporary_name(target.name, owner))
    with translate_write_errors(named or target):
        file = _new_file(path)
    try:
        yield path, file
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        with contextlib.suppress(OSError):  # a full disk raises again; everything was flushed
            file.close()


def _new_file(path: Path) -> BinaryIO:
    """Open a new file; its directory is made, again if another process's check removed it."""
    for _ in range(_MOST_REMOVALS):
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            make_directory(path.parent)
            return path.open("xb")
    make_directory(path.parent)
    return path.open("xb")


def fill(file: BinaryIO, target: Path, pieces: Iterable[bytes]) -> None:
    """Write all pieces and flush them to disk; errors of `pieces` are raised as they are."""
    _write(file, target, pieces)
    with translate_write_errors(target):
        flush(file)


def fill_shard(file: BinaryIO, target: Path, stream: ShardStream) -> None:
    """Write the body behind a gap, then the head into the gap."""
    file.seek(stream.head_bytes)
    _write(file, target, stream)
    with translate_write_errors(target):
        file.seek(0)
        file.write(stream.head)
        flush(file)


def _write(file: BinaryIO, target: Path, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        with translate_write_errors(target):
            file.write(piece)


def flush(file: BinaryIO) -> None:
    """Flush a file to disk, so that a power cut cannot empty it after its rename."""
    file.flush()
    os.fsync(file.fileno())


def make_directory(directory: Path) -> None:
    """Make a directory and the missing ones above it; their names survive a power cut."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    with_retry(directory.mkdir)(parents=True, exist_ok=True)
    for path in missing:
        flush_directory(path.parent)


def flush_directory(directory: Path) -> None:
    """Flush a directory to disk, so that a new name survives a power cut.

    A file system that cannot do that is left to its own promises.
    """
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_FLUSH:
            raise


def publish_new(temporary: Path, target: Path) -> bool:
    """Give a finished file its name; False if the name is taken (a hard link never replaces)."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _publish_new_locked(temporary, target)
    return True


def _publish_new_locked(temporary: Path, target: Path) -> bool:
    """`publish_new` for file systems without hard links, under a lock."""
    # The kernel releases the lock when its holder dies.
    with target.with_name(f"{TEMPORARY_PREFIX}lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            return False
        temporary.replace(target)
        return True
