"""Design of a sharded multiscale spec from a size and a resolution, and a check of its bits.

Full shards are cubes of 32**3 chunks in 64 minishards of 512, as in the volumes published from
DVID; upper scales, whose ids have fewer bits, drop shards first, then minishards.

DVID names an export file after a cube whose edge is the largest edge of a shard's box. Where such
a cube holds two shards, DVID appends both to one file at once, and nothing can read it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from braid.exceptions import SpecError
from braid.precomputed import morton
from braid.precomputed.volume_spec import ScaleSpec, VolumeSpec
from braid.typing import Vec3

__all__ = ["SharedFiles", "design_volume", "find_shared_files"]


_CHUNK: Vec3 = (64, 64, 64)
_PRESHIFT_BITS = 9  # 8**3 chunks in a minishard
_MINISHARD_BITS = 6  # 4**3 minishards in a shard
_BLOCK = 64  # edge of a DVID block
_SMALLEST_TOP = 256  # voxels on the longest axis of the last scale: a screenful
_AXES = 3
_ID_BITS = 64


@dataclass(frozen=True)
class SharedFiles:
    """Export files of one scale into which DVID would write several shards.

    Attributes:
        count: of such files.
        files: of the scale, if every shard has a row.
        minishard_bits: with which each shard has a file of its own; the bits that are taken away
            go to `shard_bits`.
        shard_bits: likewise.
        preshift_bits: likewise.
    """

    scale: ScaleSpec
    count: int
    files: int
    preshift_bits: int
    minishard_bits: int
    shard_bits: int


def find_shared_files(scale: ScaleSpec, z_step: int = 1) -> SharedFiles | None:
    """Find the export files of a scale that several shards share; None if there are none.

    Args:
        scale: a served scale of the spec that DVID is given.
        z_step: slices of the source per slice of the scale.
    """
    spec, grid = scale.sharding, _block_grid(scale, z_step)
    low = spec.preshift_bits + spec.minishard_bits
    files, shared = _count_files(grid, low)
    if not shared:
        return None
    fewer = _most_unshared_bits(grid, low)
    preshift = min(spec.preshift_bits, fewer)
    moved = spec.shard_bits + low - fewer
    return SharedFiles(scale, shared, files, preshift, fewer - preshift, moved)


def _block_grid(scale: ScaleSpec, z_step: int) -> Vec3:
    x, y, z = (-(-n // _BLOCK) for n in (*scale.size[:2], scale.size[2] * z_step))
    return x, y, z


def _count_files(grid: Vec3, low_bits: int) -> tuple[int, int]:
    """Files of a scale, and how many of them several shards share."""
    inside = morton.bit_axes(grid)[:low_bits]
    edges = [1 << inside.count(axis) for axis in range(_AXES)]
    cube = max(edges)
    cells = [-(-n // cube) for n in grid]
    last = [n - (count - 1) * cube for n, count in zip(grid, cells, strict=True)]
    # Only the last cell of an axis may hold fewer shards than the others.
    alone = [
        (count - 1) * (edge == cube) + (left <= edge)
        for edge, count, left in zip(edges, cells, last, strict=True)
    ]
    return math.prod(cells), math.prod(cells) - math.prod(alone)


def _most_unshared_bits(grid: Vec3, most: int) -> int:
    """Largest number of id bits within a shard, up to `most`, that gives each shard its file."""
    return next(low for low in range(most, -1, -1) if not _count_files(grid, low)[1])


def design_volume(
    size: Sequence[int], resolution: Sequence[float], scales: int | None = None
) -> VolumeSpec:
    """Design a uint64 compressed_segmentation volume with 64**3 chunks.

    Each scale halves the one before, except on axes whose voxels are still more than sqrt(2) times
    as long as the shortest: they wait until the others have caught up.

    Args:
        size: voxels (x, y, z) of scale 0.
        resolution: nanometres (x, y, z) of a voxel of scale 0.
        scales: how many; None goes on until the longest axis has at most 256 voxels.

    Raises:
        SpecError: size, resolution or number of scales cannot be a volume's.
    """
    _check(size, resolution, scales)
    designed = [_scale(*at) for at in _levels(size, resolution, scales)]
    return VolumeSpec.parse(
        {
            "@type": "neuroglancer_multiscale_volume",
            "type": "segmentation",
            "data_type": "uint64",
            "num_channels": 1,
            "scales": designed,
        },
        "design",
    )


def _check(size: Sequence[int], resolution: Sequence[float], scales: int | None) -> None:
    if len(size) != _AXES or min(size) < 1:
        raise SpecError(f"size {list(size)}: expected three positive numbers of voxels, x, y, z")
    if len(resolution) != _AXES or not all(0 < r < math.inf for r in resolution):
        raise SpecError(f"resolution {list(resolution)}: expected three positive lengths in nm")
    if scales is not None and scales < 1:
        raise SpecError(f"scales {scales}: a volume has at least one")


def _levels(
    size: Sequence[int], resolution: Sequence[float], scales: int | None
) -> Iterator[tuple[list[int], list[float]]]:
    voxels, spacing = list(size), list(resolution)
    made = 0
    while True:
        yield voxels, spacing
        made += 1
        if made == scales or (scales is None and max(voxels) <= _SMALLEST_TOP):
            return
        longest = math.sqrt(2) * min(spacing)
        factors = [2 if s <= longest else 1 for s in spacing]
        voxels = [-(-n // f) for n, f in zip(voxels, factors, strict=True)]
        spacing = [s * f for s, f in zip(spacing, factors, strict=True)]


def _scale(size: list[int], resolution: list[float]) -> dict[str, Any]:
    return {
        "key": "x".join(str(int(r)) if r == int(r) else repr(r) for r in resolution),
        "size": size,
        "resolution": resolution,
        "voxel_offset": [0, 0, 0],
        "chunk_sizes": [list(_CHUNK)],
        "encoding": "compressed_segmentation",
        "compressed_segmentation_block_size": [8, 8, 8],
        "sharding": _sharding(size),
    }


def _sharding(size: list[int]) -> dict[str, Any]:
    grid = [-(-n // c) for n, c in zip(size, _CHUNK, strict=True)]
    bits = sum((n - 1).bit_length() for n in grid)
    most = min(bits, _PRESHIFT_BITS + _MINISHARD_BITS)
    low = _most_unshared_bits((grid[0], grid[1], grid[2]), most) if bits <= _ID_BITS else most
    preshift = min(low, _PRESHIFT_BITS)
    minishard = low - preshift
    return {
        "@type": "neuroglancer_uint64_sharded_v1",
        "hash": "identity",
        "preshift_bits": preshift,
        "minishard_bits": minishard,
        "shard_bits": bits - preshift - minishard,
        "data_encoding": "gzip",
        "minishard_index_encoding": "gzip",
    }
