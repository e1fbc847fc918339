"""How much memory a shard's work needs: named terms in bytes, and the smallest tier that holds it.

A term is a size that the code fixes (a window, a batch) or that the shard brings (rows, chunks),
times a coefficient that `memmodel fit` can measure again. Work streams, so most terms stop growing
at the size of a window.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Literal, Self

from memmodel.tiers import GIB, MIB, Tier
from runtime.errors import ShardliftError, UsageError

Route = Literal["palette", "voxel", "tensorstore"]

WATCHDOG_SHARE = 0.9  # the worker stops work that passes this share of its tier's limit

WHOLE_OBJECT_BYTES = 256 * MIB  # a source file up to this size is read at once
BATCH_CHUNKS = 512  # chunks that one thread transcodes at a time
ROW_INDEX_BYTES = 96  # coordinates, offset, size and row of a source row, and their sort
CHUNK_INDEX_BYTES = 160  # id, offset and size of a written chunk until the tail is written
LARGEST_BLOCK_BYTES = 3_441_680  # of a DVID block before zstd
LARGEST_CHUNK_BYTES = 4 * 656_385 + 4  # of a 64x64x64 compressed_segmentation chunk
CHUNK_VOXELS = 64**3
VOXEL_BYTES = 8

DOWNSAMPLE_WINDOW_BYTES = 16 * MIB  # compressed input read at once
DOWNSAMPLE_BATCH_BYTES = 24 * MIB  # decompressed input of the cells voted on at once
PIECE_BYTES = 2 * MIB  # of output held before it is handed to the storage


class DoesNotFit(ShardliftError):  # noqa: N818 -- the name reads as the answer it is
    """No tier holds the work; `needed_bytes` and `largest_bytes` say by how much."""

    def __init__(self, needed_bytes: int, largest: Tier) -> None:
        self.needed_bytes = needed_bytes
        self.largest_bytes = largest.limit_bytes
        super().__init__(
            f"needs about {needed_bytes / GIB:.2f} GiB; the largest tier, {largest.name}, "
            f"lets a shard use {WATCHDOG_SHARE * largest.limit_bytes / GIB:.2f} GiB"
        )
        self.hint = "add a larger tier with --tiers, or use smaller shards"


@dataclass(frozen=True, slots=True)
class Coefficients:
    """What `memmodel fit` measures: bytes of the bare process, and factors of the terms."""

    base_bytes: int = 150 * MIB  # interpreter, numpy, pyarrow, storage client
    tensorstore_bytes: int = 40 * MIB  # its import and threads
    source: float = 1.1
    batches: float = 1.3
    inflation: float = 9.0  # DVID block bytes per zstd byte; 7.2 on real data
    payload_inflation: float = 6.0  # chunk bytes per gzip byte
    held: float = 1.2  # TensorStore keeps the raw shard: of its voxels' bytes
    small: float = 1.0  # rows, index, pieces

    @classmethod
    def of(cls, values: Mapping[str, float]) -> Self:
        """Coefficients from a JSON object; names that are missing keep their default."""
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise UsageError(f"unknown memory coefficients: {', '.join(unknown)}")
        if any(not math.isfinite(value) or value < 0 for value in values.values()):
            raise UsageError("memory coefficients must be finite and not negative")
        return cls(**{**asdict(cls()), **values})


DEFAULT = Coefficients()


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes a shard's work will need at its peak, by named term."""

    terms: Mapping[str, int] = field(default_factory=dict)

    @property
    def total_bytes(self) -> int:
        """The sum of all terms."""
        return sum(self.terms.values())


def convert_estimate(
    *,
    source_bytes: Sequence[int],
    chunks: int,
    threads: int = 1,
    route: Route = "palette",
    slices_per_slice: int = 1,
    coefficients: Coefficients = DEFAULT,
) -> Estimate:
    """Memory to make one output shard from DVID export files.

    Args:
        source_bytes: size of each source file.
        chunks: chunks of the grid in the shard's box: the most it can hold.
        threads: threads of the work process.
        route: what serves the output scale; `voxel` also for decimated z.
        slices_per_slice: N + 1 source slices for each one kept by `--z-compress N`.
        coefficients: what was measured.
    """
    c, total_in = coefficients, sum(source_bytes)
    rows = min(chunks * slices_per_slice, max(1, total_in // 64))
    batch = min(rows, BATCH_CHUNKS)
    block = min(LARGEST_BLOCK_BYTES, 1024 + c.inflation * total_in / rows)
    terms = {
        "base": c.base_bytes,
        "source": c.source * min(total_in, WHOLE_OBJECT_BYTES),
        "rows": c.small * ROW_INDEX_BYTES * rows,
        "batches": c.batches * (threads + 1) * batch * block,
        "index": c.small * CHUNK_INDEX_BYTES * chunks,
        "pieces": c.small * PIECE_BYTES,
    }
    if route == "voxel":
        voxels = CHUNK_VOXELS * VOXEL_BYTES * (slices_per_slice + 1)
        terms["voxels"] = threads * voxels
    if route == "tensorstore":
        terms |= _tensorstore_terms(c, chunks)
    return _estimate(terms)


def downsample_estimate(
    *,
    input_bytes: Sequence[int],
    chunks: int,
    threads: int = 1,
    route: Route = "palette",
    chunk_voxels: int = CHUNK_VOXELS,
    coefficients: Coefficients = DEFAULT,
) -> Estimate:
    """Memory to make one shard of a scale from the shards of the scale below.

    Args:
        input_bytes: size of each input shard.
        chunks: chunks of the grid in the output shard's box.
        threads: threads of the work process.
        route: what serves the scale.
        chunk_voxels: voxels of one chunk.
        coefficients: what was measured.
    """
    c, total_in = coefficients, sum(input_bytes)
    opened = c.payload_inflation * total_in
    largest_cell = 8 * LARGEST_CHUNK_BYTES * max(1.0, chunk_voxels / CHUNK_VOXELS)
    batch = min(opened, max(DOWNSAMPLE_BATCH_BYTES, min(largest_cell, opened)))
    terms = {
        "base": c.base_bytes,
        "windows": c.source * min(total_in, DOWNSAMPLE_WINDOW_BYTES),
        "batches": c.batches * (threads + 1) * batch,
        "index": c.small * CHUNK_INDEX_BYTES * (chunks + 8 * chunks),
        "pieces": c.small * PIECE_BYTES,
    }
    if route != "palette":
        terms["voxels"] = threads * 9 * chunk_voxels * VOXEL_BYTES
    if route == "tensorstore":
        terms |= _tensorstore_terms(c, chunks, chunk_voxels)
    return _estimate(terms)


def choose(estimate: Estimate, tiers: Sequence[Tier]) -> Tier:
    """The smallest tier whose watchdog would let this work finish.

    Raises:
        DoesNotFit: not even the largest tier holds it.
    """
    ascending = sorted(tiers, key=lambda tier: tier.limit_bytes)
    for tier in ascending:
        if estimate.total_bytes <= WATCHDOG_SHARE * tier.limit_bytes:
            return tier
    raise DoesNotFit(estimate.total_bytes, ascending[-1])


def _tensorstore_terms(
    c: Coefficients, chunks: int, chunk_voxels: int = CHUNK_VOXELS
) -> dict[str, float]:
    """A transaction holds every chunk of the shard as voxels until it commits."""
    return {
        "tensorstore": c.tensorstore_bytes,
        "held": c.held * chunks * chunk_voxels * VOXEL_BYTES,
    }


def _estimate(terms: Mapping[str, float]) -> Estimate:
    return Estimate({name: math.ceil(size) for name, size in terms.items()})
