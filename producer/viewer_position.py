"""Where a viewer begins: a voxel of a common segment, or a given one, and a zoom that shows it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from braid.exceptions import BraidError, ChunkNotFoundError
from braid.precomputed import morton, sharding
from braid.precomputed.chunk_codec import Voxels, decode_chunk
from braid.precomputed.shard_reader import ShardFile
from braid.precomputed.volume_spec import ScaleSpec, VolumeSpec
from braid.typing import Int64Array, Vec3
from producer.planner import list_outputs
from runtime.errors import UsageError
from runtime.storage import Storage

PANEL_PIXELS: Final = 600  # half of a common window
_SEGMENTS = 12
_TRIED_CHUNKS = 16  # until one holds a label other than 0

Point = tuple[float, float, float]
Box = tuple[Vec3, Vec3]


class OutsideError(UsageError):
    """Voxel outside the volume."""


@dataclass(frozen=True)
class ViewerPosition:
    """Initial position and selection of the viewer.

    Attributes:
        position: x, y, z in voxels of scale 0.
        segments: selected, the largest ones of the chunk shown, the position's first.
        zoom: screen pixel, in voxels of scale 0 (their shortest edge).
        where: what is shown, in words.
    """

    position: Point
    segments: Sequence[int]
    zoom: float
    where: str


@dataclass(frozen=True)
class ShownChunk:
    """Chunk that is shown first, with its largest labels and a voxel of the first one."""

    chunk: Vec3
    labels: Sequence[int]
    voxel: Point


def choose_position(dest: Storage, volume: VolumeSpec) -> ViewerPosition:
    """Choose a voxel of the commonest label in a chunk amid the existing shards.

    The chunk is one of the coarsest scale that has files, so that little is read; in an empty
    volume the position is its centre. The zoom is no coarser than that scale's voxels: there the
    viewer would ask for coarser scales, and show nothing.
    """
    for scale, shards in made_scales(dest, volume):
        try:
            shown, extent = find_labels(dest, scale, shards)
        except BraidError:  # a damaged shard; a finer scale may be readable
            continue
        if shown is not None:
            return _position(volume, scale, shown, extent)
    x, y, z = volume.scales[0].size
    zoom = max(x, y, z) / PANEL_PIXELS
    return ViewerPosition((x / 2, y / 2, z / 2), (), zoom, "the middle of the volume")


def position_at(dest: Storage, volume: VolumeSpec, voxel: Vec3) -> ViewerPosition:
    """Show a given voxel, and select its segment and the largest ones around it.

    Args:
        dest: the volume.
        volume: its description.
        voxel: of scale 0.

    Raises:
        OutsideError: the voxel lies outside the volume.
    """
    finest = volume.scales[0]
    if not all(0 <= at < size for at, size in zip(voxel, finest.size, strict=True)):
        size = ",".join(map(str, finest.size))
        raise OutsideError(
            f"--pos {','.join(map(str, voxel))} lies outside the volume",
            hint=f"give a voxel of scale 0 below {size}",
        )
    x, y, z = (at + 0.5 for at in voxel)
    where = f"voxel {', '.join(map(str, voxel))}"
    for scale, shards in made_scales(dest, volume):
        zoom = min(scale.resolution) / min(finest.resolution)
        try:
            labels = _labels_at(dest, scale, set(shards), (x, y, z), finest.resolution)
        except BraidError:
            continue
        return ViewerPosition((x, y, z), labels, zoom, where)
    return ViewerPosition((x, y, z), (), 1.0, where)


def made_scales(dest: Storage, volume: VolumeSpec) -> Iterable[tuple[ScaleSpec, list[int]]]:
    """Scales that have files, the coarsest first, each with its shards."""
    for scale in reversed(volume.scales):
        outputs = {} if scale.unserved else list_outputs(dest, scale)
        if outputs:
            yield scale, sorted(outputs)


def _position(
    volume: VolumeSpec, scale: ScaleSpec, shown: ShownChunk, extent: Box
) -> ViewerPosition:
    finest = volume.scales[0].resolution
    x, y, z = (v * a / b for v, a, b in zip(shown.voxel, scale.resolution, finest, strict=True))
    low, high = extent
    width = max((e - b) * r for b, e, r in zip(low, high, scale.resolution, strict=True))
    nanometres = min(width / PANEL_PIXELS, *scale.resolution)
    chunk = ", ".join(map(str, shown.chunk))
    where = f"around chunk ({chunk}) of scale {scale.index}"
    return ViewerPosition((x, y, z), shown.labels, nanometres / min(finest), where)


def find_labels(
    dest: Storage, scale: ScaleSpec, shards: Sequence[int]
) -> tuple[ShownChunk | None, Box]:
    """The chunk with a label nearest to the middle, if any, and the extent of the data in voxels.

    The extent is that of the shards; of a single one it is that of its chunks, which may be few.

    Raises:
        BraidError: the shard in the middle is damaged.
    """
    extent = _extent(scale, shards)
    middle = _middle(extent)
    shard = min(shards, key=lambda shard: math.dist(_centre(scale, shard), middle))
    source = dest.source(sharding.shard_path(scale, shard))
    try:
        file = ShardFile.open(source, scale, shard)
        coords = morton.decode(file.ids(), scale.grid)
        if len(shards) == 1 and len(coords):
            extent = _clipped(scale, coords.min(axis=0), coords.max(axis=0) + 1)
            middle = _middle(extent)
        away = np.abs((coords + 0.5) * scale.chunk_size - middle).sum(axis=1)
        for place in np.argsort(away, kind="stable")[:_TRIED_CHUNKS].tolist():
            x, y, z = (int(c) for c in coords[place])
            voxels = _decoded(scale, (x, y, z), file.chunk(int(file.ids()[place])))
            if (shown := _shown(scale, (x, y, z), voxels)) is not None:
                return shown, extent
    finally:
        source.close()
    return None, extent


def _labels_at(
    dest: Storage, scale: ScaleSpec, shards: set[int], at: Point, finest: Point
) -> Sequence[int]:
    """Labels of the chunk around a point, the point's own first; none where there is no chunk."""
    voxel = [int(v * a / b) for v, a, b in zip(at, finest, scale.resolution, strict=True)]
    inside = [min(v, size - 1) for v, size in zip(voxel, scale.size, strict=True)]
    x, y, z = (v // edge for v, edge in zip(inside, scale.chunk_size, strict=True))
    number = int(morton.encode([(x, y, z)], scale.grid)[0])
    shard = int(sharding.shard_numbers([number], scale.sharding)[0])
    if shard not in shards:
        return ()
    source = dest.source(sharding.shard_path(scale, shard))
    try:
        voxels = _decoded(scale, (x, y, z), ShardFile.open(source, scale, shard).chunk(number))
    except ChunkNotFoundError:
        return ()
    finally:
        source.close()
    i, j, k = (v % edge for v, edge in zip(inside, scale.chunk_size, strict=True))
    own = int(voxels[k, j, i])
    others = [label for label in _by_size(voxels) if label != own]
    return ([own] if own else []) + others[: _SEGMENTS - 1]


def _decoded(scale: ScaleSpec, chunk: Vec3, data: bytes) -> Voxels:
    first, last = scale.chunk_box(chunk)
    z, y, x = (e - b for b, e in zip(reversed(first), reversed(last), strict=True))
    return decode_chunk(scale, data, (z, y, x))


def _shown(scale: ScaleSpec, chunk: Vec3, voxels: Voxels) -> ShownChunk | None:
    """Labels of a chunk, the commonest first, and a voxel of that one; None if all are 0."""
    labels = _by_size(voxels)[:_SEGMENTS]
    if not labels:
        return None
    at = inner_voxel(voxels == labels[0])
    first, _ = scale.chunk_box(chunk)
    middle = [b + v + 0.5 for b, v in zip(first, at, strict=True)]
    return ShownChunk(chunk, labels, (middle[0], middle[1], middle[2]))


def _by_size(voxels: Voxels) -> list[int]:
    """Labels other than 0, the commonest first."""
    found, counts = np.unique(voxels, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [int(label) for label in found[order] if label]


def inner_voxel(mask: npt.NDArray[np.bool_]) -> Vec3:
    """Voxel (x, y, z) of a ZYX mask that is nearest to its centre of mass."""
    voxels = np.argwhere(mask)
    away = np.abs(voxels - voxels.mean(axis=0)).sum(axis=1)
    z, y, x = voxels[int(np.argmin(away))].tolist()
    return x, y, z


def _extent(scale: ScaleSpec, shards: Sequence[int]) -> Box:
    """Bounding box of shards, in voxels."""
    begins, ends = sharding.shard_boxes(scale, shards)
    return _clipped(scale, begins.min(axis=0), ends.max(axis=0))


def _clipped(scale: ScaleSpec, begin: Int64Array, end: Int64Array) -> Box:
    """Box in voxels of a box in chunks, within the volume."""
    low = begin * scale.chunk_size
    high = np.minimum(end * scale.chunk_size, scale.size)
    a, b = (tuple(int(v) for v in corner) for corner in (low, high))
    return (a[0], a[1], a[2]), (b[0], b[1], b[2])


def _middle(box: Box) -> list[float]:
    return [(b + e) / 2 for b, e in zip(*box, strict=True)]


def _centre(scale: ScaleSpec, shard: int) -> list[float]:
    begin, end = sharding.shard_box(scale, shard)
    return [(b + e) / 2 * c for b, e, c in zip(begin, end, scale.chunk_size, strict=True)]
