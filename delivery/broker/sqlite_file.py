"""SQLite file shared by many processes: opening and refusing.

WAL mode lets readers and one writer work concurrently through shared memory, which exists only
between processes of one machine. On a network file system it breaks silently, so that is refused.
`synchronous=NORMAL`: a killed process loses nothing; a power cut may lose the last messages, which
`replay --missing` publishes again from the ledger.
"""

import contextlib
import sqlite3
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

import psutil

from delivery.broker.sqlite_errors import OTHER_PLACE, plain_errors, primary_code
from runtime.errors import UsageError

BUSY_S: Final = 30.0  # how long to wait for another process's transaction
APPLICATION_ID: Final = 0x5A5D11F7  # "this SQLite file is a shardlift queue"
SCHEMA: Final = 1
# fmt: off
NETWORK_FILE_SYSTEMS: Final = frozenset([
    "9p", "afpfs", "afs", "beegfs", "ceph", "cifs", "davfs", "glusterfs", "gpfs", "lustre",
    "ncpfs", "nfs", "nfs3", "nfs4", "orangefs", "pvfs2", "smb", "smb2", "smb3", "smbfs", "webdav",
])
# fmt: on
LOCAL_FUSE: Final = frozenset(["fuse.fuse-overlayfs", "fuse.ntfs-3g", "fuse.mergerfs"])
_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}  # by another process, for a while


class Mount(Protocol):
    """The part of a mounted file system that is read here."""

    mountpoint: str
    fstype: str


class QueueFile:
    """Connection to the file, shared by the threads of a process, one transaction at a time."""

    def __init__(self, path: Path, schema: str) -> None:
        self.path = path
        self._schema = schema
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        with self.reading():
            pass

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection for single statements that only read."""
        with self._lock, plain_errors(self.path):
            yield self._connected()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection inside a write transaction; rolled back if the block raises."""
        with self.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _connected(self) -> sqlite3.Connection:
        """The connection; a new one if the file was removed or replaced meanwhile."""
        if self._connection is None or _identity(self.path) != self._identity:
            self.close()
            self._connection = _open(self.path, self._schema)
            self._identity = _identity(self.path)
        return self._connection


def on_network(path: Path, mounts: Iterable[Mount]) -> str | None:
    """The type of the network file system that holds `path`; None if it is a local one."""
    parents = {str(path), *map(str, path.parents)}
    holding = [mount for mount in mounts if mount.mountpoint in parents]
    if not holding:
        return None
    longest = max(len(mount.mountpoint) for mount in holding)
    fs_type = [mount.fstype for mount in holding if len(mount.mountpoint) == longest][-1]
    fuse = fs_type.startswith("fuse.") and fs_type not in LOCAL_FUSE
    return fs_type if fuse or fs_type in NETWORK_FILE_SYSTEMS else None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _check_regular(path: Path) -> None:
    """Refuse folders, pipes and devices, also in place of what SQLite keeps beside the file."""
    for end in ("", "-wal", "-shm", "-journal"):
        file = path.with_name(f"{path.name}{end}")
        with contextlib.suppress(OSError):  # not there, or told when it is opened
            if not stat.S_ISREG(file.stat().st_mode):
                raise UsageError(
                    f"the queue {path} cannot be used: {file} is not a regular file", OTHER_PLACE
                )


def _open(path: Path, schema: str) -> sqlite3.Connection:
    _check_regular(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"the queue {path} cannot be made: {error.strerror}", OTHER_PLACE
        ) from None
    fs_type = on_network(path.resolve(), psutil.disk_partitions(all=True))
    if fs_type is not None:
        raise UsageError(f"the queue {path} lies on a network file system ({fs_type})", OTHER_PLACE)
    connection = sqlite3.connect(
        path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
    )
    connection.text_factory = _decoded  # a text column may hold any bytes
    try:
        _prepare(connection, path, schema)
    except BaseException:
        connection.close()
        raise
    return connection


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _prepare(connection: sqlite3.Connection, path: Path, schema: str) -> None:
    _check_ours(connection, path)
    if _set_wal(connection) != "wal":
        raise UsageError(
            f"the file system of the queue {path} has no shared memory (WAL)", OTHER_PLACE
        )
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("BEGIN IMMEDIATE")  # one of the processes that start together makes it
    if _pragma(connection, "application_id") != APPLICATION_ID:
        for statement in schema.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA}")
    connection.execute("COMMIT")


def _check_ours(connection: sqlite3.Connection, path: Path) -> None:
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    ours = _pragma(connection, "application_id") == APPLICATION_ID
    if tables and not ours:
        raise UsageError(f"{path} is another program's database, not a queue", OTHER_PLACE)
    if ours and _pragma(connection, "user_version") > SCHEMA:
        raise UsageError(f"the queue {path} was made by a newer version", "install that version")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _set_wal(connection: sqlite3.Connection) -> str:
    """Set WAL mode and return the mode; the busy timeout does not cover this, hence the retries."""
    end = time.monotonic() + BUSY_S
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if primary_code(error) not in _BUSY or time.monotonic() > end:
                raise
            time.sleep(0.05)
