"""SQLite's errors in words, by what people can do about them.

SQLite calls a file malformed also where the disk failed to read a page of it, and cannot open a
file also where the machine lacks a file handle; so before a queue is called damaged or not
writable, it is looked at once more.
"""

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from runtime.errors import ShardliftError, UnreachableError, UsageError

OTHER_PLACE: Final = (
    "set QUEUE_URL or --queue to a local path, such as sqlite:/tmp/shardlift/queue.db"
)
_READ_ONLY_HINT: Final = (
    "who may write it and its folder can do this; status, errors, verify and report only read"
)
_MALFORMED: Final = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}
# An SQL error: all statements are ours, so the file has other tables, columns or types.
_OTHER_SHAPE: Final = {
    *(sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_CONSTRAINT),
}
_NOT_OPENED: Final = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}
_CHECK_DISK: Final = "check the disk"
_ADVICE: Final = {sqlite3.SQLITE_FULL: "free some space", sqlite3.SQLITE_IOERR: _CHECK_DISK}
_OF_THE_MACHINE: Final = {
    *(errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.EINTR),
}
_BLOCK_BYTES: Final = 1 << 20
_CHECK_S: Final = 30.0  # how long to wait for another process's transaction


@contextlib.contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Translate errors of work on the file.

    Raises:
        UsageError: it is damaged, not a queue, or not writable.
        UnreachableError: the machine or its disk failed; the file may be whole.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _plain(error, path) from error


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's code without its refinement, which the higher bytes hold."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _plain(error: sqlite3.Error, path: Path) -> ShardliftError:
    code = primary_code(error)
    if code in _OTHER_SHAPE or (code in _MALFORMED and _is_malformed(path)):
        return UsageError(
            f"the queue {path} is damaged or not a queue ({error})",
            "move it away and run `python -m producer replay --missing`: the ledger has the truth",
        )
    if code in _NOT_OPENED and not _opens(path):
        why = "not writable" if os.path.lexists(path) else "cannot be made"
        hint = _READ_ONLY_HINT if path.is_file() else OTHER_PLACE
        return UsageError(f"the queue {path} cannot be used: {why} ({error})", hint)
    advice = _CHECK_DISK if code in _MALFORMED | _NOT_OPENED else _ADVICE.get(code)
    then = f"{advice}, then run the same command again: it continues" if advice else None
    what = "a page of it could not be read" if code in _MALFORMED else error
    return UnreachableError(f"the queue {path} cannot be used now ({what})", then)


def _is_malformed(path: Path) -> bool:
    """Whether the file can be read, and is not a sound database."""
    try:
        with path.open("rb") as file:
            while file.read(_BLOCK_BYTES):
                pass
    except OSError as error:
        return error.errno not in _OF_THE_MACHINE
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=_CHECK_S)) as connection:
            return bool(connection.execute("PRAGMA integrity_check(1)").fetchone()[0] != "ok")
    except sqlite3.Error as error:
        return primary_code(error) in _MALFORMED


def _opens(path: Path) -> bool:
    """Whether the file and those beside it can be written, as far as their rights go."""
    beside = [path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm")]
    try:
        for one in (path, *filter(os.path.lexists, beside)):
            os.close(os.open(one, os.O_RDWR))
    except OSError as error:
        return error.errno in _OF_THE_MACHINE
    return os.access(path.parent, os.W_OK)
