"""Leased shard: what its work begins by, and what is looked at again before it fails."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from consumer.worker.lease import Lease
from consumer.worker.leased_shard import LeasedShard
from delivery.broker.base import DEAD
from delivery.ledger.run import Run
from delivery.messages import ShardMessage
from memmodel.run_context import RunContext
from tests.support.worker_harness import WorkerHarness, done, failed, worker_harness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[WorkerHarness]:
    """A run of two shards and their dependent, nothing published."""
    with worker_harness(tmp_path) as harness:
        yield harness


def leased(harness: WorkerHarness, key: str) -> LeasedShard:
    """A shard whose message was leased a moment ago."""
    harness.publish(key)
    delivery = harness.broker.lease(harness.tier)
    assert delivery is not None
    message = ShardMessage(run=harness.run.uri, key=key, kind="convert")
    lease = Lease(harness.broker, delivery, 60.0)
    return LeasedShard(delivery, lease, message, RunContext(harness.run))


def test_a_wish_of_this_moment_is_seen_before_a_shard_fails(harness: WorkerHarness) -> None:
    """Whether bad chunks may be left out is read once before the work, and once after it failed."""
    shard = leased(harness, "s0/0")
    assert not shard.lacks_bad_chunks
    assert not shard.may_lack_chunks_now()
    Run(harness.run.uri).request_without_bad_chunks(["s0/0"])
    assert not shard.lacks_bad_chunks
    assert shard.may_lack_chunks_now()


def test_a_shard_that_may_lack_chunks_now_is_tried_again(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is released, not dead-lettered: its message may stand for that very wish."""
    real = LeasedShard.may_lack_chunks_now

    def requested(shard: LeasedShard) -> bool:
        Run(harness.run.uri).request_without_bad_chunks()
        harness.script(s0_0=[done()])
        return real(shard)

    monkeypatch.setattr(LeasedShard, "may_lack_chunks_now", requested)
    harness.script(s0_0=[failed("permanent", "broken")])
    harness.publish("s0/0")
    harness.deliver()
    harness.deliver()
    assert [task["bad_chunks"] for task in harness.tasks()] == ["fail", "skip"]
    assert harness.waiting(DEAD) == []
    assert list(harness.run.receipts.list()) == ["s0/0"]


def test_a_shard_is_thought_new_once(harness: WorkerHarness) -> None:
    """What was made, or is to be made again, is looked for before it is replaced."""
    shard = leased(harness, "s0/0")
    assert shard.task(1, None).is_new
    harness.run.raise_redo(["s0/0"])
    assert not leased(harness, "s0/0").task(1, None).is_new
