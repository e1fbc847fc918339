"""Cells of consecutive chunks: fine shards are walked in id order, each read once."""

from collections.abc import Iterator, Sequence
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
from braid.precomputed.shard_reader import ShardFile
from braid.precomputed.sharding import inputs, shard_id_range
from braid.typing import BytesLike, Int64Array, UInt64Array

__all__ = ["walk_cells"]

_ID_BITS = 64
_FIRST_WINDOW_BYTES = 512 << 10  # some batches: threads wait until the first window is read


class _Part(NamedTuple):
    """Chunks of a window, or what is left of the one before."""

    file: ShardFile
    ids: UInt64Array
    start: Int64Array
    data: BytesLike
    decoded: Int64Array

    def cut(self, first: int, end: int) -> "_Part":
        """Some of the chunks, their payloads copied."""
        start = self.start[first : end + 1]
        data = bytes(self.data[start[0] : start[-1]])
        return _Part(
            self.file, self.ids[first:end], start - start[0], data, self.decoded[first:end]
        )


def walk_cells(
    shape: CellShape, shard: int, fine_shards: Inputs, limits: CellLimits, window_bytes: int
) -> Iterator[Cells]:
    """See `braid.downsample.cell_stream.iter_cells`."""
    # Chunks of the windows before: a batch whose last cell may go on, or the parts of one cell.
    left: list[_Part] = []
    for part in _walk_parts(shape, shard, fine_shards, window_bytes):
        bounds = shape.cell_bounds(part.ids)
        if left and shape.is_one_cell(left[-1].ids[-1], part.ids[0]):
            at = shape.cell_bounds(left[0].ids)[-2]
            if at:
                yield _walked(shape, [left[0].cut(0, at)])
                left[0] = left[0].cut(at, len(left[0].ids))
            left.append(part.cut(0, bounds[1]))
            bounds = bounds[1:]
            if len(bounds) == 1:
                continue
        if left:
            yield _walked(shape, left)
        *batches, last = cut_cells(part.decoded, bounds, limits)
        for first, end in batches:
            yield _walked(shape, [part.cut(first, end)])
        left = [part.cut(*last)]
    if left:
        yield _walked(shape, left)


def _walked(shape: CellShape, parts: Sequence[_Part]) -> Cells:
    """Cells whose chunks come one after another."""
    chunk_ids = np.concatenate([part.ids for part in parts])
    sizes = np.concatenate([np.diff(part.start) for part in parts])
    cells = chunk_ids >> np.uint64(shape.walk_shift)
    is_first = np.append(True, cells[1:] != cells[:-1])  # ids ascend, so there is nothing to sort
    # An id's low bits, one per axis with chunks, are the slot.
    slot = (chunk_ids & np.uint64(shape.slot_count - 1)).astype(np.int64)
    return Cells(
        ids=cells[is_first],
        chunk_ids=chunk_ids,
        files=[part.file for part in parts],
        file=np.repeat(np.arange(len(parts)), [len(part.ids) for part in parts]),
        start=np.append(0, np.cumsum(sizes)),
        data=parts[0].data if len(parts) == 1 else b"".join(part.data for part in parts),
        decoded=np.concatenate([part.decoded for part in parts]),
        place=(np.cumsum(is_first) - 1) * shape.slot_count + slot,
        chunk=np.arange(len(chunk_ids)),
    )


def _walk_parts(
    shape: CellShape, shard: int, fine_shards: Inputs, window_bytes: int
) -> Iterator[_Part]:
    low, high = (
        bound << shape.walk_shift for bound in shard_id_range(shard, shape.coarse.sharding)
    )
    first, end = low, min(high, 1 << _ID_BITS)
    first_bytes = min(_FIRST_WINDOW_BYTES, window_bytes)
    for fine_shard in inputs(shape.fine, shape.coarse, shard):
        file = open_input(shape.fine, fine_shard, fine_shards)
        if file is None:
            continue
        whole = not len(file) or (first <= int(file.ids()[0]) and int(file.ids()[-1]) < end)
        if not whole:  # other coarse shards share the file: its checksum needs a pass of its own
            read_whole(file, window_bytes)
        for window in file.iter_windows(window_bytes, first, end, first_bytes):
            first_bytes = window_bytes
            data, start = window.packed()
            yield _Part(file, window.ids, start, data, file.decoded_sizes(window.ids, data, start))
        fine_shards.finished(fine_shard, file)
