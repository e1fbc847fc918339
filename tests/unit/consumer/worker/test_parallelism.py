"""Number of threads: more for the last shards of a run, as far as memory allows."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from consumer.worker.config import WorkerConfig
from consumer.worker.lease import Lease
from consumer.worker.leased_shard import LeasedShard
from consumer.worker.parallelism import estimated_bytes, threads_for
from delivery.broker import open_broker
from delivery.broker.base import Broker
from delivery.ledger.run import Run
from delivery.messages import ShardMessage, decode
from memmodel.run_context import RunContext
from memmodel.tiers import GIB, MIB, Tier
from tests.support.three_shard_run import LARGE, SMALL, three_shard_run


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A queue with the run's two shards."""
    run = three_shard_run(tmp_path)
    with open_broker(run.info.queue, run.info.tiers, 60.0) as broker:
        messages = [ShardMessage(run=run.uri, key=f"s0/{n}", kind="convert") for n in (0, 1)]
        broker.publish(SMALL, messages)
        yield broker


def leased(broker: Broker) -> LeasedShard:
    """The next shard."""
    delivery = broker.lease(SMALL)
    assert delivery is not None
    message = decode(delivery.data)
    return LeasedShard(
        delivery, Lease(broker, delivery, 60.0), message, RunContext(Run(message.run))
    )


def config(threads: int, limit_bytes: int = GIB) -> WorkerConfig:
    """A worker with so much memory."""
    return WorkerConfig(Tier(LARGE, GIB), limit_bytes, threads)


def test_with_other_shards_open_each_gets_its_share(broker: Broker) -> None:
    """Two shards, two CPUs: one thread each."""
    shard = leased(broker)
    assert threads_for(shard, config(2), broker) == 1
    assert threads_for(shard, config(4), broker) == 2


def test_the_last_shard_gets_all_cpus(broker: Broker) -> None:
    """Else CPUs would be idle."""
    broker.ack(leased(broker).delivery)
    assert threads_for(leased(broker), config(2), broker) == 2


def test_one_thread_stays_one(broker: Broker) -> None:
    """The option is an upper bound."""
    broker.ack(leased(broker).delivery)
    assert threads_for(leased(broker), config(1), broker) == 1


def test_memory_bounds_threads(broker: Broker) -> None:
    """What would pass the watchdog's mark is not tried."""
    broker.ack(leased(broker).delivery)
    shard = leased(broker)
    one, many = (estimated_bytes(shard, threads) for threads in (2, 64))
    assert one is not None
    assert many is not None
    assert one < many
    assert threads_for(shard, config(64, round(many / 0.9) - MIB), broker) < 64
    assert threads_for(shard, config(64, round(many / 0.9) + MIB), broker) == 64


def test_the_plans_estimate_is_for_one_thread(broker: Broker) -> None:
    """For more, the estimate is of so many."""
    shard = leased(broker)
    assert estimated_bytes(shard, 1) == shard.row.estimated_bytes
    assert estimated_bytes(shard, 2) != shard.row.estimated_bytes
