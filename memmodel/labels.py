"""Label summary: labels per chunk of a scale, and the tiers that the next scale needs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from delivery.ledger.plan import PlanRow
from delivery.ledger.receipts import ReceiptSummary
from delivery.ledger.run import Run
from memmodel.estimate import CELL_CHUNKS, DoesNotFit, Estimate, choose, estimate
from memmodel.run_context import RunContext, labels_per_chunk
from memmodel.tiers import Tier
from runtime.errors import UsageError

TOO_LARGE = "none"


@dataclass(frozen=True)
class LabelSummary:
    """Label summary for one target scale, from the receipts of its inputs.

    Attributes:
        scale: the target.
        shards: of the target in the plan, and how many of them have all their receipts (`known`).
        inputs: shards with a receipt at the scale below; `chunks` and `labels` in them together.
        median, ninth, most: labels per chunk over those shards: median, 90th percentile, largest.
        densest: shards with most labels per chunk, as (key, labels per chunk).
        expected: labels per target chunk at most, on average: what eight chunks hold together.
        tiers: number of target shards by the tier of their estimate.
        largest_bytes: the largest estimate.
    """

    scale: int
    shards: int
    known: int
    inputs: int
    chunks: int
    labels: int
    median: float
    ninth: float
    most: float
    densest: Sequence[tuple[str, float]]
    expected: float
    tiers: Mapping[str, int]
    largest_bytes: int


def summarise(run: Run, scale: int) -> LabelSummary:
    """Summarise the receipts of the inputs of a scale.

    Raises:
        UsageError: the run does not downsample this scale, or none of its inputs is done.
    """
    rows = [row for row in run.plan.rows(scale) if row.inputs]
    if not rows:
        raise UsageError(f"run {run.run_id} does not downsample a scale {scale}")
    receipts = run.receipts.list()
    below = {key for row in rows for key in row.inputs}
    found = [receipts[key] for key in sorted(below) if key in receipts and receipts[key].chunks]
    if not found:
        raise UsageError(
            f"no shard below scale {scale} of run {run.run_id} has chunks yet",
            hint="`python -m producer status` shows what is done",
        )
    dense = sorted(((r.labels / r.chunks, r.key) for r in found), reverse=True)
    tiers, largest = _tiers(run, rows, receipts)
    return LabelSummary(
        scale=scale,
        shards=len(rows),
        known=sum(all(key in receipts for key in row.inputs) for row in rows),
        inputs=len(found),
        chunks=sum(r.chunks for r in found),
        labels=sum(r.labels for r in found),
        median=dense[len(dense) // 2][0],
        ninth=dense[len(dense) // 10][0],
        most=dense[0][0],
        densest=[(key, value) for value, key in dense[:5]],
        expected=CELL_CHUNKS * labels_per_chunk(found),
        tiers=tiers,
        largest_bytes=largest,
    )


def _tiers(
    run: Run, rows: Sequence[PlanRow], receipts: Mapping[str, ReceiptSummary]
) -> tuple[dict[str, int], int]:
    """Target shards per tier, and the largest estimate."""
    context = RunContext(run)
    estimates = [estimate(context.work(row, receipts)) for row in rows]
    counts = Counter(_tier(one, context.tiers) for one in estimates)
    return dict(counts), max(one.total_bytes for one in estimates)


def _tier(needed: Estimate, tiers: Sequence[Tier]) -> str:
    try:
        return choose(needed, tiers).name
    except DoesNotFit:
        return TOO_LARGE
