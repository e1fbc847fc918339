"""Cells: the 2x2x2 chunks of a fine scale behind each chunk of the next, coarser one.

Where `cells_are_consecutive` holds (nearly always), walking the fine shards in id order yields one
complete cell after another, in the coarse scale's id order, and every file is read once from its
first chunk to its last. Elsewhere the chunks of each cell are looked up.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, Protocol

import numpy as np

from braid.exceptions import InvalidCoordinateError, InvalidShardFormatError
from braid.io.byte_source import read_exactly
from braid.io.ranges import merge_ranges
from braid.precomputed import morton
from braid.precomputed.shard_reader import ShardFile
from braid.precomputed.sharding import cells_are_consecutive, factors, inputs, shard_id_range
from braid.precomputed.volume_spec import ScaleSpec
from braid.typing import Int64Array, UInt64Array, Vec3

__all__ = ["Cell", "CellShape", "Inputs", "Member", "iter_cells"]


WINDOW_BYTES = 8 << 20  # stored bytes read, and held, at a time
_IDS_AT_ONCE = 4096  # coarse ids whose cells are looked up together
_ID_BITS = 64


class Inputs(Protocol):
    """Fine shards, opened one after another (all at once where cells are looked up)."""

    def open(self, shard: int) -> ShardFile | None:
        """Open a shard of the fine scale; None if it is empty."""
        ...

    def finished(self, shard: int, file: ShardFile) -> None:
        """Called when the whole shard has been read and `file.crc32c` is known; may raise."""
        ...


class Member(NamedTuple):
    """A stored chunk of a cell."""

    slot: int  # place in the cell, x fastest
    chunk_id: int
    file: ShardFile
    payload: bytes  # data encoding still applied


@dataclass(frozen=True)
class Cell:
    """The stored chunks behind one coarse chunk; at least one."""

    coarse_id: int
    members: tuple[Member, ...]


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

    def offsets(self) -> Int64Array:
        """(slots, 3) chunk coordinates relative to the cell's first chunk, in slot order."""
        x, y, z = self.slots
        grid = np.mgrid[0:z, 0:y, 0:x].reshape(3, -1)
        return np.ascontiguousarray(grid[::-1].T, np.int64)


def iter_cells(
    shape: CellShape, shard: int, fine_shards: Inputs, window_bytes: int = WINDOW_BYTES
) -> Iterator[Cell]:
    """Cells of a coarse shard that hold a chunk, by ascending coarse id.

    Args:
        shape: the two scales.
        shard: of the coarse scale.
        fine_shards: opens them.
        window_bytes: most stored bytes read at a time.

    Raises:
        InvalidShardFormatError: an input breaks its format.
    """
    if cells_are_consecutive(shape.fine, shape.coarse):
        return _walk_cells(shape, shard, fine_shards, window_bytes)
    return _lookup_cells(shape, shard, fine_shards, window_bytes)


def _walk_cells(
    shape: CellShape, shard: int, fine_shards: Inputs, window_bytes: int
) -> Iterator[Cell]:
    shift = sum(n > 1 for n in shape.fine.grid)
    first, end = shard_id_range(shard, shape.coarse.sharding)
    members = _walk_members(shape, shard, fine_shards, (first << shift, end << shift), window_bytes)
    for coarse_id, found in groupby(members, key=lambda member: member.chunk_id >> shift):
        yield Cell(coarse_id, tuple(found))


def _walk_members(
    shape: CellShape, shard: int, fine_shards: Inputs, ids: tuple[int, int], window_bytes: int
) -> Iterator[Member]:
    first, end = ids[0], min(ids[1], 1 << _ID_BITS)
    mask = math.prod(shape.slots) - 1  # an id's low bits, one per axis with chunks, are the slot
    for fine_shard in inputs(shape.fine, shape.coarse, shard):
        file = _open(shape.fine, fine_shard, fine_shards)
        if file is None:
            continue
        whole = not len(file) or (first <= int(file.ids()[0]) and int(file.ids()[-1]) < end)
        if not whole:  # other coarse shards share the file: its checksum needs a pass of its own
            _read_whole(file, window_bytes)
        for chunk_id, payload in file.iter_chunks(window_bytes, first, end):
            yield Member(chunk_id & mask, chunk_id, file, payload)
        fine_shards.finished(fine_shard, file)


def _lookup_cells(
    shape: CellShape, shard: int, fine_shards: Inputs, window_bytes: int
) -> Iterator[Cell]:
    lookup = _ChunkLookup(_open_all(shape, shard, fine_shards, window_bytes))
    low, high = shard_id_range(shard, shape.coarse.sharding)
    high = min(high, 1 << shape.coarse.id_bits)
    for start in range(low, high, _IDS_AT_ONCE):
        ids = np.arange(start, min(start + _IDS_AT_ONCE, high), dtype=np.uint64)
        coords = morton.decode(ids, shape.coarse.grid)
        inside = (coords < np.asarray(shape.coarse.grid)).all(axis=1)
        cell, slot, place = _find_members(shape, coords[inside], lookup.ids)
        yield from lookup.cells(ids[inside][cell], slot, place, window_bytes)


