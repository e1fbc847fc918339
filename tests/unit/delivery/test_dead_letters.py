"""Dead letters: in the ledger of their own run before they are acked."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from delivery.broker import open_broker
from delivery.broker.base import DEAD, DEAD_LETTER_SOURCE, MAX_DELIVERIES, Broker
from delivery.dead_letters import drain
from delivery.ledger.run import Run
from delivery.ledger.shard_status import ShardState, read_status
from delivery.messages import Hop, ShardMessage, now
from delivery.state_roots import StateRoots
from runtime.storage import Storage, open_storage
from tests.support.ledgers import TIERS, fail, finish, made_run

HOP = Hop(tier="4gi", reason="bad zstd", at=datetime(2024, 1, 2, tzinfo=UTC), worker="w", attempt=1)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """An embedded broker on empty queues."""
    with open_broker(f"sqlite:{tmp_path}/queue.db", TIERS, 60) as broker:
        yield broker


@pytest.fixture
def state(tmp_path: Path) -> Storage:
    """The root of the state."""
    return open_storage(str(tmp_path / "runs"))


class RawMessage:
    """Bytes that pass for a message, as a foreign publisher would send them."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.marks: dict[str, str] = {}

    def encode(self) -> bytes:
        """The bytes."""
        return self.data

    def attributes(self) -> dict[str, str]:
        """None, unless a test sets some."""
        return self.marks


def letter(run: Run, key: str = "s0/00") -> ShardMessage:
    """A dead letter."""
    return ShardMessage(run=run.uri, key=key, kind="convert").after(HOP, "bad zstd in row 3")


def test_letters_go_to_the_ledger_of_their_own_run(broker: Broker, state: Storage) -> None:
    """Each letter reaches the ledger of its own run."""
    runs = [made_run(state.url, run_id=name) for name in ("a", "b")]
    broker.publish(DEAD, [letter(run) for run in runs])
    done = drain(broker, state)
    assert sorted(done.keys) == [(run.uri, "s0/00") for run in runs]
    for run in runs:
        found = run.failures.get("s0/00")
        assert found is not None
        assert (found.reason, found.tier, found.worker) == ("bad zstd in row 3", "4gi", "w")
    assert broker.backlog(DEAD).waiting == 0
    assert drain(broker, state).keys == []


def test_what_the_broker_moved_says_so(broker: Broker, state: Storage) -> None:
    """A letter without a reason came by the backstop: where from, and how often it was tried."""
    run = made_run(state.url)
    broker.publish("4gi", [ShardMessage(run=run.uri, key="s0/00", kind="convert")])
    for _ in range(MAX_DELIVERIES):
        delivery = broker.lease("4gi")
        assert delivery is not None
        broker.nack(delivery)
    drain(broker, state)
    found = run.failures.get("s0/00")
    assert found is not None
    assert (found.tier, found.tiers_tried, found.attempts) == ("4gi", ("4gi",), 5)
    assert "delivered 5 times on tier 4gi" in found.reason


@pytest.mark.parametrize("data", [b"rubbish", b'{"schema": 1, "run": "/nowhere"}'])
def test_unreadable_letters_are_kept(broker: Broker, state: Storage, data: bytes) -> None:
    """Broken bytes are kept as they are, then acked."""
    broker.publish(DEAD, [RawMessage(data)])  # type: ignore[list-item] # a foreign publisher
    done = drain(broker, state)
    assert [state.read(path) for path in done.unreadable] == [data]
    assert broker.backlog(DEAD).waiting == 0


def test_letters_of_a_lost_run_are_kept(broker: Broker, state: Storage, tmp_path: Path) -> None:
    """A letter whose run is gone is not lost, and makes no run of its own."""
    message = ShardMessage(run=f"{tmp_path}/gone", key="s0/00", kind="convert", reason="broken")
    broker.publish(DEAD, [message])
    done = drain(broker, state)
    assert [state.read(path) for path in done.unreadable] == [message.encode()]
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize(
    "uri", ["kafka://x/r1", "gs://B/r1", "gs://bucket-of-others/runs/r1", "/etc/r1", "{}/../x/r1"]
)
def test_letters_of_other_places_are_kept(broker: Broker, state: Storage, uri: str) -> None:
    """They are not followed, and stop no good one."""
    run = made_run(state.url)
    foreign = letter(run).model_copy(update={"run": uri.format(state.url)})
    broker.publish(DEAD, [foreign, letter(run)])
    done = drain(broker, state)
    assert [key for _, key in done.keys] == ["s0/00"]
    assert [state.read(path) for path in done.unreadable] == [foreign.encode()]


