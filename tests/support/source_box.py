"""Blocks that an output shard is made of, computed apart from `assign_blocks`."""

from braid.precomputed import sharding
from braid.precomputed.volume_spec import ScaleSpec
from braid.transcode.block_assignment import block_extent
from braid.typing import Box


def source_box(scale: ScaleSpec, shard: int, z_compress: int = 0) -> Box:
    """The box of blocks (begin, end; x, y, z) whose voxels an output shard holds.

    Args:
        scale: the output scale.
        shard: number of the output shard.
        z_compress: slices left out after each one kept.
    """
    begin, end = sharding.shard_box(scale, shard)
    extent = block_extent(z_compress + 1)
    first = [b * c // e for b, c, e in zip(begin, scale.chunk_size, extent, strict=True)]
    voxel_end = [min(n * c, s) for n, c, s in zip(end, scale.chunk_size, scale.size, strict=True)]
    last = [(v - 1) // e for v, e in zip(voxel_end, extent, strict=True)]
    return (first[0], first[1], first[2]), (last[0] + 1, last[1] + 1, last[2] + 1)
