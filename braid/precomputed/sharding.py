"""Sharding: chunk ids, shards and their boxes, and which shards a shard is made from.

Format: Neuroglancer `src/datasource/precomputed/sharded.md`. With `h = id >> preshift_bits` the low
`minishard_bits` of h name the minishard and the next `shard_bits` the shard. Because ids are
compressed Morton codes and always fit those bits (`VolumeSpec` refuses others), a shard is a box of
chunks. All coordinates are (x, y, z); boxes are [begin, end).
"""

import math
import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from braid.exceptions import InvalidCoordinateError, SpecError
from braid.precomputed import morton
from braid.precomputed.volume_spec import ScaleSpec, ShardingSpec
from braid.typing import Box, Int64Array, UInt64Array, Vec3

__all__ = [
    "all_shards",
    "boxes_meeting",
    "cells_are_consecutive",
    "count_shards",
    "dependents",
    "factors",
    "inputs",
    "minishard_numbers",
    "parse_shard_path",
    "shard_box",
    "shard_boxes",
    "shard_edges",
    "shard_hex",
    "shard_id_range",
    "shard_numbers",
    "shard_path",
    "shards_meeting",
]


_ID_BITS = 64
_SHARDS_AT_ONCE = 65_536  # planning a scale of 2**19 shards must not hold them all
_SHARD_NAME = re.compile(r"[0-9a-f]+")


def shard_numbers(ids: npt.ArrayLike, sharding: ShardingSpec) -> UInt64Array:
    """Shard of every chunk id, (n,) uint64."""
    return _bits_of(ids, sharding.preshift_bits + sharding.minishard_bits, sharding.shard_bits)


def minishard_numbers(ids: npt.ArrayLike, sharding: ShardingSpec) -> UInt64Array:
    """Minishard of every chunk id within its shard, (n,) uint64."""
    return _bits_of(ids, sharding.preshift_bits, sharding.minishard_bits)


