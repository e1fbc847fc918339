"""Forecast of one shard: work, memory, seconds, size and tier, before it is made."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from braid.precomputed import sharding
from braid.precomputed.volume_spec import ScaleSpec
from delivery.ledger.plan import PlanRow
from memmodel.coefficients import Coefficients
from memmodel.estimate import DoesNotFit, Work, choose, estimate
from memmodel.throughput import estimated_seconds
from memmodel.tiers import Tier

# Stored bytes of a scale over those of the one before, measured on a real dataset.
DOWNSAMPLED_RATIO: Final = 0.31
# Stored bytes with gzip over Arrow bytes of a converted shard: 4 KB per chunk, 5 KB per zstd block.
CONVERTED_RATIO: Final = 0.8


@dataclass(frozen=True)
class ShardForecast:
    """Forecast of one shard to be made.

    Attributes:
        work: its bytes may be estimated from the scale before.
        needed_bytes: peak memory.
        seconds: of one worker with one core.
        bytes_out: estimated size of the shard.
        tier: the smallest that holds it; None if no tier does.
        why_not: the reason with both numbers, if no tier does.
    """

    row: PlanRow
    work: Work
    needed_bytes: int
    seconds: float
    bytes_out: int
    tier: Tier | None = None
    why_not: str | None = None


def forecast_shard(
    row: PlanRow, work: Work, tiers: Sequence[Tier], guess: int, coefficients: Coefficients
) -> ShardForecast:
    """Forecast of a shard.

    Args:
        row: of the plan.
        work: that makes it.
        tiers: of which it gets the smallest that holds it.
        guess: of its stored bytes.
        coefficients: of the memory estimate.
    """
    needed, seconds = estimate(work, coefficients), estimated_seconds(work)
    tier, why_not = None, None
    try:
        tier = choose(needed, tiers)
    except DoesNotFit as error:
        why_not = f"{error}. {error.hint}"
    return ShardForecast(row, work, needed.total_bytes, seconds, guess, tier, why_not)


def convert_work(
    scale: ScaleSpec, chunks: int, bytes_in: int, slices: int, *, remote: bool
) -> Work:
    """Work of a conversion."""
    return Work(
        "convert",
        bytes_in,
        chunks,
        scale.code_path(slices),
        remote=remote,
        chunk_voxels=math.prod(scale.chunk_size),
        slices=slices,
    )


def downsample_work(scale: ScaleSpec, chunks: int, bytes_in: int, *, remote: bool) -> Work:
    """Work of a downsampling."""
    return Work(
        "downsample",
        bytes_in,
        chunks,
        scale.code_path(),
        remote=remote,
        chunk_voxels=math.prod(scale.chunk_size),
    )


def chunk_counts(scale: ScaleSpec, shards: Sequence[int]) -> list[int]:
    """Number of grid positions in each shard's box: the most chunks it can hold."""
    begins, ends = sharding.shard_boxes(scale, shards)
    return [int(count) for count in (ends - begins).prod(axis=1)]
