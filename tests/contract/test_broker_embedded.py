"""Embedded broker: exact counts, reported lease losses, one-line refusals."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from delivery.broker import absolute_queue_url, open_broker
from delivery.broker.base import DEAD, MAX_DELIVERIES, RETENTION_S, Backlog
from delivery.broker.embedded import EmbeddedBroker
from delivery.broker.sqlite_file import on_network
from delivery.messages import ShardMessage, decode
from runtime.errors import UnreachableError, UsageError

TIERS = ("2gi", "4gi")
LOW, HIGH = TIERS
LEASE_S = 10


class Clock:
    """Fake clock; tests set `now`."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        """Unix time in seconds."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock at some time."""
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the queue lies."""
    return tmp_path / "queue.db"


@pytest.fixture
def broker(path: Path, clock: Clock) -> Iterator[EmbeddedBroker]:
    """A broker on the fake clock."""
    with EmbeddedBroker(path, TIERS, LEASE_S, clock) as broker:
        yield broker


def insert(path: Path, data: object, attributes: object, attempts: int = 0) -> None:
    """Insert a row as another program might."""
    with sqlite3.connect(path) as db:
        db.execute(
            "INSERT INTO message (tier, later, data, attributes, published, attempts)"
            " VALUES (?, '', ?, ?, 0, ?)",
            (LOW, data, attributes, attempts),
        )
    db.close()


def message(number: int = 0) -> ShardMessage:
    """A message about some shard."""
    return ShardMessage(run="/runs/r1", key=f"s0/{number:04x}", kind="convert")


def test_messages_come_in_the_order_of_publishing(broker: EmbeddedBroker) -> None:
    """Largest first is the publisher's order, kept also by what comes back."""
    broker.publish(LOW, [message(3), message(1)])
    broker.publish(LOW, [message(2)])
    first = broker.lease(LOW)
    assert first is not None
    broker.nack(first)
    found = []
    while (delivery := broker.lease(LOW)) is not None:
        found.append(decode(delivery.data))
        broker.ack(delivery)
    assert found == [message(3), message(1), message(2)]


def test_the_backlog_is_exact(broker: EmbeddedBroker, clock: Clock) -> None:
    """Waiting, leased and age, at any moment."""
    assert broker.backlog(LOW) == Backlog(0, 0, None)
    broker.publish(LOW, [message(1), message(2), message(3)])
    clock.now += 5
    broker.publish(LOW, [message(4)])
    held = broker.lease(LOW)
    done = broker.lease(LOW)
    assert held is not None
    assert done is not None
    broker.ack(done)
    assert broker.backlog(LOW) == Backlog(2, 1, 5.0)
    clock.now += LEASE_S
    assert broker.backlog(LOW) == Backlog(3, 0, 5.0 + LEASE_S)
    assert broker.backlog(HIGH) == Backlog(0, 0, None)


def test_a_lost_lease_is_reported(broker: EmbeddedBroker, clock: Clock) -> None:
    """An ended lease stays ours until the message is leased again; then calls are False."""
    broker.publish(LOW, [message()])
    first = broker.lease(LOW)
    assert first is not None
    clock.now += LEASE_S + 1
    assert broker.extend(first)
    clock.now += LEASE_S + 1
    second = broker.lease(LOW)
    assert second is not None
    assert not broker.extend(first)
    assert not broker.nack(first)
    assert not broker.ack(first)
    assert broker.backlog(LOW).leased == 1
    assert broker.ack(second)
    assert not broker.ack(second)
    assert not broker.extend(second)
    assert not broker.hand_over(first, HIGH, message(7))


def test_the_backstop_works_from_any_tier(broker: EmbeddedBroker, clock: Clock) -> None:
    """A message whose five workers died moves on even if only another tier is leased from."""
    broker.publish(LOW, [message()])
    for _ in range(MAX_DELIVERIES):
        assert broker.lease(LOW) is not None
        clock.now += LEASE_S + 1
    moved = broker.lease(HIGH)
    assert moved is not None
    assert (decode(moved.data), moved.attempt) == (message(), 1)
    assert broker.backlog(LOW).waiting == 0


