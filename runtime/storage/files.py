"""One file at a time: written beside its place, flushed, then given its name."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final
from uuid import uuid4

import tenacity

from runtime.errors import ObjectNotFound, ShardliftError, UnreachableError
from runtime.storage.base import TEMPORARY_PREFIX
from runtime.storage.stream import ShardStream

_PASSING: Final = {errno.EAGAIN, errno.EBUSY, errno.ESTALE, errno.ETIMEDOUT}
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_ABSENT: Final = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}
_NO_LINKS: Final = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}


def _passes(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in _PASSING


patiently = tenacity.retry(  # a network file system has its moments; a full disk has not
    retry=tenacity.retry_if_exception(_passes),
    wait=tenacity.wait_random_exponential(multiplier=0.1, max=2),
    stop=tenacity.stop_after_attempt(5),
    reraise=True,
)
"""Makes a function try again on errors that pass by themselves."""


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the operating system's errors into ours, for reading: what is absent is not found."""
    try:
        yield
    except OSError as error:
        if error.errno in _ABSENT:
            raise ObjectNotFound(f"not found: {path}") from error
        raise _unreachable(path, error) from error


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """The same for writing, where an absent directory means that nothing can be written."""
    try:
        yield
    except OSError as error:
        raise _unreachable(path, error) from error


def _unreachable(path: Path, error: OSError) -> ShardliftError:
    what = os.strerror(error.errno) if error.errno else str(error)
    wanted = "free some space" if error.errno in _FULL else "check the path and the rights to it"
    hint = f"{wanted}, then run the same command again: it continues"
    return UnreachableError(f"{what}: {path}", hint=hint)


@contextlib.contextmanager
def temporary_beside(target: Path) -> Generator[tuple[Path, BinaryIO]]:
    """A new file in the directory of `target`; gone afterwards unless it was renamed."""
    path = target.with_name(f"{TEMPORARY_PREFIX}{target.name}-{uuid4().hex}")
    with writing(target):
        patiently(target.parent.mkdir)(parents=True, exist_ok=True)
        file = path.open("xb")
    try:
        yield path, file
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        with contextlib.suppress(OSError):  # a full disk complains once more; all was flushed
            file.close()


def fill(file: BinaryIO, target: Path, pieces: Iterable[bytes]) -> None:
    """Write all pieces, onto the disk; an error of `pieces` itself stays as it is."""
    _write(file, target, pieces)
    with writing(target):
        flush(file)


def fill_shard(file: BinaryIO, target: Path, stream: ShardStream) -> None:
    """Write the body behind a gap, then the head into the gap."""
    file.seek(stream.head_bytes)
    _write(file, target, stream)
    with writing(target):
        file.seek(0)
        file.write(stream.head)
        flush(file)


def _write(file: BinaryIO, target: Path, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        with writing(target):
            file.write(piece)


def flush(file: BinaryIO) -> None:
    """Onto the disk, so that no rename shows a file whose bytes a power cut can take."""
    file.flush()
    os.fsync(file.fileno())


def flush_directory(directory: Path) -> None:
    """Onto the disk, so that a name outlives what is written after it."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def publish_new(temporary: Path, target: Path) -> bool:
    """Give a finished file its name unless another has it: a hard link never replaces."""
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
    """The same where the file system has no hard links: one at a time, under a lock.

    The lock is the kernel's, so that it ends with its holder.
    """
    with target.with_name(f"{TEMPORARY_PREFIX}lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            return False
        temporary.replace(target)
        return True
