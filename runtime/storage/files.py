"""Atomic file writes: a temporary file in the target directory, flushed, then renamed."""

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

_TRANSIENT: Final = {errno.EAGAIN, errno.EBUSY, errno.ESTALE, errno.ETIMEDOUT}
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_ABSENT: Final = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}
_IN_THE_WAY: Final = {errno.EEXIST, errno.ENOTDIR}
_NO_LINKS: Final = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in _TRANSIENT


with_retry = tenacity.retry(  # network file systems recover; a full disk does not
    retry=tenacity.retry_if_exception(_is_transient),
    wait=tenacity.wait_random_exponential(multiplier=0.1, max=2),
    stop=tenacity.stop_after_attempt(5),
    reraise=True,
)
"""Decorator that retries a function on transient errors."""


@contextlib.contextmanager
def translate_read_errors(path: Path) -> Iterator[None]:
    """Translate OSError to ShardliftError; an absent file is ObjectNotFound."""
    try:
        yield
    except OSError as error:
        if error.errno in _ABSENT:
            raise ObjectNotFound(f"not found: {path}") from error
        raise _unreachable(path, error) from error


@contextlib.contextmanager
def translate_write_errors(path: Path) -> Iterator[None]:
    """Translate OSError to UnreachableError; also for an absent directory."""
    try:
        yield
    except OSError as error:
        raise _unreachable(path, error) from error


def _unreachable(path: Path, error: OSError) -> ShardliftError:
    if error.errno in _IN_THE_WAY:
        return UnreachableError(f"{path} is a file, or lies below one", hint="name a directory")
    what = os.strerror(error.errno) if error.errno else str(error)
    wanted = "free some space" if error.errno in _FULL else "check the path and the rights to it"
    hint = f"{wanted}, then run the same command again: it continues"
    return UnreachableError(f"{what}: {path}", hint=hint)


@contextlib.contextmanager
def temporary_for(target: Path, *, named: Path | None = None) -> Generator[tuple[Path, BinaryIO]]:
    """Temporary file in the directory of `target`; removed on exit unless renamed.

    Args:
        target: of the file to come.
        named: in errors; None: the target.
    """
    path = target.with_name(f"{TEMPORARY_PREFIX}{target.name}-{uuid4().hex}")
    with translate_write_errors(named or target):
        with_retry(target.parent.mkdir)(parents=True, exist_ok=True)
        file = path.open("xb")
    try:
        yield path, file
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        with contextlib.suppress(OSError):  # a full disk raises again; everything was flushed
            file.close()


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


def flush_directory(directory: Path) -> None:
    """Flush a directory to disk, so that a new name survives a power cut."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


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
