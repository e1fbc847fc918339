"""Cells: the 2x2x2 chunks of a fine scale behind each chunk of the next, coarser one.

Cells come in batches of arrays: a Python object per chunk would take longer than the vote.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from braid.exceptions import InvalidCoordinateError, InvalidShardFormatError
from braid.precomputed import morton
from braid.precomputed.shard_reader import ShardFile
from braid.precomputed.sharding import factors
from braid.precomputed.volume_spec import ScaleSpec
from braid.typing import BytesLike, Int64Array, UInt64Array, Vec3

__all__ = [
    "WINDOW_BYTES",
    "CellLimits",
    "CellShape",
    "Cells",
    "Inputs",
    "cut_cells",
    "open_input",
    "read_whole",
]


WINDOW_BYTES = 8 << 20  # stored bytes read, and held, at a time


class Inputs(Protocol):
    """Fine shards, opened one after another (all at once where cells are looked up)."""

    def open(self, shard: int) -> ShardFile | None:
        """Open a shard of the fine scale; None if it is empty."""
        ...

    def finished(self, shard: int, file: ShardFile) -> None:
        """Called when the whole shard has been read and `file.crc32c` is known; may raise."""
        ...


class CellLimits(NamedTuple):
    """Most that a batch holds; a larger cell is a batch of its own."""

    decoded_bytes: int  # of fine chunks, data encoding undone
    cells: int


@dataclass(frozen=True)
class Cells:
    """A batch of cells and the stored chunks behind them; each cell has one at least.

    Attributes:
        ids: (k,) uint64, of the coarse chunks, ascending.
        chunk_ids: (n,) uint64, of the fine chunks.
        files: that hold the fine chunks.
        file: (n,) which of them.
        start: (n + 1,) int64; chunk i is data[start[i]:start[i + 1]].
        data: payloads, data encoding still applied.
        decoded: (n,) bytes of each once it is undone, as the payload claims.
        place: (m,) where a chunk is wanted: cell times slots plus slot; x fastest.
        chunk: (m,) which chunk is wanted there; the n chunks in order where cells share none.
    """

    ids: UInt64Array
    chunk_ids: UInt64Array
    files: Sequence[ShardFile]
    file: Int64Array
    start: Int64Array
    data: BytesLike
    decoded: Int64Array
    place: Int64Array
    chunk: Int64Array

    def __len__(self) -> int:
        return len(self.ids)

    def stored(self) -> list[tuple[ShardFile, int, BytesLike]]:
        """Fine chunks as `decode_all` takes them."""
        view = memoryview(self.data)
        bounds = self.start.tolist()
        return [
            (self.files[file], chunk_id, view[begin:end])
            for file, chunk_id, begin, end in zip(
                self.file.tolist(), self.chunk_ids.tolist(), bounds[:-1], bounds[1:], strict=True
            )
        ]

    def file_names(self, cell: int, slots: int) -> str:
        """Names of the files behind one cell."""
        mine = self.chunk[self.place // slots == cell]
        return ", ".join(sorted({self.files[i].name for i in self.file[mine].tolist()}))


@dataclass(frozen=True)
class CellShape:
    """Geometry of cells: how chunks of one scale are made from chunks of the scale before.

    Attributes:
        factor: voxels per voxel, 1 or 2 per axis.
        span: fine voxels behind a coarse chunk, unclipped.
        slots: fine chunks that a cell can meet, per axis.
    """

    fine: ScaleSpec
    coarse: ScaleSpec
    factor: Vec3
    span: Vec3
    slots: Vec3

    @classmethod
    def of(cls, fine: ScaleSpec, coarse: ScaleSpec) -> "CellShape":
        """Shape for two scales; SpecError if the one cannot be made from the other."""
        factor = factors(fine, coarse)
        x, y, z = (f * edge for f, edge in zip(factor, coarse.chunk_size, strict=True))
        ex, ey, ez = fine.chunk_size
        nx, ny, nz = fine.size
        slots = _slots(x, ex, nx), _slots(y, ey, ny), _slots(z, ez, nz)
        return cls(fine, coarse, factor, (x, y, z), slots)

    @property
    def slot_count(self) -> int:
        """Fine chunks that a cell can meet."""
        return math.prod(self.slots)

    def cell_bounds(self, ids: UInt64Array) -> list[int]:
        """Row of the first chunk of each cell, and the number of rows; of walked ids."""
        cells = ids >> np.uint64(self.walk_shift)
        return [0, *(np.flatnonzero(np.diff(cells)) + 1).tolist(), len(ids)]

    def is_one_cell(self, one: np.uint64, other: np.uint64) -> bool:
        """Whether two chunks belong to one cell, where cells are walked."""
        return int(one) >> self.walk_shift == int(other) >> self.walk_shift

    @property
    def walk_shift(self) -> int:
        """Bits by which a fine id is longer than its cell's, where cells are walked."""
        return sum(n > 1 for n in self.fine.grid)

    def offsets(self) -> Int64Array:
        """(slots, 3) chunk coordinates relative to the cell's first chunk, in slot order."""
        x, y, z = self.slots
        grid = np.mgrid[0:z, 0:y, 0:x].reshape(3, -1)
        return np.ascontiguousarray(grid[::-1].T, np.int64)


def cut_cells(
    decoded: Int64Array, bounds: Sequence[int], limits: CellLimits
) -> Iterator[tuple[int, int]]:
    """Cut cells into batches.

    Args:
        decoded: bytes of each chunk.
        bounds: the first chunk of each cell, and the chunk past the last cell.
        limits: of a batch.

    Yields:
        The first chunk of a batch and the chunk past its last.
    """
    ends = np.append(0, np.cumsum(decoded))[np.asarray(bounds)]
    at, last = 0, len(bounds) - 1
    while at < last:
        most = int(np.searchsorted(ends, ends[at] + limits.decoded_bytes, "right")) - 1
        stop = min(max(at + 1, most), at + limits.cells, last)
        yield bounds[at], bounds[stop]
        at = stop


def open_input(fine: ScaleSpec, shard: int, fine_shards: Inputs) -> ShardFile | None:
    """Open a fine shard; None if it is empty.

    Raises:
        InvalidShardFormatError: a chunk of it lies outside the volume.
    """
    file = fine_shards.open(shard)
    if file is None:
        return None
    try:
        coords = morton.decode(file.ids(), fine.grid)
    except InvalidCoordinateError as error:
        raise InvalidShardFormatError(f"{file.name}: {error}") from None
    outside = (coords >= np.asarray(fine.grid)).any(axis=1)
    if outside.any():
        raise InvalidShardFormatError(
            f"{file.name}: chunk {tuple(coords[int(outside.argmax())].tolist())} lies outside the "
            f"grid {fine.grid}"
        )
    return file


def read_whole(file: ShardFile, window_bytes: int) -> None:
    """Read a shard once, for its checksum."""
    for _ in file.iter_windows(window_bytes):
        pass


def _slots(span: int, edge: int, size: int) -> int:
    """Most chunks of `edge` voxels that `span` voxels can meet."""
    lead = edge - math.gcd(span, edge)  # the furthest that a span begins into a chunk
    return min(-(-(span + lead) // edge), -(-size // edge))
