"""The tier of a dependent, from what its inputs turned out to be."""

import math
from collections.abc import Sequence

from braid.sharding import shard_box
from braid.volume import VolumeSpec
from delivery.cascade import ChooseTier, Dead
from delivery.ledger.plan import PlanRow
from delivery.ledger.receipts import ReceiptSummary
from delivery.ledger.run import RunInfo
from memmodel.estimate import DoesNotFit, Estimate, choose, downsample_estimate
from memmodel.tiers import tier_of


def dependent_estimate(
    volume: VolumeSpec, row: PlanRow, receipts: Sequence[ReceiptSummary]
) -> Estimate:
    """Memory to make a shard from inputs of which most have receipts.

    Args:
        volume: the destination.
        row: the shard's row; its `bytes_in` counts where inputs were present before the run.
        receipts: of its inputs.
    """
    scale = volume.scales[row.scale]
    begin, end = shard_box(scale, row.shard)
    made = [receipt.bytes_out for receipt in receipts]
    return downsample_estimate(
        input_bytes=[*made, max(0, row.bytes_in - sum(made))],
        chunks=math.prod(e - b for b, e in zip(begin, end, strict=True)),
        route=scale.route,
        chunk_voxels=math.prod(scale.chunk_size),
        labels_per_chunk=sum(r.labels for r in receipts) / max(1, sum(r.chunks for r in receipts)),
    )


def chooser(info: RunInfo) -> ChooseTier:
    """What the cascade asks for the tier of a run's dependents."""
    volume = VolumeSpec.parse(info.volume, info.dest)
    tiers = [tier_of(name) for name in info.tiers]

    def choose_tier(row: PlanRow, receipts: Sequence[ReceiptSummary]) -> str | Dead:
        try:
            return choose(dependent_estimate(volume, row, receipts), tiers).name
        except DoesNotFit as error:
            return Dead(str(error))

    return choose_tier
