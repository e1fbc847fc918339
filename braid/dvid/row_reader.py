"""Row reader: many rows of an Arrow shard at once, each checked against the index."""

from collections.abc import Callable, Collection
from typing import Final

import numpy as np
import numpy.typing as npt

import _braid
from braid.dvid.batch_outline import BatchOutline, read_outlines, sparse_image
from braid.dvid.csv_index import ShardIndex
from braid.dvid.rows import Rows
from braid.dvid.stream_scan import Preamble
from braid.exceptions import InvalidShardFormatError
from braid.io.byte_source import ByteSource, page_bytes, read_each, source_name
from braid.io.ranges import merge_pages
from braid.typing import Int64Array

__all__ = ["RowReader", "decoded_rows", "in_order_of_use"]

BatchBuffers = tuple[list[memoryview], Int64Array, Int64Array, Int64Array]
"""Buffers, and for each IPC message its buffer, begin and end."""

_VAIN_SHARE: Final = 0.25  # of batches: rows read in vain, for fewer requests
GAP_SHARE: Final = 0.05  # of the bytes wanted: read in vain, for fewer requests


class RowReader:
    """Reads rows by byte range.

    Args:
        source: the Arrow file.
        preamble: its schema.
        index: where its rows lie; row numbers are positions in here.
    """

    def __init__(self, source: ByteSource, preamble: Preamble, index: ShardIndex) -> None:
        self._source = source
        self._preamble = preamble
        self.index = index
        self._kept: dict[int, memoryview] = {}  # whole messages
        self._outlines: dict[int, BatchOutline | None] = {}

    @property
    def name(self) -> str:
        """Name of the shard in errors."""
        return source_name(self._source)

    @property
    def requests(self) -> int:
        """Reads from the Arrow file so far."""
        return int(getattr(self._source, "requests", 0))

    @property
    def page_bytes(self) -> int:
        """Bytes of the pages that the Arrow file is read by; see `byte_source.page_bytes`."""
        return page_bytes(self._source)

    def ranges_of(self, batches: Int64Array) -> tuple[Int64Array, Int64Array]:
        """First bytes of the reads that whole record batches take, and bytes past their last."""
        begins, stops, _ = merge_pages(
            *self._places(batches), self._source.size, GAP_SHARE, self.page_bytes
        )
        return begins, stops

    def reads_whole(self, rows: Int64Array) -> bool:
        """Whether the record batches that hold rows cost little more than the rows alone."""
        batches = np.unique(self.index.batch[rows])
        share = len(rows) / max(1, int(self.index.batch_lengths[batches].sum()))
        return share >= 1 - _VAIN_SHARE

    def read_rows(
        self, rows: npt.ArrayLike, *, whole_batches: bool = True, keep: Collection[int] = ()
    ) -> Rows:
        """Read rows in the given order, with as few requests as their places allow.

        Args:
            rows: (k,) positions in `index`.
            whole_batches: read the record batches that hold them; else of each batch of several
                rows no more than its outline, once, and the rows.
            keep: numbers of record batches to hold for calls to come, if they are read whole; all
                others are dropped.

        Raises:
            InvalidShardFormatError: a row is damaged, or is not the chunk that the index names.
        """
        wanted = np.atleast_1d(np.asarray(rows, np.int64))
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(self.index):
            raise IndexError(f"{self.name} has rows 0..{len(self.index) - 1}")
        batches, batch = in_order_of_use(self.index.batch[wanted])
        buffers = (
            self._read_batches(batches) if whole_batches else self._read_parts(batches, wanted)
        )
        if keep or self._kept:
            self._keep(keep, batches, buffers)
        decoded = self._decode(buffers, batches, batch, wanted)
        self._check_coords(decoded, wanted)
        return decoded

    def bytes_of_rows(self, rows: Int64Array) -> Int64Array:
        """Bytes that each of these rows takes without the rest of its batch; reads outlines."""
        batches, batch = in_order_of_use(self.index.batch[rows])
        lengths = self.index.batch_lengths[batches]
        firsts = self.index.first_rows[batches]
        mean = -(-self.index.size[firsts].astype(np.int64) // lengths)
        within = self.index.batch_row[rows].astype(np.int64)
        found = mean[batch]
        for number, outline in enumerate(self._outlines_of(batches)):
            if outline is not None:
                here = batch == number
                found[here] = outline.row_bytes[within[here]]
        return found

    def describe_row(self, row: int) -> str:
        """Name of a row in errors."""
        return f"{self.name}: row {row}, chunk {tuple(self.index.coords[row].tolist())}"

    def _read_batches(self, batches: Int64Array) -> BatchBuffers:
        """Read whole IPC messages; neighbours in the file share a request."""
        starts, ends = self._places(batches)
        new = np.array([number not in self._kept for number in batches.tolist()], bool)
        read, group, begins = self._read_messages(batches[new], starts[new], ends[new])
        buffer, shift = np.empty_like(starts), starts.copy()
        buffer[new], shift[new] = group, begins
        buffer[~new] = len(read) + np.arange(len(new) - new.sum())
        held = [self._kept[number] for number in batches[~new].tolist()]
        return [*read, *held], buffer, starts - shift, ends - shift

    def _read_messages(
        self, batches: Int64Array, starts: Int64Array, ends: Int64Array
    ) -> tuple[list[memoryview], Int64Array, Int64Array]:
        """Whole messages: buffers, the buffer of each, and where in the file that begins."""
        heads = self.index.heads
        lengths = np.zeros(0, np.int64) if heads is None else heads.lengths[batches]
        if heads is None or not lengths.any():
            read, group, begins = self._read_ranges(starts, ends)
            return read, group, begins[group]
        read, group, begins = self._read_ranges(starts + lengths, ends)
        places = (batches.tolist(), lengths.tolist(), starts.tolist(), ends.tolist())
        joined = [
            heads.head(number) + read[at][start + length - begin : end - begin]
            for number, length, start, end, at, begin in zip(
                *places, group.tolist(), begins[group].tolist(), strict=True
            )
        ]
        return [memoryview(message) for message in joined], np.arange(len(joined)), starts

    def _keep(self, keep: Collection[int], batches: Int64Array, buffers: BatchBuffers) -> None:
        """Hold some messages, copied, so that the buffers around them can go."""
        data, *places = buffers
        kept = {number: self._kept[number] for number in keep if number in self._kept}
        for number, *place in zip(batches.tolist(), *(p.tolist() for p in places), strict=True):
            if number in keep and number not in kept:
                buffer, begin, end = place
                kept[number] = memoryview(bytes(data[buffer][begin:end]))
        self._kept = kept

    def _read_parts(self, batches: Int64Array, wanted: Int64Array) -> BatchBuffers:
        """Read rows of IPC messages into images of them; whole where all rows are wanted."""
        starts, ends = self._places(batches)
        parts = self._parts(batches, wanted)
        is_part = np.array([part is not None for part in parts], bool)
        ranges = [(starts[~is_part], ends[~is_part])]
        for start, part in zip(starts, parts, strict=True):
            if part is not None:
                outline, rows = part
                ranges.append(tuple(start + ends for ends in outline.ranges(rows)))
        firsts, lasts = (np.concatenate(bounds) for bounds in zip(*ranges, strict=True))
        read, group, begins = self._read_ranges(firsts, lasts)
        place = np.empty((3, len(batches)), np.int64)  # buffer, begin and end of each message
        whole = group[: int((~is_part).sum())]
        place[:, ~is_part] = whole, starts[~is_part] - begins[whole], ends[~is_part] - begins[whole]
        buffers = [*read]
        for number, part in enumerate(parts):
            if part is None:
                continue
            start, end = int(starts[number]), int(ends[number])
            place[:, number] = len(buffers), 0, end - start
            pieces = [*part[0].pieces, *_pieces_within(read, begins, start, end)]
            buffers.append(sparse_image(end - start, pieces))
        return buffers, *place

    def _parts(
        self, batches: Int64Array, wanted: Int64Array
    ) -> list[tuple[BatchOutline, Int64Array] | None]:
        """Outline and wanted rows of each batch; None for one to be read whole."""
        rows = np.unique(wanted)
        found = []
        for number, outline in zip(batches.tolist(), self._outlines_of(batches), strict=True):
            first, length = self.index.first_rows[number], self.index.batch_lengths[number]
            here = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + length)]
            part = outline is not None and len(here) < length
            found.append((outline, here - first) if outline is not None and part else None)
        return found

    def _outlines_of(self, batches: Int64Array) -> list[BatchOutline | None]:
        """Outlines of record batches, each read once; of a single row there is none."""
        lengths = self.index.batch_lengths[batches]
        several = batches[lengths > 1]
        new = np.array([n for n in several.tolist() if n not in self._outlines], np.int64)
        if len(new):
            starts, ends = self._places(new)
            rows = self.index.batch_lengths[new]
            kept = self.index.heads
            heads = [kept.head(number) if kept else b"" for number in new.tolist()]
            read = read_outlines(self._source, starts, ends - starts, rows, heads)
            self._outlines.update(zip(new.tolist(), read, strict=True))
        return [self._outlines.get(number) for number in batches.tolist()]

    def _places(self, batches: Int64Array) -> tuple[Int64Array, Int64Array]:
        """First byte of each batch's message, and the byte past its last."""
        firsts = self.index.first_rows[batches]
        starts = self.index.offset[firsts].astype(np.int64)
        return starts, starts + self.index.size[firsts].astype(np.int64)

    def _read_ranges(
        self, starts: Int64Array, ends: Int64Array
    ) -> tuple[list[memoryview], Int64Array, Int64Array]:
        """Read ranges: buffers, the buffer of each range, and the first byte of each buffer."""
        begins, stops, group = merge_pages(
            starts, ends, self._source.size, GAP_SHARE, self.page_bytes
        )
        return read_each(self._source, begins.tolist(), stops.tolist()), group, begins

    def _decode(
        self, buffers: BatchBuffers, batches: Int64Array, batch: Int64Array, wanted: Int64Array
    ) -> Rows:
        lengths = self.index.batch_lengths[batches]
        within = self.index.batch_row[wanted].astype(np.int64)
        firsts = self.index.first_rows[batches]
        return decoded_rows(
            buffers, lengths, batch, within, lambda item: self.describe_row(int(firsts[item]))
        )

    def _check_coords(self, decoded: Rows, wanted: Int64Array) -> None:
        differ = (decoded.coords != self.index.coords[wanted]).any(axis=1)
        if differ.any():
            at = int(differ.argmax())
            raise InvalidShardFormatError(
                f"{self.describe_row(int(wanted[at]))}: the stream holds chunk "
                f"{tuple(decoded.coords[at].tolist())} there, so index and stream disagree. "
                "Re-export into an empty folder"
            )


