"""Cascade: publish the dependents whose inputs are done.

Publish markers only suppress duplicates; correctness never depends on them. A marker holds the
inputs digest it was written for; `replay` and stall detection pass it over, and workers never read
one.
"""

from delivery.broker.base import Broker
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


def cascade(run: Run, broker: Broker, key: str, choose_tier: ChooseTier) -> list[Publication]:
    """Publish the dependents of a finished shard that are ready now; what was published.

    Reads only what these dependents depend on, and at most up to the first missing input.
    """
    dependents = run.plan.dependents(key)
    if not dependents:
        return []
    # Once for all dependents, but never from before the receipt: who requests a redo leaves a
    # waiting dependent to the worker of its last input, which must see that request here.
    redo = run.redo()
    statuses = [read_shard_status(run, name, redo) for name in dependents]
    due = [one for one in statuses if one.state is ShardState.READY and not _marked(run, one)]
    return publish(run, broker, [plan_dependent(run, one, choose_tier) for one in due])


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