def test_letters_of_another_root_of_the_queue_reach_their_ledger(
    broker: Broker, state: Storage, tmp_path: Path
) -> None:
    """`enqueue` named it in the queue's settings."""
    run = made_run(tmp_path / "others")
    broker.add_state_root(run.state_url)
    broker.publish(DEAD, [letter(run)])
    assert drain(broker, state).keys == [(run.uri, "s0/00")]


def test_where_queues_name_no_roots_letters_of_others_stay(
    broker: Broker, state: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Pub/Sub: a command knows one root, a fleet all of them. What no run can be is kept."""
    monkeypatch.setattr(type(broker), "names_state_roots", False)
    run = made_run(tmp_path / "others")
    broker.publish(DEAD, [letter(run), letter(run).model_copy(update={"run": "kafka://x/r"})])
    done = drain(broker, state)
    assert (done.keys, len(done.unreadable), len(done.left)) == ([], 1, 1)
    done = drain(broker, state, roots=StateRoots(broker, [state.url]))
    assert (done.keys, len(done.unreadable), len(done.left)) == ([], 1, 0)


def test_a_letter_cannot_outlast_what_the_ledger_asks_for(broker: Broker, state: Storage) -> None:
    """Redo, kind and time are not believed: the shard can be requested and made again."""
    run = made_run(state.url)
    finish(run, "s0/00")
    late = HOP.model_copy(update={"at": datetime(9999, 12, 31, 23, tzinfo=UTC)})
    forged = ShardMessage(run=run.uri, key="s0/00", kind="downsample", redo=2**31 - 1)
    broker.publish(DEAD, [forged.after(late, "forged")])
    drain(broker, state)
    found = run.failures.get("s0/00")
    assert found is not None
    assert (found.redo, found.kind) == (0, "convert")
    assert found.at <= now()
    assert read_status(run).states["s0/00"] is ShardState.DONE
    run.raise_redo(["s0/00"])
    assert read_status(run).states["s0/00"] is ShardState.READY


@pytest.mark.parametrize("count", ["", "²", "x", "-1", "9" * 5_000])
def test_a_count_of_deliveries_may_be_anything(broker: Broker, state: Storage, count: str) -> None:
    """Attributes are as foreign as messages."""
    run = made_run(state.url)
    raw = RawMessage(ShardMessage(run=run.uri, key="s0/00", kind="convert").encode())
    raw.marks = {f"{DEAD_LETTER_SOURCE}DeliveryCount": count}
    broker.publish(DEAD, [raw])  # type: ignore[list-item] # a foreign publisher
    drain(broker, state)
    found = run.failures.get("s0/00")
    assert found is not None
    assert found.attempts == MAX_DELIVERIES


def test_newer_letters_stay(broker: Broker, state: Storage) -> None:
    """A newer program's letter goes back into the queue; the others are drained all the same."""
    run = made_run(state.url)
    broker.publish(DEAD, [RawMessage(b'{"schema": 2}'), letter(run)])  # type: ignore[list-item] # newer
    done = drain(broker, state)
    assert [key for _, key in done.keys] == ["s0/00"]
    assert len(done.left) == 1
    assert broker.backlog(DEAD).waiting == 1


def test_a_crash_before_the_ack_loses_nothing(
    broker: Broker, state: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is written first: a letter that comes again finds it and changes nothing."""
    run = made_run(state.url)
    broker.publish(DEAD, [letter(run)])

    def crash(_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(broker, "ack", crash)
        with pytest.raises(KeyboardInterrupt):
            drain(broker, state)
    written = run.failures.get("s0/00")
    assert written is not None
    broker.publish(DEAD, [letter(run)])  # as it comes when the lease has ended
    drain(broker, state)
    assert run.failures.get("s0/00") == written


def test_a_requeued_shard_that_dies_again_has_a_new_record(broker: Broker, state: Storage) -> None:
    """A later death replaces the record of an earlier one."""
    run = made_run(state.url)
    fail(run, "s0/00", at=datetime(2023, 1, 1, tzinfo=UTC), reason="the first time")
    broker.publish(DEAD, [letter(run)])
    drain(broker, state)
    found = run.failures.get("s0/00")
    assert found is not None
    assert found.reason == "bad zstd in row 3"