def test_the_backstop_knows_the_publishers_tiers(path: Path, clock: Clock) -> None:
    """A worker that knows only its own tier still moves a message to the next one."""
    with EmbeddedBroker(path, ("2gi", "4gi", "8gi"), LEASE_S, clock) as publisher:
        publisher.publish("4gi", [message(1), message(2)])
    with EmbeddedBroker(path, ("4gi",), LEASE_S, clock) as worker:
        handed = worker.lease("4gi")
        assert handed is not None
        worker.hand_over(handed, "8gi", message(1))
        with pytest.raises(UsageError, match="no queue for tier 16gi"):
            worker.hand_over(handed, "16gi", message(1))
        for _ in range(MAX_DELIVERIES):
            delivery = worker.lease("4gi")
            assert delivery is not None
            worker.nack(delivery)
        assert worker.lease("4gi") is None
    with EmbeddedBroker(path, ("8gi",), LEASE_S, clock) as large:
        for _ in range(2 * MAX_DELIVERIES):
            delivery = large.lease("8gi")
            assert delivery is not None
            large.nack(delivery)
        assert large.lease("8gi") is None
        assert large.backlog(DEAD).waiting == 2


def test_acked_messages_are_kept_for_a_week(broker: EmbeddedBroker, clock: Clock) -> None:
    """A seek brings them back until then; afterwards the file forgets them."""
    begin = datetime.fromtimestamp(clock.now, UTC)
    for number, later in ((1, 0), (2, RETENTION_S / 2)):
        clock.now += later
        broker.publish(LOW, [message(number)])
        delivery = broker.lease(LOW)
        assert delivery is not None
        broker.ack(delivery)
    clock.now += RETENTION_S / 2 + 1
    broker.publish(LOW, [message(3)])
    broker.seek(LOW, begin)
    found = []
    while (delivery := broker.lease(LOW)) is not None:
        found.append(decode(delivery.data).key)
        broker.ack(delivery)
    assert found == ["s0/0002", "s0/0003"]


def test_a_seek_leaves_leases_alone(broker: EmbeddedBroker, clock: Clock) -> None:
    """A seek does not deliver a leased message to a second worker."""
    begin = datetime.fromtimestamp(clock.now, UTC)
    broker.publish(LOW, [message()])
    held = broker.lease(LOW)
    assert held is not None
    broker.seek(LOW, begin)
    assert broker.lease(LOW) is None
    assert broker.ack(held)


def test_a_revived_message_begins_at_attempt_one(broker: EmbeddedBroker, clock: Clock) -> None:
    """What a seek brings back has all its deliveries before it."""
    begin = datetime.fromtimestamp(clock.now, UTC)
    broker.publish(LOW, [message()])
    for _ in range(MAX_DELIVERIES - 1):
        delivery = broker.lease(LOW)
        assert delivery is not None
        broker.nack(delivery)
    delivery = broker.lease(LOW)
    assert delivery is not None
    broker.ack(delivery)
    broker.seek(LOW, begin)
    delivery = broker.lease(LOW)
    assert delivery is not None
    assert delivery.attempt == 1


_TAKE = """
import sys
from delivery.broker import open_broker
from delivery.messages import ShardMessage, decode
url, number = sys.argv[1], int(sys.argv[2])
with open_broker(url, ("2gi", "4gi"), 30) as broker:
    for one in range(20):
        key = f"s0/{number:02x}{one:02x}"
        broker.publish("2gi", [ShardMessage(run="/r", key=key, kind="convert")])
    while (delivery := broker.lease("2gi", 0.5)) is not None:
        assert broker.extend(delivery)
        print(decode(delivery.data).key)
        assert broker.ack(delivery)
"""


