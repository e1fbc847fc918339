"""Continuation: whether the plan of an unfinished run is still what a fresh one would be."""

from delivery.ledger.plan import PlanRow
from delivery.ledger.shard_status import ShardState
from producer.planner import PlanResult
from producer.prior_runs import PriorRun, PriorRuns
from producer.provenance import changed_sources
from producer.run_request import Request
from runtime.errors import UsageError


def obstacle(earlier: PriorRun, request: Request, fresh: PlanResult) -> str:
    """Why an unfinished run cannot be continued: what changed since it was planned, in words.

    Args:
        earlier: the run, which makes the same bytes.
        request: the request.
        fresh: the plan as it would be made now, without overwriting.

    Returns:
        An empty text if its plan is still what a fresh one would be, and what it did is current.
    """
    scales = [scale for scale in request.made if earlier.makes(scale)]
    planned = {row.key: row for scale in scales for row in earlier.run.plan.rows(scale)}
    same_choice = earlier.chooses_as(request)
    for scale in scales:
        for row in fresh.plan.rows(scale):
            if not same_choice and row.key not in planned:
                continue
            reason = _row_obstacle(planned.pop(row.key, None), row, earlier, fresh)
            if reason:
                return f"{row.key}: {reason}"
    for row in planned.values() if same_choice else ():  # no source or input is left, and no file
        if row.sources:
            return f"{row.key}: {changed_sources(row.sources, ())}"
    return ""


def superseded(earlier: PriorRun, request: Request, fresh: PlanResult) -> bool:
    """Whether an unfinished run of a selection has nothing to make that the request does not."""
    if earlier.run.info.selection is None or earlier.chooses_as(request):
        return False
    return fresh.reasons.keys() >= earlier.open_keys


def check_not_under_way(history: PriorRuns, request: Request, fresh: PlanResult) -> None:
    """Raise UsageError if an unfinished run makes all that a selection would."""
    for earlier in history.same(request) if request.selection and fresh.reasons else ():
        if not earlier.chooses_as(request) and fresh.reasons.keys() <= earlier.open_keys:
            raise UsageError(
                f"run {earlier.run.run_id} is not finished, and it makes all of "
                f"{request.selection.text if request.selection else ''}, and more",
                hint="without --bbox, --shards, --limit and --sample the same command continues "
                "it; `cancel` ends it; --new-run makes them twice",
            )


def _row_obstacle(
    planned: PlanRow | None, row: PlanRow, earlier: PriorRun, fresh: PlanResult
) -> str:
    """Why one row of an unfinished run is not what a fresh plan says."""
    reason = fresh.reasons.get(row.key, "")
    if planned is None:
        if not reason:
            return ""
        return changed_sources((), row.sources) if row.sources else reason
    if row.kind == "convert" and not _same_sources(planned, row):
        return changed_sources(planned.sources, row.sources)
    if came := sorted({*row.inputs} - {*planned.inputs}):
        return f"its input {came[0]} came"
    done = earlier.states[row.key] is ShardState.DONE
    if reason and done and (planned.state == "present" or row.key not in fresh.follows):
        return reason
    return ""


def _same_sources(planned: PlanRow, row: PlanRow) -> bool:
    """Whether two rows list the same source files; those of 0.1.0 have no digest."""
    if planned.source_digest is not None and row.source_digest is not None:
        return planned.source_digest == row.source_digest
    return (planned.sources, planned.bytes_in) == (row.sources, row.bytes_in)
