"""Which voxels an export file is named after, and rows that it should not hold.

DVID names a file after the first voxel of a cubic cell, `x_y_z.arrow`, and a file is listed only
for the output shards that its cell meets. So a row beyond the cell would be passed over by every
shard that opens the file, and missed by the one that needs it.
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


def cell_edges(scale: ScaleSpec, z_compress: int = 0) -> Edges:
    """Edges in voxels that the cells of an export may have: of DVID since 2026-03-21, and before.

    The newer is the largest edge of a shard's box; the older comes from the sharding bits alone.
    The source's own grid counts too, which has more slices where they are decimated.
    """
    bits = scale.sharding.preshift_bits + scale.sharding.minishard_bits
    extent = block_extent(z_compress + 1)
    blocks = [-(-size // edge) for size, edge in zip(scale.size, extent, strict=True)]
    grids = (scale.grid, (blocks[0], blocks[1], blocks[2]))
    longest = max(morton.bit_axes(grid)[:bits].count(axis) for grid in grids for axis in range(3))
    return BLOCK_VOXELS << longest, 1 << (_BLOCK_BITS + bits) // 3


def cell_of(origin: Vec3, edges: Edges) -> Box:
    """The voxels that a file may hold: a cell of the larger edge that its name allows.

    Cells begin at multiples of their edge, so most names tell which it is. Where both are possible
    a cell that is too large only costs a look into a file; one too small would lose rows.
    """
    larger, smaller = max(edges), min(edges)
    edge = larger if is_aligned(origin, larger) or not is_aligned(origin, smaller) else smaller
    x, y, z = origin
    return origin, (x + edge, y + edge, z + edge)


def is_aligned(origin: Vec3, edge: int) -> bool:
    """Whether a cell of this edge can begin there."""
    return not any(part % edge for part in origin)


def in_output(cell: Box, z_compress: int) -> Box:
    """A cell of the source in voxels of the output, where slices may be left out."""
    depth = block_extent(z_compress + 1)[2]
    (x, y, z), (far_x, far_y, far_z) = cell
    return (x, y, z * depth // BLOCK_VOXELS), (far_x, far_y, -(-far_z * depth // BLOCK_VOXELS))


def check_rows(coords: Int32Array, name: str, scale: ScaleSpec, z_compress: int = 0) -> None:
    """Refuse a file with rows beyond the cell that it is named after.

    Rows outside the volume are none of those: DVID scans whole cells, and nobody needs them.

    Args:
        coords: int32 (n, 3), block coordinates x, y, z of its rows, in their order.
        name: the file's path or URL.
        scale: the output scale.
        z_compress: slices left out after each one kept.

    Raises:
        InvalidShardFormatError: with the first such row, its chunk and the cell.
    """
    origin = origin_of(name)
    if origin is None:
        return
    cell = cell_of(origin, cell_edges(scale, z_compress))
    begin, end = _allowed(cell, scale, z_compress)
    extent = block_extent(z_compress + 1)
    first = coords.astype(np.int64) * extent
    far = np.minimum(first + extent, scale.size)  # what a block holds outside nobody needs
    inside = ((first >= 0) & (first < scale.size)).all(axis=1)
    strays = np.flatnonzero(inside & ((first < begin) | (far > end)).any(axis=1))
    if len(strays):
        row = int(strays[0])
        raise InvalidShardFormatError(
            f"{name}: row {row}, chunk {tuple(coords[row].tolist())}: it lies outside the cell "
            f"that the file is named after, voxels {cell[0]} to {cell[1]}, where no shard looks "
            f"for it (rows outside: {len(strays)}). Restore the name that DVID gave the file, use "
            "the spec of the export, or re-export into an empty folder"
        )


def _allowed(cell: Box, scale: ScaleSpec, z_compress: int) -> tuple[Int64Array, Int64Array]:
    """Output voxels that a file's rows may cover: its cell.

    A name that fits no cell of this spec tells only where the file is looked for: in every shard
    that it meets, so the boxes of those are allowed.
    """
    begin, end = (np.asarray(corner) for corner in in_output(cell, z_compress))
    if is_aligned(cell[0], min(cell_edges(scale, z_compress))):
        return begin, end
    _, shards = sharding.boxes_meeting(scale, begin, end)
    if not len(shards):
        return begin, end
    begins, ends = sharding.shard_boxes(scale, shards)
    chunk = np.asarray(scale.chunk_size)
    return np.minimum(begin, begins.min(axis=0) * chunk), np.maximum(end, ends.max(axis=0) * chunk)
