"""Embedded broker: queues in one SQLite file, used by many processes of one machine.

It has the semantics of Pub/Sub with the subscriptions of `infra`: leases, five deliveries per tier,
dead letters, seek. Beyond that it reports a lost lease, knows its backlog exactly, and keeps the
state roots whose runs were enqueued in it.

Who may publish may write the file, so its settings are only as good as the file's rights: they are
believed if the file belongs to this user or to root, and not everybody may write it.
"""

import contextlib
import json
import os
import sqlite3
import stat
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Final

from delivery.broker.base import (
    DEAD,
    DEAD_LETTER_SOURCE,
    MAX_DELIVERIES,
    RETENTION_S,
    Backlog,
    Broker,
    Delivery,
)
from delivery.broker.sqlite_file import QueueFile
from delivery.messages import ShardMessage
from runtime.clock import uptime_s

FIRST_PAUSE_S: Final = 0.02
LONGEST_PAUSE_S: Final = 0.5  # between two polls of an empty queue

# `later` holds the tiers after this one as the publisher knew them, separated by commas, so that
# the backstop works in a process that knows other tiers; times are Unix seconds.
_SCHEMA: Final = """
CREATE TABLE message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    tier TEXT NOT NULL,
    later TEXT NOT NULL,
    data BLOB NOT NULL,
    attributes TEXT NOT NULL,
    published REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    lease TEXT,
    lease_until REAL NOT NULL DEFAULT 0,
    acked REAL
);
CREATE INDEX open_messages ON message (tier, id) WHERE acked IS NULL;
CREATE INDEX struck_messages ON message (attempts) WHERE acked IS NULL AND attempts >= 5;
CREATE INDEX acked_messages ON message (acked) WHERE acked IS NOT NULL
"""
# Made when first needed: files of earlier builds lack it.
_STATE_ROOTS: Final = "CREATE TABLE IF NOT EXISTS state_root (url BLOB PRIMARY KEY)"
_STRUCK: Final = f"acked IS NULL AND attempts >= {MAX_DELIVERIES} AND lease_until <= ?"
_READY: Final = "tier = ? AND acked IS NULL AND lease_until <= ?"
_INSERT: Final = (
    "INSERT INTO message (tier, later, data, attributes, published) VALUES (?, ?, ?, ?, ?)"
)


