"""What a shard of a run needs as far as the ledger tells; the tier of a dependent above all."""

from collections.abc import Sequence
from dataclasses import replace

from braid.precomputed.volume_spec import VolumeSpec
from delivery.cascade import ChooseTier, Dead
from delivery.ledger.plan import PlanRow
from delivery.ledger.receipts import ReceiptSummary
from delivery.ledger.run import Run
from memmodel.estimate import DoesNotFit, Estimate, choose, estimate
from memmodel.receipt_samples import work_of
from memmodel.tiers import tier_of


def shard_estimate(
    run: Run, row: PlanRow, receipts: Sequence[ReceiptSummary] = (), threads: int = 1
) -> Estimate:
    """Memory to make a shard whose inputs are done.

    Args:
        run: whose plan holds the row.
        row: the shard.
        receipts: of its inputs; those present before the run have none.
        threads: of the work process.
    """
    volume = VolumeSpec.parse(run.info.volume, run.info.dest)
    work = work_of(run, volume, row, {receipt.key: receipt for receipt in receipts})
    return estimate(replace(work, threads=threads))


def chooser(run: Run) -> ChooseTier:
    """What the cascade asks for the tier of a run's dependents."""
    tiers = [tier_of(name) for name in run.info.tiers]

    def choose_tier(row: PlanRow, receipts: Sequence[ReceiptSummary]) -> str | Dead:
        try:
            return choose(shard_estimate(run, row, receipts), tiers).name
        except DoesNotFit as error:
            return Dead(str(error))

    return choose_tier
