"""The queue of a launch: checked before anything is written, and another queue for a run."""

import contextlib

from delivery.broker import SQLITE, absolute_queue_url, open_broker, queue_path
from delivery.ledger.run import Run, check_run_id, check_run_place, new_run_id
from delivery.messages import now
from delivery.progress import STALE
from producer.preflight import LaunchConfig, Preflight
from producer.render import counted
from runtime.cli import print_stderr
from runtime.errors import ShardliftError, UsageError
from runtime.storage import open_storage


def prepare_queue(found: Preflight, config: LaunchConfig, run_id: str | None) -> bool:
    """Check the queue of the run to come; move the run to continue if another queue was given.

    A queue in a file is made, so run id and destination are checked before.

    Returns:
        Whether a run was moved, so that its new queue holds none of its messages.

    Raises:
        UsageError: the queue cannot be used, or shards of the run are in work in another.
        UnreachableError: the queue does not exist, or cannot be reached.
    """
    if found.continues is None:
        if run_id:
            check_run_id(run_id)
        check_run_place(config.state, run_id or new_run_id())
        open_storage(found.request.dest).check_writable()
        _check(config.queue, tuple(tier.name for tier in config.tiers), config.lease_s)
        return False
    run = found.continues.run
    present = absolute_queue_url(run.queue)
    moved = config.queue_given and config.queue != present
    if moved:
        _refuse_in_work(run, present, config)
    _check(config.queue if moved else present, run.info.tiers, config.lease_s)
    if moved:
        run.move(config.queue)
        print_stderr(f"note: run {run.run_id} moves from {present} to {config.queue}")
    return moved


def _check(queue: str, tiers: tuple[str, ...], lease_s: float) -> None:
    with open_broker(queue, tiers, lease_s) as broker:
        broker.check()


def _refuse_in_work(run: Run, present: str, config: LaunchConfig) -> None:
    fresh = [beat for beat in run.heartbeats() if now() - beat.at < STALE]
    in_work = sum(len(beat.all_shards) for beat in fresh)
    number = max(in_work, _leased(present, run.info.tiers, config.lease_s))
    if number:
        raise UsageError(
            f"run {run.run_id} is in the queue {present}, where {counted(number, 'shard')} of it "
            f"may be in work; --queue or QUEUE_URL names {config.queue}",
            hint="stop its workers, and wait until their leases end, then the same command moves "
            "the run; without --queue and QUEUE_URL it goes on where it is",
        )


def _leased(queue: str, tiers: tuple[str, ...], lease_s: float) -> int:
    """Leased messages of a queue; 0 where it does not exist or cannot be asked."""
    if queue.startswith(SQLITE) and not queue_path(queue).exists():
        return 0
    with contextlib.suppress(ShardliftError), open_broker(queue, tiers, lease_s) as broker:
        return sum(broker.backlog(tier).leased or 0 for tier in tiers)
    return 0