class EmbeddedBroker(Broker):
    """Queues in one SQLite file.

    Args:
        path: the file, made when missing; absolute.
        tiers: names, smallest first.
        lease_s: how long a lease lasts.
        clock: Unix time in seconds; the processes of one machine share it.
    """

    one_machine: ClassVar[bool] = True

    def __init__(
        self,
        path: Path,
        tiers: Sequence[str],
        lease_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(tiers, lease_s)
        self.url = f"sqlite:{path}"
        self._clock = clock
        self._file = QueueFile(path, _SCHEMA)

    def publish(self, tier: str, messages: Sequence[ShardMessage]) -> None:
        """Publish messages in one transaction; it deletes messages acked a week ago."""
        self.check_tier(tier)
        with self._file.transaction() as db:
            self._insert(db, tier, messages)
            db.execute("DELETE FROM message WHERE acked < ?", (self._clock() - RETENTION_S,))

    def lease(self, tier: str, wait_s: float = 0.0) -> Delivery | None:
        """Lease the message published first, polled for until `wait_s` has passed."""
        self.check_tier(tier)
        end = time.monotonic() + wait_s
        pause = FIRST_PAUSE_S
        while (delivery := self._lease_now(tier)) is None:
            left = end - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, LONGEST_PAUSE_S)
        return delivery

    def extend(self, delivery: Delivery) -> bool:
        """Extend the lease to `lease_s` from now; False if another worker has the message."""
        return self._change(delivery, "lease_until = ?", self._clock() + self.lease_s)

    def ack(self, delivery: Delivery) -> bool:
        """Acknowledge the message; it stays in the file for `seek`."""
        return self._change(delivery, "acked = ?", self._clock())

    def nack(self, delivery: Delivery) -> bool:
        """End the lease now, so that the message is delivered again."""
        return self._change(delivery, "lease = NULL, lease_until = ?", 0.0)

    def hand_over(self, delivery: Delivery, tier: str, message: ShardMessage) -> bool:
        """Publish and ack in one transaction."""
        with self._file.transaction() as db:
            self._insert(db, tier, [message], self._later(db, delivery, tier))
            return _change(db, delivery, "acked = ?", self._clock())

    def set_aside(self, delivery: Delivery) -> bool:
        """Insert the bytes as they are among the dead letters, and ack."""
        row = (DEAD, "", delivery.data, json.dumps(dict(delivery.attributes)), self._clock())
        with self._file.transaction() as db:
            db.execute(_INSERT, row)
            return _change(db, delivery, "acked = ?", self._clock())

    @property
    def names_state_roots(self) -> bool:  # type: ignore[override]  # read anew: rights change
        """Whether the file's settings are believed."""
        return _is_ours(self._file.path)

    def state_roots(self) -> tuple[str, ...]:
        """The roots that `add_state_root` noted; none where others could have."""
        if not self.names_state_roots:
            return ()
        with self._file.reading() as db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'state_root'").fetchone():
                return ()
            found = db.execute("SELECT CAST(url AS BLOB) FROM state_root ORDER BY rowid").fetchall()
        return tuple(os.fsdecode(url) for (url,) in found if url)

    def add_state_root(self, url: str) -> None:
        """Note a root in the file."""
        with self._file.transaction() as db:
            db.execute(_STATE_ROOTS)
            # As bytes, because a path need not be text.
            db.execute("INSERT OR IGNORE INTO state_root (url) VALUES (?)", (os.fsencode(url),))

    def backlog(self, tier: str) -> Backlog:
        """Exact counts."""
        self.check_tier(tier)
        now = self._clock()
        query = (
            "SELECT count(*), coalesce(sum(lease_until > ?), 0), min(CAST(published AS REAL))"
            " FROM message WHERE tier = ? AND acked IS NULL"
        )
        with self._file.reading() as db:
            total, leased, oldest = db.execute(query, (now, tier)).fetchone()
        age = None if oldest is None else max(0.0, now - oldest)
        return Backlog(waiting=total - leased, leased=leased, oldest_s=age)

    def seek(self, tier: str, to: datetime) -> None:
        """Drop what was published before, restore what was acked since; leases stay."""
        self.check_tier(tier)
        time_s = to.timestamp()
        drop = "UPDATE message SET acked = ? WHERE tier = ? AND acked IS NULL AND published < ?"
        revive = (
            "UPDATE message SET acked = NULL, attempts = 0, lease = NULL, lease_until = 0"
            " WHERE tier = ? AND acked IS NOT NULL AND published >= ?"
        )
        with self._file.transaction() as db:
            db.execute(drop, (self._clock(), tier, time_s))
            db.execute(revive, (tier, time_s))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _lease_now(self, tier: str) -> Delivery | None:
        """Poll once; takes the write lock only if there is a message."""
        if not self._anything(tier):
            return None
        received_s = uptime_s()
        with self._file.transaction() as db:
            now = self._clock()
            _move_struck(db, now)
            row = db.execute(
                "SELECT id, CAST(data AS BLOB), CAST(attributes AS BLOB),"  # noqa: S608 - constants
                f" CAST(attempts AS INTEGER) FROM message WHERE {_READY}"
                " ORDER BY id LIMIT 1",
                (tier, now),
            ).fetchone()
            if row is None:
                return None
            message_id, data, attributes, attempts = row
            lease = uuid.uuid4().hex
            db.execute(
                "UPDATE message SET lease = ?, lease_until = ?, attempts = ? WHERE id = ?",
                (lease, now + self.lease_s, attempts + 1, message_id),
            )
        token = f"{message_id}/{lease}"
        return Delivery(tier, data, _plain(attributes), attempts + 1, token, received_s)

    def _anything(self, tier: str) -> bool:
        now = self._clock()
        query = (
            f"SELECT EXISTS (SELECT 1 FROM message WHERE {_READY})"  # noqa: S608 - constants
            f" OR EXISTS (SELECT 1 FROM message WHERE tier != '{DEAD}' AND {_STRUCK})"
        )
        with self._file.reading() as db:
            return bool(db.execute(query, (tier, now, now)).fetchone()[0])

    def _insert(
        self,
        db: sqlite3.Connection,
        tier: str,
        messages: Sequence[ShardMessage],
        later: str | None = None,
    ) -> None:
        if later is None:
            later = ",".join(self.tiers[self.tiers.index(tier) + 1 :]) if tier != DEAD else ""
        now = self._clock()
        db.executemany(_INSERT, (_row(tier, later, message, now) for message in messages))

    def _later(self, db: sqlite3.Connection, delivery: Delivery, tier: str) -> str | None:
        """The tiers after `tier` as the first publisher knew them, where this process does not."""
        if tier == DEAD or tier in self.tiers:
            return None
        query = "SELECT CAST(later AS TEXT) FROM message WHERE id = ?"
        row = db.execute(query, (_token(delivery)[0],)).fetchone()
        later = row[0].split(",") if row else []
        if tier not in later:
            self.check_tier(tier)
        return ",".join(later[later.index(tier) + 1 :])

    def _change(self, delivery: Delivery, what: str, value: float) -> bool:
        with self._file.transaction() as db:
            return _change(db, delivery, what, value)


