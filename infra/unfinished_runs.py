"""Unfinished runs of a queue that is to be deleted."""

from collections.abc import Iterator

from delivery.ledger.damage import LedgerDamaged
from delivery.ledger.run import Run, list_runs
from delivery.ledger.shard_status import OPEN, read_status
from runtime.errors import ShardliftError


def notes(queue: str, state: str) -> Iterator[str]:
    """A line for each unfinished run of the queue, or one line why they are unknown.

    Args:
        queue: URL of the queue.
        state: root of the runs.
    """
    damaged: list[LedgerDamaged] = []
    try:
        for run in list_runs(state, lambda _run, error: damaged.append(error)):
            try:
                left = _open_shards(run, queue)
            except LedgerDamaged as error:
                left = f"whether run {run.uri} is unfinished is unknown: {error}"
            if left is not None:
                yield left
        if damaged:
            raise damaged[0]  # one line for all that cannot be known
    except ShardliftError as error:
        yield f"whether runs below {state} still need this queue is unknown: {error}"


def _open_shards(run: Run, queue: str) -> str | None:
    """Line with the shards that the run still has to make on the queue; None if there are none."""
    if run.queue != queue or run.cancelled():
        return None
    status = read_status(run)
    if status.ended:
        return None
    left = len(status.keys(*OPEN))
    return f"run {run.uri} is unfinished: {left:,} of {len(status.states):,} shards are open"
