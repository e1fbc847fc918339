"""Dead letters: in the ledger of their own run before they are acked."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from delivery.broker import open_broker
from delivery.broker.base import DEAD, MAX_DELIVERIES, Broker
from delivery.dead_letters import drain
from delivery.ledger.run import Run
from delivery.messages import Hop, ShardMessage
from runtime.storage import Storage, open_storage
from tests.support.ledgers import TIERS, fail, made_run

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

    def encode(self) -> bytes:
        """The bytes."""
        return self.data

    def attributes(self) -> dict[str, str]:
        """None."""
        return {}


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
