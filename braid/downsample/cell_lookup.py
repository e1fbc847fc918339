"""Cells whose chunks are looked up, in all fine shards that a coarse one meets."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from braid.downsample.cells import (
    CellLimits,
    Cells,
    CellShape,
    Inputs,
    cut_cells,
    open_input,
    read_whole,
)
from braid.io.byte_source import read_exactly
from braid.io.ranges import merge_ranges
from braid.precomputed import morton
from braid.precomputed.shard_reader import ShardFile
from braid.precomputed.sharding import inputs, shard_id_range
from braid.typing import Int64Array, UInt64Array

__all__ = ["lookup_cells"]

_IDS_AT_ONCE = 4096  # coarse ids whose cells are looked up together


def lookup_cells(
    shape: CellShape, shard: int, fine_shards: Inputs, limits: CellLimits, window_bytes: int
) -> Iterator[Cells]:
    """See `braid.downsample.cell_stream.iter_cells`."""
    lookup = _ChunkLookup(shape, _open_all(shape, shard, fine_shards, window_bytes))
    low, high = shard_id_range(shard, shape.coarse.sharding)
    high = min(high, 1 << shape.coarse.id_bits)
    for start in range(low, high, _IDS_AT_ONCE):
        ids = np.arange(start, min(start + _IDS_AT_ONCE, high), dtype=np.uint64)
        coords = morton.decode(ids, shape.coarse.grid)
        inside = (coords < np.asarray(shape.coarse.grid)).all(axis=1)
        cell, slot, place = _find_members(shape, coords[inside], lookup.ids)
        yield from lookup.cells(ids[inside][cell], slot, place, limits, window_bytes)


def _open_all(
    shape: CellShape, shard: int, fine_shards: Inputs, window_bytes: int
) -> Iterator[ShardFile]:
    """Every input, read through once for its checksum before any chunk of it is used."""
    for fine_shard in inputs(shape.fine, shape.coarse, shard):
        file = open_input(shape.fine, fine_shard, fine_shards)
        if file is not None:
            read_whole(file, window_bytes)
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

    def __init__(self, shape: CellShape, files: Iterator[ShardFile]) -> None:
        self._shape = shape
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
        self,
        coarse: UInt64Array,
        slot: Int64Array,
        place: Int64Array,
        limits: CellLimits,
        window_bytes: int,
    ) -> Iterator[Cells]:
        """Cells from parallel arrays, sorted by coarse id; a window's chunks share reads."""
        bounds = np.append(np.flatnonzero(np.diff(coarse, prepend=coarse[:1] + np.uint64(1))), 0)
        bounds[-1] = len(coarse)
        windows = CellLimits(window_bytes, len(coarse))
        for first, end in cut_cells(self.size[place], bounds.tolist(), windows):
            payloads = self._read(np.unique(place[first:end]))
            decoded = np.array([payloads[p].decoded for p in place[first:end].tolist()], np.int64)
            mine = bounds[(bounds >= first) & (bounds <= end)] - first
            for low, high in cut_cells(decoded, mine.tolist(), limits):
                rows = slice(first + low, first + high)
                yield self._batch(coarse[rows], slot[rows], place[rows], payloads)

    def _batch(
        self,
        coarse: UInt64Array,
        slot: Int64Array,
        place: Int64Array,
        payloads: Mapping[int, "_Payload"],
    ) -> Cells:
        ids, cell = np.unique(coarse, return_inverse=True)
        chunks, chunk = np.unique(place, return_inverse=True)
        stored = [payloads[i] for i in chunks.tolist()]
        return Cells(
            ids=ids,
            chunk_ids=self.ids[chunks],
            files=self.files,
            file=self.file[chunks],
            start=np.append(0, np.cumsum(self.size[chunks])),
            data=b"".join(payload.data for payload in stored),
            decoded=np.array([payload.decoded for payload in stored], np.int64),
            place=cell * self._shape.slot_count + slot,
            chunk=chunk,
        )

    def _read(self, places: Int64Array) -> dict[int, "_Payload"]:
        payloads = {}
        for number in np.unique(self.file[places]):
            mine = places[self.file[places] == number]
            starts, ends = self.start[mine], self.start[mine] + self.size[mine]
            begins, stops, group = merge_ranges(starts, ends)
            file = self.files[number]
            pieces = [
                read_exactly(file.source, begin, stop - begin)
                for begin, stop in zip(begins.tolist(), stops.tolist(), strict=True)
            ]
            for place, start, end, g in zip(mine, starts, ends, group, strict=True):
                data = bytes(pieces[g][start - begins[g] : end - begins[g]])
                size = file.decoded_bytes(int(self.ids[place]), data)
                payloads[int(place)] = _Payload(data, size)
        return payloads


class _Payload(NamedTuple):
    data: bytes
    decoded: int  # bytes, as it claims