def test_many_processes_at_once(tmp_path: Path) -> None:
    """Processes that start, publish and take together make one queue: nothing lost or doubled."""
    url = f"sqlite:{tmp_path}/new/queue.db"

    def take(number: int) -> list[str]:
        command = [sys.executable, "-c", _TAKE, url, str(number)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.split()

    with ThreadPoolExecutor(5) as pool:
        found = [key for keys in pool.map(take, range(5)) for key in keys]
    assert sorted(found) == [
        f"s0/{number:02x}{one:02x}" for number in range(5) for one in range(20)
    ]


def test_a_removed_file_is_noticed(broker: EmbeddedBroker, path: Path) -> None:
    """When the file is removed, its users go on in the new one."""
    broker.publish(LOW, [message(1)])
    for one in path.parent.glob("queue.db*"):
        one.unlink()
    with open_broker(f"sqlite:{path}", TIERS, LEASE_S) as other:
        other.publish(LOW, [message(2)])
        delivery = broker.lease(LOW)
        assert delivery is not None
        assert decode(delivery.data) == message(2)


@pytest.mark.parametrize(
    "content", [b"rubbish, and long enough to be a header" * 9, b"SQLite format 3\0" + bytes(4096)]
)
def test_a_damaged_file_is_one_line(path: Path, content: bytes) -> None:
    """Damage is wrong use with a way out, not a traceback; the file stays as it is."""
    path.write_bytes(content)
    with pytest.raises(UsageError, match="damaged or not a queue") as caught:
        open_broker(f"sqlite:{path}", TIERS, LEASE_S)
    assert "\n" not in str(caught.value)
    assert caught.value.hint is not None
    assert "replay --missing" in caught.value.hint
    assert path.read_bytes() == content


def test_damage_of_an_open_file_is_one_line(broker: EmbeddedBroker, path: Path) -> None:
    """A file that is damaged while it is open gives the same error."""
    broker.publish(LOW, [message(number) for number in range(2000)])
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with (
        pytest.raises(UsageError, match="damaged or not a queue"),
        EmbeddedBroker(path, TIERS, LEASE_S) as other,
    ):
        other.lease(LOW)


def test_another_programs_database_is_left_alone(path: Path) -> None:
    """A SQLite file that is not ours is refused and not changed."""
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE books (title)")
    before = path.read_bytes()
    with pytest.raises(UsageError, match="another program's database"):
        open_broker(f"sqlite:{path}", TIERS, LEASE_S)
    assert path.read_bytes() == before


def test_a_newer_queue_is_refused(path: Path) -> None:
    """A queue that a newer version made is not touched."""
    open_broker(f"sqlite:{path}", TIERS, LEASE_S).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(UsageError, match="newer version"):
        open_broker(f"sqlite:{path}", TIERS, LEASE_S)


def test_a_path_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    """A file where a directory should be, a directory where the file should be."""
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for wrong in ("file/queue.db", "folder"):
        with pytest.raises(UsageError, match=r"the queue .* cannot be") as caught:
            open_broker(f"sqlite:{tmp_path}/{wrong}", TIERS, LEASE_S)
        assert caught.value.hint is not None
        assert "QUEUE_URL" in caught.value.hint


def test_a_held_file_is_unreachable_in_the_end(
    broker: EmbeddedBroker, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue that stays locked is unreachable; a later call succeeds."""
    monkeypatch.setattr("delivery.broker.sqlite_file.BUSY_S", 0.2)
    with EmbeddedBroker(path, TIERS, LEASE_S) as other:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnreachableError, match="cannot be used now"):
            other.publish(LOW, [message()])
        holder.execute("ROLLBACK")
        holder.close()
        other.publish(LOW, [message()])
    assert broker.backlog(LOW).waiting == 1


@dataclass
class Mounted:
    """A mounted file system, as psutil describes it."""

    mountpoint: str
    fstype: str


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("/home/me/q.db", "nfs4"),
        ("/home/me/fast/q.db", None),
        ("/homes/q.db", None),
        ("/mnt/c/q.db", "9p"),
        ("/net/bucket/deep/down/q.db", "fuse.gcsfuse"),
        ("/box/q.db", None),
        ("/q.db", None),
    ],
)
def test_network_file_systems_are_known(where: str, expected: str | None) -> None:
    """The innermost mount decides; FUSE counts as network unless it is known to be local."""
    mounts = [
        Mounted("/", "ext4"),
        Mounted("/home", "nfs4"),
        Mounted("/home/me/fast", "xfs"),
        Mounted("/mnt/c", "9p"),
        Mounted("/net/bucket", "fuse.gcsfuse"),
        Mounted("/box", "nfs"),
        Mounted("/box", "fuse.fuse-overlayfs"),
    ]
    assert on_network(Path(where), mounts) == expected


def test_a_queue_on_a_network_file_system_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what to set instead, and leaves nothing behind."""
    mounts = [Mounted(str(path.parent), "nfs4")]
    monkeypatch.setattr("psutil.disk_partitions", lambda **_: mounts)  # no NFS in a test
    with pytest.raises(UsageError, match=r"network file system \(nfs4\)") as caught:
        open_broker(f"sqlite:{path}", TIERS, LEASE_S)
    assert caught.value.hint is not None
    assert "QUEUE_URL" in caught.value.hint
    assert not path.exists()


def test_urls_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative queue belongs to the working directory it was first named in."""
    monkeypatch.chdir(tmp_path)
    assert absolute_queue_url("sqlite:.braid/queue.db") == f"sqlite:{tmp_path}/.braid/queue.db"
    assert absolute_queue_url("sqlite:/var/q.db") == "sqlite:/var/q.db"
    assert absolute_queue_url("sqlite:///var/q.db") == "sqlite:/var/q.db"
    assert absolute_queue_url("pubsub://project/prefix") == "pubsub://project/prefix"
    for wrong in ("", "sqlite:", "queue.db", "redis://here"):
        with pytest.raises(UsageError, match="is not a queue"):
            open_broker(wrong, TIERS, LEASE_S)


@pytest.mark.parametrize(
    ("data", "attributes"),
    [
        ("text", "{}"),
        (7, "{}"),
        (b"\xff", b"\xff"),
        (b"x", "not JSON"),
        (b"x", "[" * 100_000),
        (b"x", '["a list"]'),
        (b"x", '{"run": 7, "scale": null}'),
        (b"x", 7),
    ],
)
@pytest.mark.parametrize("attempts", [0, MAX_DELIVERIES])
def test_rows_of_other_programs_are_delivered_as_bytes(
    broker: EmbeddedBroker, path: Path, data: object, attributes: object, attempts: int
) -> None:
    """Whatever types they have; after five deliveries they move on like any other."""
    insert(path, data, attributes, attempts)
    broker.publish(LOW, [message()])
    tier = DEAD if attempts else LOW
    first = broker.lease(LOW)
    delivery = broker.lease(DEAD) if attempts else first
    assert delivery is not None
    assert delivery.tier == tier
    assert isinstance(delivery.data, bytes)
    assert all(isinstance(value, str) for value in delivery.attributes.values())
    assert broker.ack(delivery)
    assert (first if attempts else broker.lease(LOW)) is not None


def test_bytes_are_set_aside_as_they_are(broker: EmbeddedBroker, path: Path) -> None:
    """They wait among the dead letters for a program that knows a state root."""
    insert(path, b"\xff\0rubbish", "{}")
    delivery = broker.lease(LOW)
    assert delivery is not None
    assert broker.set_aside(delivery)
    assert broker.backlog(LOW) == Backlog(waiting=0, leased=0)
    letter = broker.lease(DEAD)
    assert letter is not None
    assert (letter.data, letter.attempt) == (b"\xff\0rubbish", 1)


def test_state_roots_stay_in_the_file(broker: EmbeddedBroker, path: Path, clock: Clock) -> None:
    """Each once, in order, also of a path that is no text; a file of an earlier build has none."""
    assert broker.state_roots() == ()
    odd = "/runs/\udcff \n"
    for url in ("/runs", odd, "/runs"):
        broker.add_state_root(url)
    with EmbeddedBroker(path, TIERS, LEASE_S, clock) as again:
        assert again.state_roots() == ("/runs", odd)


def test_settings_of_a_file_that_all_may_write_are_not_believed(
    broker: EmbeddedBroker, path: Path
) -> None:
    """Who may write the file may name any root in it."""
    broker.add_state_root("/runs")
    path.chmod(0o664)
    assert broker.state_roots() == ("/runs",)
    path.chmod(0o666)
    assert not broker.names_state_roots
    assert broker.state_roots() == ()
