"""Assignment of DVID blocks to output chunks.

DVID exports 64x64x64 blocks; an output chunk may be larger, smaller or, with `--z-compress N`, hold
only every (N+1)th slice, so blocks and chunks are many-to-many. `z_step` is N + 1 throughout and
divides 64, so block `bz` always keeps the 64 / z_step output slices from `bz * 64 / z_step` on.
"""

from dataclasses import dataclass

import numpy as np

from braid.exceptions import SpecError
from braid.precomputed import morton, sharding
from braid.precomputed.volume_spec import ScaleSpec
from braid.typing import BoolArray, Int32Array, Int64Array, UInt64Array, Vec3

BLOCK_VOXELS = 64  # edge of a DVID block


@dataclass(frozen=True, slots=True)
class BlockAssignment:
    """Blocks that one output shard needs, paired with the chunks that need them.

    Pairs are sorted by chunk id; a block stands in as many pairs as chunks need it.

    Attributes:
        ids: uint64 (p,), chunk id of each pair, ascending.
        blocks: int64 (p,), position of each pair's block in the coordinates given.
        outside: blocks that lie wholly outside the volume.
        elsewhere: blocks that only other shards need.
    """

    ids: UInt64Array
    blocks: Int64Array
    outside: int
    elsewhere: int


def check_z_step(z_step: int) -> None:
    """Raise SpecError unless whole blocks can be decimated by this step."""
    if z_step < 1 or BLOCK_VOXELS % z_step:
        raise SpecError(f"z-compress {z_step - 1}: {z_step} does not divide {BLOCK_VOXELS}")


def block_extent(z_step: int = 1) -> Vec3:
    """Output voxels (x, y, z) that one block covers."""
    return BLOCK_VOXELS, BLOCK_VOXELS, BLOCK_VOXELS // z_step


def assign_blocks(
    coords: Int32Array, scale: ScaleSpec, shard: int, z_step: int = 1
) -> BlockAssignment:
    """Pair blocks with the chunks of one shard that need them.

    Args:
        coords: int32 (n, 3), block coordinates x, y, z, in any order, each once.
        scale: the output scale.
        shard: number of the output shard.
        z_step: N + 1 of `--z-compress N`.
    """
    inside = _inside(coords, scale, z_step)
    blocks, chunks = _pairs(coords, np.flatnonzero(inside), scale, z_step)
    ids = morton.encode(chunks, scale.grid)
    here = sharding.shard_numbers(ids, scale.sharding) == np.uint64(shard)
    ids, blocks = ids[here], blocks[here]
    order = np.argsort(ids, kind="stable")
    found = np.count_nonzero(np.bincount(blocks))
    return BlockAssignment(
        ids=ids[order],
        blocks=blocks[order],
        outside=int(len(coords) - inside.sum()),
        elsewhere=int(inside.sum() - found),
    )


def _inside(coords: Int32Array, scale: ScaleSpec, z_step: int) -> BoolArray:
    begin = coords.astype(np.int64) * block_extent(z_step)
    return np.asarray(((coords >= 0) & (begin < scale.size)).all(axis=1))


def _pairs(
    coords: Int32Array,
    blocks: Int64Array,
    scale: ScaleSpec,
    z_step: int,
) -> tuple[Int64Array, Int64Array]:
    """Every (block, chunk that overlaps it): positions (p,) and chunk coordinates (p, 3)."""
    extent, chunk = np.array(block_extent(z_step)), np.array(scale.chunk_size)
    begin = coords[blocks].astype(np.int64) * extent
    end = np.minimum(begin + extent, scale.size)
    first, last = begin // chunk, (end - 1) // chunk
    if (first == last).all():  # as with the usual chunks, each of which is a block
        return blocks, first
    for axis in range(3):
        counts = last[:, axis] - first[:, axis] + 1
        step = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        blocks, first, last = (np.repeat(a, counts, axis=0) for a in (blocks, first, last))
        first[:, axis] += step
    return blocks, first
