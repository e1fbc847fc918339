"""Cascade: publish the dependents whose inputs are done.

Publish markers only suppress duplicates; correctness never depends on them. A marker holds the
inputs digest it was written for; `replay` and stall detection pass it over, and workers never read
one.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

from delivery.broker.base import Broker
from delivery.ledger.plan import PlanRow
from delivery.ledger.receipts import ReceiptSummary
from delivery.ledger.run import Run
from delivery.ledger.shard_status import (
    RunStatus,
    ShardState,
    ShardStatus,
    read_shard_status,
    read_status,
)
from delivery.publishing import (
    ChooseTier,
    Publication,
    plan_dependent,
    plan_publication,
    publish,
)

PROBES: Final = 3  # inputs of a dependent that are read before all are
MOST_INPUTS: Final = 8  # that are read one by one; more are listed, in a bucket


def cascade(run: Run, broker: Broker, key: str, choose_tier: ChooseTier) -> list[Publication]:
    """Publish the dependents of a finished shard that are ready now; what was published.

    Costs a few requests for each dependent, however many inputs that has: mostly one, which shows
    that another input is missing.
    """
    redo = cache(run.redo)  # once for all dependents
    found = [_read_ready(run, name, key, redo) for name in run.plan.dependents(key)]
    due = [one for one in found if one is not None and not _marked(run, one)]
    return publish(run, broker, [plan_dependent(run, one, choose_tier) for one in due])


def _read_ready(
    run: Run, key: str, finished: str, redo: Callable[[], Mapping[str, int]]
) -> ShardStatus | None:
    """The status of a dependent if it is ready, once its input `finished` has its receipt."""
    row = run.plan.row(key)
    known = _probe(run, row, finished)
    if known is None:
        return None
    # Redo requests cannot make a dependent ready that lacks an input. One that was never made is
    # published without a look at them: what is requested, its own worker sees.
    status = read_shard_status(run, key, {}, known=known, most_reads=MOST_INPUTS)
    if row.state == "present" or status.receipt is not None or status.state is ShardState.FAILED:
        # Never from before the receipt: who requests a redo leaves a waiting dependent to the
        # worker of its last input, which must see that request here.
        status = read_shard_status(run, key, redo())
    return status if status.state is ShardState.READY else None


def _probe(run: Run, row: PlanRow, finished: str) -> dict[str, ReceiptSummary] | None:
    """Receipts of a few inputs; None if one was never made.

    The likeliest to be missing are read first: those whose receipt this process never saw, by
    descending id. What it saw only says what is read first.
    """
    found: dict[str, ReceiptSummary] = {}
    others = [name for name in reversed(row.inputs) if name != finished and name in run.plan]
    made = [name for name in others if run.plan.row(name).state == "make"]
    for name in sorted(made, key=run.receipts.seen)[:PROBES]:
        receipt = run.receipts.summary(name)
        if receipt is None:
            return None
        found[name] = receipt
    return found


def cascade_all(
    run: Run, broker: Broker, choose_tier: ChooseTier, status: RunStatus | None = None
) -> list[Publication]:
    """Publish every dependent that is ready and has no marker for it; what was published.

    Publishes what a worker missed that died between a receipt and its cascade.
    """
    status = status or read_status(run)
    rows = [row for row in run.plan.rows_of(status.keys(ShardState.READY)) if row.inputs]
    if not rows or run.cancelled():
        return []
    markers = run.publish_markers()
    due = [
        plan_publication(run, row, status, choose_tier)
        for row in rows
        if row.key not in markers or markers[row.key].inputs_digest != status.inputs_digest(row)
    ]
    return publish(run, broker, due)


def _marked(run: Run, status: ShardStatus) -> bool:
    marker = run.publish_marker(status.row.key)
    return marker is not None and marker.inputs_digest == status.inputs_digest
