"""Ledger and queue together on both brokers: cascade, dead letters, replay."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from delivery import replay
from delivery.broker import open_broker
from delivery.broker.base import DEAD, MAX_DELIVERIES, Broker, Delivery
from delivery.cascade import cascade
from delivery.dead_letters import drain
from delivery.ledger.run import Run
from delivery.ledger.shard_status import ShardState, read_status
from delivery.messages import Hop, ShardMessage, decode, now
from runtime.storage import open_storage
from tests.support.emulator import make_topology, new_queue_url, remove_topology
from tests.support.ledgers import TIERS, finish, low_tier, made_run, row
from tests.support.waiting import wait_for

LOW, HIGH = TIERS
LEASE_S = 20


@pytest.fixture(params=["embedded", "pubsub"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """Empty queues on either broker."""
    if request.param == "embedded":
        with open_broker(f"sqlite:{tmp_path}/queue.db", TIERS, LEASE_S) as broker:
            yield broker
        return
    request.getfixturevalue("pubsub_emulator")
    url = new_queue_url()
    make_topology(url, TIERS)
    with open_broker(url, TIERS, LEASE_S) as broker:
        yield broker
    remove_topology(url)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of seven shards on three scales."""
    return made_run(tmp_path / "runs", created=now())


def leased(broker: Broker, tier: str) -> Delivery:
    """The next message, which must come."""
    delivery = broker.lease(tier, 60)
    assert delivery is not None
    return delivery


def drained(run: Run, broker: Broker) -> list[tuple[str, str]]:
    """Drain until a dead letter came; the runs and keys."""
    storage = open_storage(run.state_url)
    return wait_for(lambda: drain(broker, storage, wait_s=1).keys, "a dead letter")


def process(run: Run, broker: Broker, count: int) -> list[str]:
    """Receipt, cascade and ack for so many deliveries, after which no more may come."""
    done = []
    for _ in range(count):
        delivery = leased(broker, LOW)
        message = decode(delivery.data)
        finish(run, message.key, redo=message.redo)
        cascade(run, broker, message.key, low_tier)
        broker.ack(delivery)
        done.append(message.key)
    assert broker.lease(LOW, 1) is None
    return done


def test_the_cascade_carries_a_run_to_its_end(run: Run, broker: Broker) -> None:
    """From the converted shards on, each finisher publishes what became ready, once."""
    replay.missing(run, broker, low_tier)
    done = process(run, broker, 7)
    assert sorted(done) == sorted(one.key for one in run.plan.rows())
    assert read_status(run).succeeded


def test_duplicates_are_harmless(run: Run, broker: Broker) -> None:
    """Published twice, done twice: one receipt each, no dependent twice, nothing left."""
    for _ in range(2):
        replay.missing(run, broker, low_tier)
    done = process(run, broker, 11)
    assert sorted(done)[:8] == sorted([f"s0/0{number}" for number in range(4)] * 2)
    assert sorted(done)[8:] == ["s1/00", "s1/01", "s2/00"]
    assert read_status(run).succeeded


def test_dead_letters_reach_the_ledger_and_come_back(run: Run, broker: Broker) -> None:
    """Handed over to the dead letters, drained, requeued at another tier, ready again."""
    broker.publish(LOW, [ShardMessage(run=run.uri, key="s0/00", kind="convert")])
    delivery = leased(broker, LOW)
    hop = Hop(tier=LOW, reason="bad zstd", at=now(), worker="w", attempt=delivery.attempt)
    broker.hand_over(delivery, DEAD, decode(delivery.data).after(hop, "bad zstd in row 7"))
    assert drained(run, broker) == [(run.uri, "s0/00")]
    assert read_status(run).states["s0/00"] is ShardState.FAILED
    assert replay.failed(run, broker, low_tier, tier=HIGH) == ["s0/00"]
    assert decode(leased(broker, HIGH).data).history == (hop,)
    assert read_status(run).states["s0/00"] is ShardState.READY


def test_the_backstop_names_the_tier(run: Run, broker: Broker) -> None:
    """Five silent deaths on the last tier end in a record that names tier and attempts."""
    broker.publish(HIGH, [ShardMessage(run=run.uri, key="s0/00", kind="convert")])
    for _ in range(MAX_DELIVERIES):
        broker.nack(leased(broker, HIGH))
    assert broker.lease(HIGH, 1) is None
    drained(run, broker)
    found = run.failures.get("s0/00")
    assert found is not None
    assert (found.tier, found.attempts) == (HIGH, MAX_DELIVERIES)
    assert f"delivered {MAX_DELIVERIES} times on tier {HIGH}" in found.reason


def test_replaying_since_a_time_loses_nothing_that_waits(run: Run, broker: Broker) -> None:
    """A seek drops what was published before its time; so it goes back to the oldest open run."""
    other = made_run(run.state_url, [row("s0/99")], run_id="other", created=now())
    replay.missing(other, broker, low_tier)
    replay.missing(run, broker, low_tier)
    first = leased(broker, LOW)  # one of the five is done
    message = decode(first.data)
    finish(Run(message.run), message.key)
    broker.ack(first)
    replay.since(run, broker, low_tier, now() + timedelta(seconds=1))
    missing = {(other.uri, "s0/99"), *((run.uri, f"s0/0{number}") for number in range(4))}
    while missing:
        delivery = leased(broker, LOW)
        message = decode(delivery.data)
        missing.discard((message.run, message.key))
        broker.ack(delivery)
