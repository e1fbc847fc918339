"""Extent of an export file: the voxels its name stands for, and rows that no shard would take.

DVID names a file after a cube of voxels, `x_y_z.arrow`: the one, of all cubes of one edge, that
holds the first block to arrive. The file may hold rows of every shard that this cube, its extent,
meets: these shards are its reach, and the file is listed for them alone. So a row beyond the reach
would be skipped by every shard that opens the file, and missed by the one that needs it.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from braid.exceptions import InvalidShardFormatError
from braid.precomputed import morton, sharding
from braid.precomputed.volume_spec import ScaleSpec
from braid.transcode.block_assignment import BLOCK_VOXELS, block_extent
from braid.typing import Box, Int32Array, Int64Array, UInt64Array, Vec3

_NAME: Final = re.compile(r"(-?\d{1,10})_(-?\d{1,10})_(-?\d{1,10})\.arrow")
_BLOCK_BITS: Final = 18  # log2 of the voxels in a block

Edges = tuple[int, ...]
Boxes = tuple[Int64Array, Int64Array]
"""Begins and ends (n, 3) of boxes, in voxels x, y, z."""


def origin_of(path: str) -> Vec3 | None:
    """Voxel origin (x, y, z) in a name such as `s1/30720_24576_28672.arrow`; None in others."""
    match = _NAME.fullmatch(path.rpartition("/")[2])
    if match is None:
        return None
    x, y, z = (int(part) for part in match.groups())
    return x, y, z


def source_scale(scale: ScaleSpec, z_compress: int = 0) -> ScaleSpec:
    """The scale as DVID exports it: chunks are blocks, and no slice is left out."""
    x, y, z = scale.size
    return replace(scale, size=(x, y, z * (z_compress + 1)), chunk_size=(BLOCK_VOXELS,) * 3)


def extent_edges(scale: ScaleSpec, z_compress: int = 0) -> Edges:
    """Edges in voxels that extents of an export may have, the largest first.

    DVID's since 2026-03-21 is the largest edge of a shard's box, clipped to the grid or not; the
    one before comes from the sharding bits alone.
    """
    source = source_scale(scale, z_compress)
    whole = sharding.shard_edges(source)
    clipped = (min(edge, count) for edge, count in zip(whole, source.grid, strict=True))
    older = 1 << (_BLOCK_BITS + _low_bits(scale)) // 3
    found = {max(whole) * BLOCK_VOXELS, max(clipped) * BLOCK_VOXELS, older}
    return tuple(sorted(found, reverse=True))


def begins_extent(origin: Vec3, edges: Edges) -> bool:
    """Whether an extent of one of these edges can begin there."""
    return any(not any(part % edge for part in origin) for edge in edges)


def wrapped(origin: Vec3, scale: ScaleSpec, z_compress: int = 0) -> Vec3:
    """The origin that a name stands for: on each axis, the first beyond all chunk ids is 0.

    DVID scans x up to and including size / 64 and masks ids to their bits. So where the grid uses
    its bits up, the block beyond it belongs to a shard at 0, and names its file if it comes first.
    """
    x, y, z = _named(np.asarray([origin]), scale, z_compress)[0].tolist()
    return x, y, z


def extent_of(origin: Vec3, scale: ScaleSpec, z_compress: int = 0) -> Box:
    """Source voxels that a file is named after: the largest extent that may begin there."""
    begin, end = extents_of([origin], scale, z_compress)
    (x, y, z), (far_x, far_y, far_z) = begin[0].tolist(), end[0].tolist()
    return (x, y, z), (far_x, far_y, far_z)


def extents_of(origins: Sequence[Vec3], scale: ScaleSpec, z_compress: int = 0) -> Boxes:
    """Source voxels that files are named after, each the largest extent that may begin there.

    Extents begin at multiples of their edge, so most names decide. Where several edges are
    possible, an extent that is too large only costs an opened file; one too small would lose rows.

    Args:
        origins: as the names have them.
        scale: the output scale.
        z_compress: slices left out after each one kept.
    """
    begin = _named(np.asarray(origins, np.int64).reshape(-1, 3), scale, z_compress)
    edges = extent_edges(scale, z_compress)
    edge = np.full((len(begin), 1), edges[0])
    for smaller in reversed(edges):  # so that the largest that fits is the last
        edge[(begin % smaller == 0).all(axis=1)] = smaller
    return begin, begin + edge


def shards_of(
    origins: Sequence[Vec3], scale: ScaleSpec, z_compress: int = 0
) -> tuple[Int64Array, UInt64Array]:
    """Output shards in the reach of files.

    Args:
        origins: as the names have them.
        scale: the output scale.
        z_compress: slices left out after each one kept.

    Returns:
        Every pair: position of the origin (p,) and shard (p,), sorted by both.
    """
    return sharding.boxes_meeting(scale, *_reaches(origins, scale, z_compress))


def check_rows(coords: Int32Array, name: str, scale: ScaleSpec, z_compress: int = 0) -> None:
    """Refuse a file with rows beyond its reach.

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
    begin, end = _taken(origin, scale, z_compress)
    block = block_extent(z_compress + 1)
    first = coords.astype(np.int64) * block
    far = np.minimum(first + block, scale.size)  # what a block holds outside is not needed
    inside = ((first >= 0) & (first < scale.size)).all(axis=1)
    strays = np.flatnonzero(inside & ((first < begin) | (far > end)).any(axis=1))
    if len(strays):
        row = int(strays[0])
        extent = extent_of(origin, scale, z_compress)
        raise InvalidShardFormatError(
            f"{name}: row {row}, chunk {tuple(coords[row].tolist())}: it lies outside the extent "
            f"that the file is named after, voxels {extent[0]} to {extent[1]}, where no shard "
            f"looks for it (rows outside: {len(strays)}). Restore the name that DVID gave the "
            "file, use the spec of the export, or re-export into an empty folder"
        )


def _named(origins: Int64Array, scale: ScaleSpec, z_compress: int) -> Int64Array:
    """`wrapped` for many origins, (n, 3)."""
    begins = np.zeros(len(origins), bool)
    for edge in extent_edges(scale, z_compress):
        begins |= (origins % edge == 0).all(axis=1)
    bits = np.asarray(morton.grid_bits(source_scale(scale, z_compress).grid))
    beyond = origins == np.int64(BLOCK_VOXELS) << bits
    return np.where(begins[:, None] & beyond, 0, origins)


def _reaches(origins: Sequence[Vec3], scale: ScaleSpec, z_compress: int) -> Boxes:
    """Output voxels of the source's shards that extents meet: a box each, as shards are a grid."""
    begin, end = extents_of(origins, scale, z_compress)
    edges = np.asarray(sharding.shard_edges(source_scale(scale, z_compress))) * BLOCK_VOXELS
    begin, end = begin // edges * edges, -(-end // edges) * edges
    begin[:, 2] //= z_compress + 1
    end[:, 2] = -(-end[:, 2] // (z_compress + 1))
    return begin, end


def _taken(origin: Vec3, scale: ScaleSpec, z_compress: int) -> Boxes:
    """Output voxels of the shards that a file is listed for: one box, empty if there are none."""
    begins, ends = _reaches([origin], scale, z_compress)
    begin, end = np.maximum(begins[0], 0), np.minimum(ends[0], scale.size)
    if (begin >= end).any():
        return begin, begin
    edges = np.asarray(sharding.shard_edges(scale)) * np.asarray(scale.chunk_size)
    return begin // edges * edges, -(-end // edges) * edges


def _low_bits(scale: ScaleSpec) -> int:
    return scale.sharding.preshift_bits + scale.sharding.minishard_bits
