"""Extent of an export file: the voxels its name stands for, and rows outside of them.

DVID names a file after the first voxel of a cube, `x_y_z.arrow`, and a file is listed only for the
output shards that this cube, its extent, meets. So a row beyond the extent would be skipped by
every shard that opens the file, and missed by the one that needs it.
"""

import re

import numpy as np

from braid.exceptions import InvalidShardFormatError
from braid.precomputed import morton, sharding
from braid.precomputed.volume_spec import ScaleSpec
from braid.transcode.block_assignment import BLOCK_VOXELS, block_extent
from braid.typing import Box, Int32Array, Int64Array, Vec3

_NAME = re.compile(r"(-?\d{1,10})_(-?\d{1,10})_(-?\d{1,10})\.arrow")
_BLOCK_BITS = 18  # log2 of the voxels in a block

Edges = tuple[int, int]


def origin_of(path: str) -> Vec3 | None:
    """Voxel origin (x, y, z) in a name such as `s1/30720_24576_28672.arrow`; None in others."""
    match = _NAME.fullmatch(path.rpartition("/")[2])
    if match is None:
        return None
    x, y, z = (int(part) for part in match.groups())
    return x, y, z


def extent_edges(scale: ScaleSpec, z_compress: int = 0) -> Edges:
    """Edges in voxels that extents of an export may have: of DVID since 2026-03-21, and before.

    The newer is the largest edge of a shard's box; the older comes from the sharding bits alone.
    The source's own grid counts too, which has more slices where they are decimated.
    """
    bits = scale.sharding.preshift_bits + scale.sharding.minishard_bits
    block = block_extent(z_compress + 1)
    blocks = [-(-size // edge) for size, edge in zip(scale.size, block, strict=True)]
    grids = (scale.grid, (blocks[0], blocks[1], blocks[2]))
    longest = max(morton.bit_axes(grid)[:bits].count(axis) for grid in grids for axis in range(3))
    return BLOCK_VOXELS << longest, 1 << (_BLOCK_BITS + bits) // 3


def extent_of(origin: Vec3, edges: Edges) -> Box:
    """Voxels that a file may hold: an extent of the larger edge that its name allows."""
    # Extents begin at multiples of their edge, so most names decide. Where both edges are possible,
    # an extent that is too large only costs an opened file; one too small would lose rows.
    larger, smaller = max(edges), min(edges)
    edge = larger if is_aligned(origin, larger) or not is_aligned(origin, smaller) else smaller
    x, y, z = origin
    return origin, (x + edge, y + edge, z + edge)


def is_aligned(origin: Vec3, edge: int) -> bool:
    """Whether an extent of this edge can begin there."""
    return not any(part % edge for part in origin)


def in_output(extent: Box, z_compress: int) -> Box:
    """An extent of the source in voxels of the output, where slices may be left out."""
    depth = block_extent(z_compress + 1)[2]
    (x, y, z), (far_x, far_y, far_z) = extent
    return (x, y, z * depth // BLOCK_VOXELS), (far_x, far_y, -(-far_z * depth // BLOCK_VOXELS))


def check_rows(coords: Int32Array, name: str, scale: ScaleSpec, z_compress: int = 0) -> None:
    """Refuse a file with rows beyond its extent.

    Rows outside the volume are allowed: DVID scans whole extents, and no shard needs them.

    Args:
        coords: (n, 3) block coordinates x, y, z of its rows, in their order.
        name: the file's path or URL.
        scale: the output scale.
        z_compress: slices left out after each one kept.

    Raises:
        InvalidShardFormatError: with the first such row, its chunk and the extent.
    """
    origin = origin_of(name)
    if origin is None:
        return
    extent = extent_of(origin, extent_edges(scale, z_compress))
    begin, end = _allowed(extent, scale, z_compress)
    block = block_extent(z_compress + 1)
    first = coords.astype(np.int64) * block
    far = np.minimum(first + block, scale.size)  # what a block holds outside is not needed
    inside = ((first >= 0) & (first < scale.size)).all(axis=1)
    strays = np.flatnonzero(inside & ((first < begin) | (far > end)).any(axis=1))
    if len(strays):
        row = int(strays[0])
        raise InvalidShardFormatError(
            f"{name}: row {row}, chunk {tuple(coords[row].tolist())}: it lies outside the extent "
            f"that the file is named after, voxels {extent[0]} to {extent[1]}, where no shard "
            f"looks for it (rows outside: {len(strays)}). Restore the name that DVID gave the "
            "file, use the spec of the export, or re-export into an empty folder"
        )


def _allowed(extent: Box, scale: ScaleSpec, z_compress: int) -> tuple[Int64Array, Int64Array]:
    """Output voxels that a file's rows may cover: its extent.

    A name that fits no extent of this spec only decides for which shards the file is listed: all
    that it meets, so their boxes are allowed.
    """
    begin, end = (np.asarray(corner) for corner in in_output(extent, z_compress))
    if is_aligned(extent[0], min(extent_edges(scale, z_compress))):
        return begin, end
    _, shards = sharding.boxes_meeting(scale, begin, end)
    if not len(shards):
        return begin, end
    begins, ends = sharding.shard_boxes(scale, shards)
    chunk = np.asarray(scale.chunk_size)
    return np.minimum(begin, begins.min(axis=0) * chunk), np.maximum(end, ends.max(axis=0) * chunk)
