"""What receipts tell: the work that was done, the memory it took, the labels it met."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from braid.precomputed.sharding import shard_box
from braid.precomputed.volume_spec import CodePath, VolumeSpec
from delivery.ledger.plan import PlanRow
from delivery.ledger.receipts import Receipt, ReceiptSummary
from delivery.ledger.run import Run
from memmodel.estimate import Work
from runtime.urls import is_remote


@dataclass(frozen=True, slots=True)
class ReceiptSample:
    """One finished shard.

    Attributes:
        estimated_bytes: what was thought before the work; None where nobody did.
    """

    key: str
    tier: str
    work: Work
    peak_bytes: int
    estimated_bytes: int | None


def read_samples(run: Run) -> Iterator[ReceiptSample]:
    """A sample of every receipt of a run that has a measured peak."""
    volume = VolumeSpec.parse(run.info.volume, run.info.dest)
    receipts = {key: found for key in run.receipts.list() if (found := run.receipts.get(key))}
    for key, receipt in receipts.items():
        if receipt.peak_bytes is not None and key in run.plan:
            work = work_of(run, volume, run.plan.row(key), receipts, receipt)
            yield ReceiptSample(
                key, receipt.tier, work, receipt.peak_bytes, receipt.estimated_bytes
            )


def work_of(
    run: Run,
    volume: VolumeSpec,
    row: PlanRow,
    receipts: Mapping[str, ReceiptSummary],
    receipt: Receipt | None = None,
) -> Work:
    """A shard's work, as far as the ledger knows it before or after.

    Args:
        run: whose plan holds the row.
        volume: its destination.
        row: the shard.
        receipts: of the shards it is made from, at least.
        receipt: its own.
    """
    scale = volume.scales[row.scale]
    inputs = [receipts[key] for key in row.inputs if key in receipts]
    begin, end = shard_box(scale, row.shard)
    known_in = row.bytes_in or sum(one.bytes_out for one in inputs)
    decimated = run.info.z_compress if row.scale == 0 and row.kind == "convert" else 0
    recorded = receipt.code_path if receipt else ""
    return Work(
        kind=row.kind,
        bytes_in=known_in or (receipt.bytes_in if receipt else 0),
        chunks=math.prod(e - b for b, e in zip(begin, end, strict=True)),
        code_path=CodePath(recorded) if recorded else scale.code_path(),
        remote=is_remote(run.info.source or ""),
        threads=receipt.threads if receipt else 1,
        chunk_voxels=math.prod(scale.chunk_size),
        slices=decimated + 1,
        labels_per_chunk=labels_per_chunk(inputs),
    )


def labels_per_chunk(receipts: list[ReceiptSummary]) -> float:
    """Distinct labels of a chunk, on average over these shards."""
    return sum(one.labels for one in receipts) / max(1, sum(one.chunks for one in receipts))