def _pieces_within(
    read: list[memoryview], begins: Int64Array, start: int, end: int
) -> list[tuple[int, memoryview]]:
    """What was read of the bytes from `start` to `end`, by first byte from `start`."""
    pieces = []
    first = max(0, int(np.searchsorted(begins, start, side="right")) - 1)
    for number in range(first, int(np.searchsorted(begins, end))):
        begin = int(begins[number])
        data = read[number][max(0, start - begin) : max(0, end - begin)]
        pieces.append((max(begin, start) - start, data))
    return pieces


def decoded_rows(
    buffers: BatchBuffers,
    lengths: Int64Array,
    batch: Int64Array,
    within: Int64Array,
    describe: Callable[[int], str],
) -> Rows:
    """Rows of IPC messages, in the order given.

    Args:
        buffers: that hold the messages.
        lengths: rows of each message.
        batch: (k,) message of each row.
        within: (k,) position of each row in its message.
        describe: first row of a message, for errors.

    Raises:
        InvalidShardFormatError: a message is damaged.
    """
    try:
        return Rows(*_braid.arrow_rows(*buffers, lengths, batch, within))
    except _braid.KernelError as error:
        where = describe(error.item)
        raise InvalidShardFormatError(f"{where}: {error}. Export this shard again") from None


def in_order_of_use(values: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Distinct values in order of first appearance, and each value's position in them.

    Args:
        values: none negative, and none much larger than their count.
    """
    if not len(values) or np.bincount(values).max() == 1:
        return values, np.arange(len(values))
    distinct, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return distinct[order], rank[inverse]
