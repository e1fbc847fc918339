"""Number of threads for a shard, and its memory estimate."""

from consumer.worker.config import WorkerConfig
from consumer.worker.leased_shard import LeasedShard
from delivery.broker.base import Broker
from memmodel.estimate import WATCHDOG_SHARE


def threads_for(shard: LeasedShard, config: WorkerConfig, broker: Broker, at_once: int = 1) -> int:
    """Threads for a shard: those of the worker, divided among open shards, as far as memory allows.

    Workers with one thread each are faster than one with many, so threads serve the last shards of
    a run, when CPUs would be idle.

    Args:
        shard: to be made.
        config: of the worker.
        broker: of its queue.
        at_once: shards that this worker has, this one included.
    """
    threads = max(1, config.threads // min(at_once, _fitting(shard, config)))
    if broker.one_machine and threads > 1:
        threads = max(1, threads // max(1, _open_shards(broker)))
    while threads > 1 and not _fits(shard, config, threads):
        threads -= 1
    return threads


def estimated_bytes(shard: LeasedShard, threads: int) -> int | None:
    """Estimated memory of the shard with so many threads; for one, the plan's estimate if any."""
    planned = shard.row.estimated_bytes
    if threads == 1 and (planned is not None or shard.row.kind == "convert"):
        return planned
    return shard.context.estimate(shard.row, shard.status.input_receipts, threads).total_bytes


def _fitting(shard: LeasedShard, config: WorkerConfig) -> int:
    """Number of such shards that fit this worker's memory at once; at least one."""
    if config.slots == 1 or config.threads == 1:
        return 1
    needed_bytes, limit_bytes = estimated_bytes(shard, 1), config.limit_bytes
    if limit_bytes is None:
        return config.slots
    return max(1, int(WATCHDOG_SHARE * limit_bytes / needed_bytes)) if needed_bytes else 1


def _open_shards(broker: Broker) -> int:
    """Shards waiting or leased, this one included."""
    backlogs = [broker.backlog(tier) for tier in broker.tiers]
    return sum((backlog.waiting or 0) + (backlog.leased or 0) for backlog in backlogs)


def _fits(shard: LeasedShard, config: WorkerConfig, threads: int) -> bool:
    needed_bytes = estimated_bytes(shard, threads)
    limit_bytes = config.limit_bytes
    if needed_bytes is None or limit_bytes is None:
        return True
    return needed_bytes <= WATCHDOG_SHARE * limit_bytes
