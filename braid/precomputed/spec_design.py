"""Design of a sharded multiscale spec from a size and a resolution.

Full shards are cubes of 32**3 chunks in 64 minishards of 512, as in the volumes published from
DVID; upper scales, whose ids have fewer bits, drop shards first, then minishards.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from braid.exceptions import SpecError
from braid.precomputed.volume_spec import VolumeSpec
from braid.typing import Vec3

__all__ = ["design_volume"]


_CHUNK: Vec3 = (64, 64, 64)
_PRESHIFT_BITS = 9  # 8**3 chunks in a minishard
_MINISHARD_BITS = 6  # 4**3 minishards in a shard
_SMALLEST_TOP = 256  # voxels on the longest axis of the last scale: a screenful
_AXES = 3


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
    preshift = min(bits, _PRESHIFT_BITS)
    minishard = min(bits - preshift, _MINISHARD_BITS)
    return {
        "@type": "neuroglancer_uint64_sharded_v1",
        "hash": "identity",
        "preshift_bits": preshift,
        "minishard_bits": minishard,
        "shard_bits": bits - preshift - minishard,
        "data_encoding": "gzip",
        "minishard_index_encoding": "gzip",
    }