def _change(db: sqlite3.Connection, delivery: Delivery, what: str, value: float) -> bool:
    """Change the message if the lease is still held: also an expired one, until the next lease."""
    query = f"UPDATE message SET {what} WHERE id = ? AND lease = ? AND acked IS NULL"  # noqa: S608 - constants
    return db.execute(query, (value, *_token(delivery))).rowcount == 1


def _token(delivery: Delivery) -> tuple[int, str]:
    message_id, _, lease = delivery.token.partition("/")
    return int(message_id), lease


def _row(
    tier: str, later: str, message: ShardMessage, now: float
) -> tuple[str, str, bytes, str, float]:
    return tier, later, message.encode(), json.dumps(message.attributes()), now


def _move_struck(db: sqlite3.Connection, now: float) -> None:
    """Move messages delivered five times without an ack to their next tier, as new messages."""
    query = (
        "SELECT id, tier, CAST(later AS TEXT), CAST(data AS BLOB), CAST(attributes AS BLOB),"  # noqa: S608 - constants
        " CAST(published AS REAL), CAST(attempts AS INTEGER) FROM message"
        f" WHERE tier != '{DEAD}' AND {_STRUCK} ORDER BY id"
    )
    for message_id, tier, later, data, attributes, published, attempts in _all(db, query, now):
        target, _, rest = later.partition(",")
        marks = {**_plain(attributes), **_dead_letter_marks(tier, attempts, published)}
        db.execute(_INSERT, (target or DEAD, rest, data, json.dumps(marks), now))
        db.execute("UPDATE message SET acked = ? WHERE id = ?", (now, message_id))


def _all(
    db: sqlite3.Connection, query: str, now: float
) -> Iterator[tuple[int, str, str, bytes, bytes, float, int]]:
    yield from db.execute(query, (now,)).fetchall()


def _plain(attributes: bytes) -> dict[str, str]:
    """The attributes that are texts: other programs can insert messages, with anything there."""
    try:
        found = json.loads(attributes)
    except (ValueError, RecursionError):
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return {name: value for name, value in pairs if isinstance(value, str)}


def _is_ours(path: Path) -> bool:
    """Whether the file belongs to this user or to root, and not everybody may write it."""
    try:
        found = path.stat()
    except OSError:
        return False
    return found.st_uid in {0, os.geteuid()} and not found.st_mode & stat.S_IWOTH


def _dead_letter_marks(tier: str, attempts: int, published: float) -> Mapping[str, str]:
    """The attributes that Pub/Sub adds to what it forwards."""
    marks = {
        f"{DEAD_LETTER_SOURCE}DeliveryCount": str(attempts),
        f"{DEAD_LETTER_SOURCE}Subscription": tier,
    }
    with contextlib.suppress(OverflowError, ValueError, OSError):  # not a time
        at = datetime.fromtimestamp(published, UTC)
        marks[f"{DEAD_LETTER_SOURCE}TopicPublishTime"] = at.isoformat()
    return marks
