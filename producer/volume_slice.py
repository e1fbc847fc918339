"""Middle slices of a volume's scales, as labels; bounded in size, however large the volume is.

A slice goes through the chunk with a label nearest to the middle of what exists, across z. Of a
scale that is wider than the bound only the part around that chunk is read.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from braid.exceptions import BraidError
from braid.precomputed import morton, sharding
from braid.precomputed.chunk_codec import Voxels, decode_chunk, voxel_dtype
from braid.precomputed.shard_reader import ShardFile
from braid.precomputed.volume_spec import ScaleSpec, VolumeSpec
from braid.typing import Vec3
from producer import defaults
from producer.viewer_position import find_labels, made_scales
from runtime.storage import Storage

_READS_AT_ONCE = 8  # each decoded chunk is held until its plane is taken


@dataclass(frozen=True)
class VolumeSlice:
    """Labels of a slice.

    Attributes:
        scale: its index.
        begin: its first voxel (x, y, z).
        labels: (height, width); 0 where nothing is stored.
        damaged: what could not be read, a line per shard.
    """

    scale: int
    begin: Vec3
    labels: Voxels
    damaged: Sequence[str] = ()


@dataclass(frozen=True)
class _Window:
    """Rectangle of a scale's voxels at one z; ends are exclusive."""

    begin: tuple[int, int]
    end: tuple[int, int]
    z: int


class _Canvas:
    """Labels of a window, filled chunk by chunk."""

    def __init__(self, scale: ScaleSpec, window: _Window) -> None:
        self.scale = scale
        self.window = window
        shape = window.end[1] - window.begin[1], window.end[0] - window.begin[0]
        self.labels: Voxels = np.zeros(shape, voxel_dtype(scale))

    def plane(self, chunk: Vec3, data: bytes) -> Voxels:
        """Labels (y, x) of a chunk at the window's z."""
        begin, end = self.scale.chunk_box(chunk)
        z, y, x = (e - b for b, e in zip(reversed(begin), reversed(end), strict=True))
        voxels = decode_chunk(self.scale, data, (z, y, x))
        found: Voxels = voxels[self.window.z - begin[2]].copy()  # the other planes are let go
        return found

    def copy(self, chunk: Vec3, plane: Voxels) -> None:
        """Copy the part of a chunk's plane that lies in the window."""
        x, y, _ = self.scale.chunk_box(chunk)[0]
        height, width = plane.shape
        left, top = self.window.begin
        x0, y0 = max(x, left), max(y, top)
        x1, y1 = min(x + width, self.window.end[0]), min(y + height, self.window.end[1])
        part = plane[y0 - y : y1 - y, x0 - x : x1 - x]
        self.labels[y0 - top : y1 - top, x0 - left : x1 - left] = part


def read_slices(
    dest: Storage, volume: VolumeSpec, most_pixels: int = defaults.PICTURE_PIXELS
) -> Iterator[VolumeSlice]:
    """A slice of each scale that holds a label, the coarsest first.

    Raises:
        BraidError: the shard in the middle of a scale is damaged.
    """
    for scale, shards in made_scales(dest, volume):
        window, _ = _middle_window(dest, scale, shards, most_pixels)
        if window is not None:
            yield _read(dest, scale, shards, window)


def read_overview(
    dest: Storage, volume: VolumeSpec, most_pixels: int = defaults.PICTURE_PIXELS
) -> VolumeSlice | None:
    """The slice of the finest scale that fits the bound as a whole, else of the coarsest.

    A scale that is damaged is passed over.
    """
    best: tuple[ScaleSpec, Sequence[int], _Window] | None = None
    for scale, shards in made_scales(dest, volume):
        try:
            window, whole = _middle_window(dest, scale, shards, most_pixels)
        except BraidError:
            continue
        if window is not None and (whole or best is None):
            best = (scale, shards, window)
        if not whole and best is not None:
            break
    return None if best is None else _read(dest, *best)


def _middle_window(
    dest: Storage, scale: ScaleSpec, shards: Sequence[int], most: int
) -> tuple[_Window | None, bool]:
    """The part of the middle slice within the bound, if there is a label; whether it is all."""
    shown, (low, high) = find_labels(dest, scale, shards)
    whole = all(e - b <= most for b, e in zip(low[:2], high[:2], strict=True))
    if shown is None:
        return None, whole
    begin, end = [], []
    for b, e, at in zip(low[:2], high[:2], shown.voxel[:2], strict=True):
        first = max(b, min(int(at) - most // 2, e - most))
        begin.append(first)
        end.append(min(e, first + most))
    return _Window((begin[0], begin[1]), (end[0], end[1]), int(shown.voxel[2])), whole


def _read(dest: Storage, scale: ScaleSpec, shards: Sequence[int], window: _Window) -> VolumeSlice:
    canvas = _Canvas(scale, window)
    damaged = []
    for shard, chunks in _chunks_by_shard(scale, set(shards), window).items():
        try:
            _paint(dest, shard, chunks, canvas)
        except BraidError as error:
            damaged.append(str(error))
    labels, (left, top) = canvas.labels, window.begin
    rows, columns = (np.flatnonzero(labels.any(axis=axis)) for axis in (1, 0))
    if len(rows):  # without its margin of zeros
        labels = labels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        left, top = left + int(columns[0]), top + int(rows[0])
    return VolumeSlice(scale.index, (left, top, window.z), labels, damaged)


def _chunks_by_shard(
    scale: ScaleSpec, shards: set[int], window: _Window
) -> Mapping[int, Sequence[tuple[int, Vec3]]]:
    """Chunks that the window meets, as (id, coordinates), by their existing shards."""
    x_edge, y_edge, z_edge = scale.chunk_size
    coords = [
        (x, y, window.z // z_edge)
        for y in range(window.begin[1] // y_edge, -(-window.end[1] // y_edge))
        for x in range(window.begin[0] // x_edge, -(-window.end[0] // x_edge))
    ]
    ids = morton.encode(coords, scale.grid)
    found: dict[int, list[tuple[int, Vec3]]] = {}
    numbers = sharding.shard_numbers(ids, scale.sharding).tolist()
    for number, chunk_id, chunk in zip(numbers, ids.tolist(), coords, strict=True):
        if number in shards:
            found.setdefault(number, []).append((chunk_id, chunk))
    return found


def _paint(dest: Storage, shard: int, chunks: Iterable[tuple[int, Vec3]], canvas: _Canvas) -> None:
    """Copy the planes of a shard's chunks into the picture; several are read at a time."""
    with ExitStack() as stack:
        source = dest.source(sharding.shard_path(canvas.scale, shard))
        stack.callback(source.close)
        file = ShardFile.open(source, canvas.scale, shard)
        stored = set(file.ids().tolist())
        held = [(number, chunk) for number, chunk in chunks if number in stored]
        pool = stack.enter_context(ThreadPoolExecutor(_READS_AT_ONCE))

        def read(one: tuple[int, Vec3]) -> tuple[Vec3, Voxels]:
            number, chunk = one
            return chunk, canvas.plane(chunk, file.chunk(number))

        for first in range(0, len(held), _READS_AT_ONCE):
            for chunk, plane in pool.map(read, held[first : first + _READS_AT_ONCE]):
                canvas.copy(chunk, plane)
