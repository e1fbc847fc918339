"""Queue files with other tables, columns or types than ours: one line, or read nevertheless."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from delivery.broker.embedded import EmbeddedBroker
from delivery.broker.fleet_lock import FleetLock
from delivery.messages import ShardMessage
from runtime.errors import UsageError

MESSAGE = ShardMessage(run="/runs/r1", key="s0/0", kind="convert")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A queue with one message."""
    file = tmp_path / "queue.db"
    with _broker(file) as broker:
        broker.publish("2gi", [MESSAGE])
    return file


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE message",
        "ALTER TABLE message RENAME TO letters",
        "ALTER TABLE message RENAME COLUMN lease TO claim",
        "ALTER TABLE message RENAME COLUMN attempts TO deliveries",
    ],
)
def test_other_tables_or_columns(path: Path, statement: str) -> None:
    """Wrong configuration with the way on, not trouble that passes."""
    _execute(path, statement)
    with (
        pytest.raises(UsageError, match="damaged or not a queue") as caught,
        _broker(path) as broker,
    ):
        broker.lease("2gi")
    assert "replay --missing" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "change",
    [
        "attempts = 'many'",
        "attempts = 7",
        "attempts = -9e999",
        "published = 'soon'",
        "published = 9e999, attempts = 9",
        "attributes = x'ff00fe'",
        "attributes = '[1'",
        "later = x'ff', attempts = 9",
        "data = CAST(data AS TEXT)",
        "lease = x'00'",
    ],
)
def test_other_types(path: Path, change: str) -> None:
    """Values of other types break nothing; the message arrives, here or further on."""
    _execute(path, f"UPDATE message SET {change}")  # noqa: S608 - our own texts
    with _broker(path) as broker:
        found = [one for tier in ("2gi", "4gi", "dead") if (one := broker.lease(tier))]
        broker.backlog("2gi")
        assert len(found) <= 1
        for delivery in found:
            assert delivery.data == MESSAGE.encode()
            assert broker.ack(delivery)


def test_a_lock_that_cannot_be_opened(tmp_path: Path) -> None:
    """A folder in the lock's place is wrong configuration that names it."""
    (tmp_path / "queue.db.fleet").mkdir()
    with pytest.raises(UsageError, match=r"the fleet lock .*queue\.db\.fleet cannot be opened"):
        FleetLock(tmp_path / "queue.db")


def _broker(path: Path) -> EmbeddedBroker:
    return EmbeddedBroker(path, ("2gi", "4gi"), 5.0)


def _execute(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)