def shard_hex(shard: int, sharding: ShardingSpec) -> str:
    """Name of a shard: lower-case hex, padded to the digits of the largest one."""
    return f"{shard:x}".zfill(-(-sharding.shard_bits // 4))


def shard_path(scale: ScaleSpec, shard: int) -> str:
    """Path of a shard under the volume: `16x16x16/0fe9.shard`."""
    return f"{scale.key}/{shard_hex(shard, scale.sharding)}.shard"


def parse_shard_path(scale: ScaleSpec, path: str) -> int | None:
    """Shard number of a path under the volume; None if it is not a shard of this scale."""
    folder, _, name = path.rpartition("/")
    stem = name.removesuffix(".shard")
    if folder != scale.key or stem == name or not _SHARD_NAME.fullmatch(stem):
        return None
    shard = int(stem, 16)
    return shard if shard_path(scale, shard) == path and shard < count_shards(scale) else None


def shard_id_range(shard: int, sharding: ShardingSpec) -> tuple[int, int]:
    """First chunk id of a shard and the first one past it."""
    low = sharding.preshift_bits + sharding.minishard_bits
    return shard << low, (shard + 1) << low


def count_shards(scale: ScaleSpec) -> int:
    """Upper bound of shard numbers in use; those wholly past the volume's edge hold no chunk."""
    return 1 << max(0, scale.id_bits - _low_bits(scale))


def shard_box(scale: ScaleSpec, shard: int) -> Box:
    """Box of a shard in chunks, clipped to the grid.

    Raises:
        InvalidCoordinateError: no chunk of the grid lies in that shard.
    """
    low = _low_bits(scale)
    if not 0 <= shard < count_shards(scale):
        raise InvalidCoordinateError(f"scale {scale.key}: there is no shard {shard:x}")
    edges = shard_edges(scale)
    begin = morton.decode_one(shard << low, scale.grid)
    end = _triple(min(b + e, n) for b, e, n in zip(begin, edges, scale.grid, strict=True))
    if any(b >= e for b, e in zip(begin, end, strict=True)):
        raise InvalidCoordinateError(
            f"scale {scale.key}: shard {shard:x} lies outside the grid {scale.grid}"
        )
    return begin, end


def shard_boxes(scale: ScaleSpec, shards: npt.ArrayLike) -> tuple[Int64Array, Int64Array]:
    """Boxes in chunks, begins and ends (n, 3) each, of many shards that hold chunks of the grid."""
    begins = morton.decode(_shift_left(np.asarray(shards, np.uint64), _low_bits(scale)), scale.grid)
    return begins, np.minimum(begins + np.asarray(shard_edges(scale)), scale.grid)


def shard_edges(scale: ScaleSpec) -> Vec3:
    """Chunks per axis of a whole shard: the low bits of an id, counted per axis."""
    low = morton.bit_axes(scale.grid)[: _low_bits(scale)]
    return 1 << low.count(0), 1 << low.count(1), 1 << low.count(2)


def boxes_meeting(
    scale: ScaleSpec, begin_voxels: npt.ArrayLike, end_voxels: npt.ArrayLike
) -> tuple[Int64Array, UInt64Array]:
    """`shards_meeting` for many boxes at once.

    Args:
        scale: whose shards.
        begin_voxels: (n, 3) integers, xyz; boxes may reach beyond the volume.
        end_voxels: (n, 3), likewise.

    Returns:
        Every pair that meets: position of the box (p,) and shard (p,), sorted by both.
    """
    edges = np.asarray(shard_edges(scale)) * np.asarray(scale.chunk_size)
    begin = np.maximum(np.asarray(begin_voxels, np.int64).reshape(-1, 3), 0)
    end = np.minimum(np.asarray(end_voxels, np.int64).reshape(-1, 3), scale.size)
    boxes = np.flatnonzero((begin < end).all(axis=1))
    first, last = begin[boxes] // edges, (end[boxes] - 1) // edges
    for axis in range(3):
        counts = last[:, axis] - first[:, axis] + 1
        step = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        boxes, first, last = (np.repeat(a, counts, axis=0) for a in (boxes, first, last))
        first[:, axis] += step
    ids = morton.encode(first * np.asarray(shard_edges(scale)), scale.grid)
    shards = _bits_of(ids, _low_bits(scale), _ID_BITS)
    order = np.lexsort((shards, boxes))
    return boxes[order], shards[order]


def all_shards(scale: ScaleSpec) -> Iterator[int]:
    """Every shard that holds a chunk of the grid, ascending."""
    low, count = _low_bits(scale), count_shards(scale)
    for start in range(0, count, _SHARDS_AT_ONCE):
        shards = np.arange(start, min(start + _SHARDS_AT_ONCE, count), dtype=np.uint64)
        begins = morton.decode(_shift_left(shards, low), scale.grid)
        yield from shards[(begins < np.asarray(scale.grid)).all(axis=1)].tolist()


def shards_meeting(scale: ScaleSpec, begin_voxel: Vec3, end_voxel: Vec3) -> list[int]:
    """Shards, ascending, with a voxel in [begin, end); what lies outside the volume meets none."""
    edges = [c * e for c, e in zip(scale.chunk_size, shard_edges(scale), strict=True)]
    begin = [max(b, 0) for b in begin_voxel]
    end = [min(e, size) for e, size in zip(end_voxel, scale.size, strict=True)]
    if any(b >= e for b, e in zip(begin, end, strict=True)):
        return []
    ranges = [range(b // d, -(-e // d)) for b, e, d in zip(begin, end, edges, strict=True)]
    corners = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    ids = morton.encode(corners * np.asarray(shard_edges(scale)), scale.grid)
    return sorted(_bits_of(ids, _low_bits(scale), _ID_BITS).tolist())


def factors(fine: ScaleSpec, coarse: ScaleSpec) -> Vec3:
    """Downsampling factor per axis, 1 or 2, from the two resolutions.

    Raises:
        SpecError: the scales do not follow from each other by such factors, or the coarse size is
            not ceil(size / factor).
    """
    at = f"scale {coarse.index} ({coarse.key})"
    found = _triple(
        _factor(a, b, at) for a, b in zip(fine.resolution, coarse.resolution, strict=True)
    )
    if found == (1, 1, 1):
        raise SpecError(f"{at}: resolution equals scale {fine.index}'s; nothing to downsample")
    expected = _triple(-(-size // f) for size, f in zip(fine.size, found, strict=True))
    if coarse.size != expected:
        raise SpecError(
            f"{at}: size {list(coarse.size)} cannot be made from scale {fine.index}: "
            f"ceil(size / {list(found)}) is {list(expected)}"
        )
    return found


def inputs(fine: ScaleSpec, coarse: ScaleSpec, coarse_shard: int) -> list[int]:
    """Shards of the fine scale that a coarse shard is made from, ascending."""
    step = factors(fine, coarse)
    begin, end = _voxel_box(coarse, coarse_shard)
    return shards_meeting(fine, _times(begin, step), _times(end, step))


def dependents(fine: ScaleSpec, coarse: ScaleSpec, fine_shard: int) -> list[int]:
    """Shards of the coarse scale that need a fine shard, ascending."""
    step = factors(fine, coarse)
    begin, end = _voxel_box(fine, fine_shard)
    low = _triple(b // f for b, f in zip(begin, step, strict=True))
    high = _triple(-(-e // f) for e, f in zip(end, step, strict=True))
    return shards_meeting(coarse, low, high)


def cells_are_consecutive(fine: ScaleSpec, coarse: ScaleSpec) -> bool:
    """Whether fine chunks, walked in id order, come cell by cell in the coarse scale's id order.

    Then `fine_id >> k` is the coarse id, k being the number of axes with more than one fine chunk.
    True iff two fine chunks per axis make a coarse one on every axis that has more than one, and
    the coarse grid is half the fine one, rounded up. Elsewhere cells must be looked up.
    """
    step = factors(fine, coarse)
    halves = _triple(-(-n // 2) for n in fine.grid)
    doubled = all(
        f * big == 2 * small
        for f, big, small, n in zip(
            step, coarse.chunk_size, fine.chunk_size, fine.grid, strict=True
        )
        if n > 1
    )
    return doubled and coarse.grid == halves


def _factor(fine: float, coarse: float, at: str) -> int:
    for factor in (1, 2):
        if math.isclose(coarse, fine * factor, rel_tol=1e-6):
            return factor
    raise SpecError(f"{at}: resolution {coarse:g} is neither 1 nor 2 times {fine:g}")


def _voxel_box(scale: ScaleSpec, shard: int) -> Box:
    begin, end = shard_box(scale, shard)
    far = _times(end, scale.chunk_size)
    clipped = _triple(min(e, size) for e, size in zip(far, scale.size, strict=True))
    return _times(begin, scale.chunk_size), clipped


def _low_bits(scale: ScaleSpec) -> int:
    """Bits of an id that vary within one shard."""
    return scale.sharding.preshift_bits + scale.sharding.minishard_bits


def _bits_of(ids: npt.ArrayLike, shift: int, width: int) -> UInt64Array:
    """`width` bits of every id from bit `shift` up (numpy leaves shifts by 64 undefined)."""
    codes = np.asarray(ids, np.uint64)
    if shift >= _ID_BITS or width == 0:
        return np.zeros_like(codes)
    return (codes >> np.uint64(shift)) & np.uint64((1 << min(width, _ID_BITS)) - 1)


def _shift_left(values: UInt64Array, shift: int) -> UInt64Array:
    return np.zeros_like(values) if shift >= _ID_BITS else values << np.uint64(shift)


def _times(a: Vec3, b: Vec3) -> Vec3:
    return a[0] * b[0], a[1] * b[1], a[2] * b[2]


def _triple(values: Iterator[int] | list[int]) -> Vec3:
    x, y, z = values
    return x, y, z