def _open_all(
    shape: CellShape, shard: int, fine_shards: Inputs, window_bytes: int
) -> Iterator[ShardFile]:
    """Every input, read through once for its checksum before any chunk of it is used."""
    for fine_shard in inputs(shape.fine, shape.coarse, shard):
        file = _open(shape.fine, fine_shard, fine_shards)
        if file is not None:
            _read_whole(file, window_bytes)
            fine_shards.finished(fine_shard, file)
            yield file


def _find_members(
    shape: CellShape, coords: Int64Array, known: UInt64Array
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Find the known fine chunks behind coarse chunks.

    Returns:
        (n,) each: row of `coords`, slot, row of `known`; by row, then slot.
    """
    begin = coords * np.asarray(shape.span)
    end = np.minimum(begin + shape.span, shape.fine.size)
    fine = (begin // shape.fine.chunk_size)[:, None, :] + shape.offsets()[None, :, :]
    meets = (fine * shape.fine.chunk_size < end[:, None, :]).all(axis=2)
    cell, slot = np.nonzero(meets)
    ids = morton.encode(fine[cell, slot], shape.fine.grid)
    place = np.minimum(np.searchsorted(known, ids), max(0, len(known) - 1))
    found = known[place] == ids if len(known) else np.zeros(len(ids), bool)
    return cell[found], slot[found], place[found]


class _ChunkLookup:
    """Index of all chunks of several open shard files, by id."""

    def __init__(self, files: Iterator[ShardFile]) -> None:
        self.files = list(files)
        none = np.zeros(0, np.int64)
        counts = [len(file) for file in self.files]
        self.ids: UInt64Array = np.concatenate(
            [none.astype(np.uint64), *(f.ids() for f in self.files)]
        )
        self.file = np.repeat(np.arange(len(self.files)), counts)
        self.start = np.concatenate([none, *(f.entries.start for f in self.files)])
        self.size = np.concatenate([none, *(f.entries.size for f in self.files)])
        order = np.argsort(self.ids, kind="stable")
        self.ids, self.file = self.ids[order], self.file[order]
        self.start, self.size = self.start[order], self.size[order]

    def cells(
        self, coarse: UInt64Array, slot: Int64Array, place: Int64Array, window_bytes: int
    ) -> Iterator[Cell]:
        """Cells from parallel arrays, sorted by coarse id; a window's chunks share reads."""
        cells = np.flatnonzero(np.diff(coarse, prepend=coarse[:1] + np.uint64(1)))
        ends = np.append(cells[1:], len(coarse))
        stored = np.append(0, np.cumsum(self.size[place]))
        at = 0
        while at < len(cells):
            limit = stored[cells[at]] + window_bytes
            stop = max(at + 1, int(np.searchsorted(stored[ends], limit, "right")))
            rows = slice(int(cells[at]), int(ends[stop - 1]))
            yield from self._read_cells(coarse[rows], slot[rows], place[rows])
            at = stop

    def _read_cells(
        self, coarse: UInt64Array, slot: Int64Array, place: Int64Array
    ) -> Iterator[Cell]:
        payloads = self._read(np.unique(place))
        members = (
            (int(c), Member(int(s), int(self.ids[p]), self.files[self.file[p]], payloads[int(p)]))
            for c, s, p in zip(coarse, slot, place, strict=True)
        )
        for coarse_id, found in groupby(members, key=lambda pair: pair[0]):
            yield Cell(coarse_id, tuple(member for _, member in found))

    def _read(self, places: Int64Array) -> dict[int, bytes]:
        payloads = {}
        for number in np.unique(self.file[places]):
            mine = places[self.file[places] == number]
            starts, ends = self.start[mine], self.start[mine] + self.size[mine]
            begins, stops, group = merge_ranges(starts, ends)
            source = self.files[number].source
            pieces = [
                read_exactly(source, begin, stop - begin)
                for begin, stop in zip(begins.tolist(), stops.tolist(), strict=True)
            ]
            for place, start, end, g in zip(mine, starts, ends, group, strict=True):
                payloads[int(place)] = bytes(pieces[g][start - begins[g] : end - begins[g]])
        return payloads


def _open(fine: ScaleSpec, shard: int, fine_shards: Inputs) -> ShardFile | None:
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


def _read_whole(file: ShardFile, window_bytes: int) -> None:
    for _ in file.iter_chunks(window_bytes):
        pass


def _slots(span: int, edge: int, size: int) -> int:
    """Most chunks of `edge` voxels that `span` voxels can meet."""
    lead = edge - math.gcd(span, edge)  # the furthest that a span begins into a chunk
    return min(-(-(span + lead) // edge), -(-size // edge))
