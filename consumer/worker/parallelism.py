"""How many threads a shard's work gets."""

from consumer.worker.disposition import WorkerConfig
from consumer.worker.leased_shard import LeasedShard
from delivery.broker.base import Broker
from memmodel.estimate import WATCHDOG_SHARE
from memmodel.tier_choice import shard_estimate


def threads_for(job: LeasedShard, post: WorkerConfig, broker: Broker) -> int:
    """All that the post has, shared with other shards of this machine, as far as memory holds.

    Workers with one thread each are faster than one with many, so threads are for the last shards
    of a run: then CPUs would be idle.
    """
    threads = post.threads
    if broker.one_machine and threads > 1:
        threads = max(1, threads // max(1, _open_shards(broker)))
    while threads > 1 and not _fits(job, post, threads):
        threads -= 1
    return threads


def estimated_bytes(job: LeasedShard, threads: int) -> int | None:
    """Memory that the shard should need with so many threads; the plan's word where it has one."""
    planned = job.row.estimated_bytes
    if threads == 1 and (planned is not None or job.row.kind == "convert"):
        return planned
    return shard_estimate(job.run, job.row, job.standing.input_receipts, threads).total_bytes


def _open_shards(broker: Broker) -> int:
    """Waiting or in work, this one among them."""
    backlogs = [broker.backlog(tier) for tier in broker.tiers]
    return sum((backlog.waiting or 0) + (backlog.leased or 0) for backlog in backlogs)


def _fits(job: LeasedShard, post: WorkerConfig, threads: int) -> bool:
    needed_bytes = estimated_bytes(job, threads)
    limit_bytes = post.limit_bytes
    if needed_bytes is None or limit_bytes is None:
        return True
    return needed_bytes <= WATCHDOG_SHARE * limit_bytes
