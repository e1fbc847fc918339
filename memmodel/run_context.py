"""Run context: volume, tiers and tier choice of one run, parsed once."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from braid.exceptions import SpecError
from braid.precomputed.sharding import shard_box
from braid.precomputed.volume_spec import CodePath, VolumeSpec
from delivery.ledger.damage import LedgerDamaged, damaged
from delivery.ledger.overview import RUN
from delivery.ledger.plan import PlanRow
from delivery.ledger.receipts import Receipt, ReceiptSummary
from delivery.ledger.run import MOVE_AWAY, Run
from delivery.publishing import Dead
from memmodel.estimate import DoesNotFit, Estimate, Work, choose, estimate
from memmodel.throughput import estimated_seconds
from memmodel.tiers import Tier, tier_of
from runtime.errors import UsageError
from runtime.urls import is_remote


class RunContext:
    """A run with what follows from its settings; keep one per run."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @cached_property
    def volume(self) -> VolumeSpec:
        """The volume that the run makes."""
        try:
            return VolumeSpec.parse(self.run.info.volume, self.run.info.dest)
        except SpecError as error:
            raise self._damaged(str(error)) from None

    @cached_property
    def tiers(self) -> tuple[Tier, ...]:
        """The run's tiers, smallest first."""
        try:
            return tuple(tier_of(name) for name in self.run.info.tiers)
        except UsageError as error:
            raise self._damaged(str(error)) from None

    def _damaged(self, why: str) -> LedgerDamaged:
        return damaged(f"{self.run.uri}/{RUN}", why, MOVE_AWAY)

    def work(
        self,
        row: PlanRow,
        receipts: Mapping[str, ReceiptSummary],
        receipt: Receipt | None = None,
    ) -> Work:
        """A shard's work, as far as the ledger knows it before or after.

        Args:
            row: the shard's row of the plan.
            receipts: by key, those of its inputs at least; present inputs may have none.
            receipt: its own.
        """
        info, scale = self.run.info, self.volume.scales[row.scale]
        inputs = [receipts[key] for key in row.inputs if key in receipts]
        begin, end = shard_box(scale, row.shard)
        known_in = row.bytes_in or sum(one.bytes_out for one in inputs)
        decimated = info.z_compress if row.scale == 0 and row.kind == "convert" else 0
        recorded = receipt.code_path if receipt else ""
        return Work(
            kind=row.kind,
            bytes_in=known_in or (receipt.bytes_in if receipt else 0),
            chunks=math.prod(e - b for b, e in zip(begin, end, strict=True)),
            code_path=CodePath(recorded) if recorded else scale.code_path(),
            remote=is_remote((info.source if row.kind == "convert" else info.dest) or ""),
            threads=receipt.threads if receipt else 1,
            chunk_voxels=math.prod(scale.chunk_size),
            slices=decimated + 1,
            labels_per_chunk=labels_per_chunk(inputs),
        )

    def estimate(
        self, row: PlanRow, receipts: Iterable[ReceiptSummary] = (), threads: int = 1
    ) -> Estimate:
        """Memory to make a shard whose inputs are done, with so many threads."""
        work = self.work(row, {receipt.key: receipt for receipt in receipts})
        return estimate(replace(work, threads=threads))

    @property
    def choose_tier(self) -> "TierChooser":
        """The run's tier choice."""
        return TierChooser(self)


class TierChooser:
    """The tier choice of a run, which also knows how long a shard takes.

    Args:
        context: of the run.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context

    def __call__(self, row: PlanRow, receipts: Sequence[ReceiptSummary]) -> str | Dead:
        """The smallest tier that holds a shard whose inputs are done."""
        try:
            return choose(self._context.estimate(row, receipts), self._context.tiers).name
        except DoesNotFit as error:
            return Dead(f"{error}. {error.hint}")

    def estimated_seconds(self, row: PlanRow, receipts: Sequence[ReceiptSummary]) -> float:
        """Seconds that one core works on a shard whose inputs are done."""
        return estimated_seconds(self._context.work(row, {one.key: one for one in receipts}))


def tier_chooser(run: Run) -> TierChooser:
    """The tier choice of a run, for one use."""
    return RunContext(run).choose_tier


def labels_per_chunk(receipts: Sequence[ReceiptSummary]) -> float:
    """Distinct labels of a chunk, on average over these shards."""
    return sum(one.labels for one in receipts) / max(1, sum(one.chunks for one in receipts))
