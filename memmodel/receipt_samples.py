"""Receipt samples: the work of finished shards and the memory it took."""

from collections.abc import Iterator
from dataclasses import dataclass

from delivery.ledger.run import Run
from memmodel.estimate import Work
from memmodel.run_context import RunContext


@dataclass(frozen=True, slots=True)
class ReceiptSample:
    """One finished shard.

    Attributes:
        estimated_bytes: the estimate before the work; None where there was none.
    """

    key: str
    tier: str
    work: Work
    peak_bytes: int
    estimated_bytes: int | None


def read_samples(run: Run) -> Iterator[ReceiptSample]:
    """Yield a sample of every receipt of a run that has a measured peak."""
    context = RunContext(run)
    receipts = {key: found for key in run.receipts.list() if (found := run.receipts.get(key))}
    for key, receipt in receipts.items():
        if receipt.peak_bytes is not None and key in run.plan:
            work = context.work(run.plan.row(key), receipts, receipt)
            yield ReceiptSample(
                key, receipt.tier, work, receipt.peak_bytes, receipt.estimated_bytes
            )
