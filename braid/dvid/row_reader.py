"""Row reader: many rows of an Arrow shard at once, each checked against the index."""

import numpy as np
import numpy.typing as npt

import _braid
from braid.dvid.csv_index import ShardIndex
from braid.dvid.rows import Rows
from braid.dvid.stream_scan import Preamble
from braid.exceptions import InvalidShardFormatError
from braid.io.byte_source import ByteSource, read_exactly, source_name
from braid.io.ranges import merge_ranges
from braid.typing import Int64Array

__all__ = ["RowReader", "in_order_of_use"]

BatchBuffers = tuple[list[memoryview], Int64Array, Int64Array, Int64Array]
"""Buffers, and for each IPC message its buffer, begin and end."""


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

    @property
    def name(self) -> str:
        """Name of the shard in errors."""
        return source_name(self._source)

    @property
    def requests(self) -> int:
        """Reads from the Arrow file so far."""
        return int(getattr(self._source, "requests", 0))

    def read_rows(self, rows: npt.ArrayLike) -> Rows:
        """Read rows in the given order, with as few requests as their places allow.

        Args:
            rows: (k,) positions in `index`.

        Raises:
            InvalidShardFormatError: a row is damaged, or is not the chunk that the index names.
        """
        wanted = np.atleast_1d(np.asarray(rows, np.int64))
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(self.index):
            raise IndexError(f"{self.name} has rows 0..{len(self.index) - 1}")
        batches, batch = in_order_of_use(self.index.batch[wanted])
        decoded = self._decode(self._read_batches(batches), batches, batch, wanted)
        self._check_coords(decoded, wanted)
        return decoded

    def describe_row(self, row: int) -> str:
        """Name of a row in errors."""
        return f"{self.name}: row {row}, chunk {tuple(self.index.coords[row].tolist())}"

    def _read_batches(self, batches: Int64Array) -> BatchBuffers:
        """Read whole IPC messages; neighbours in the file share a request."""
        firsts = self.index.first_rows[batches]
        starts = self.index.offset[firsts].astype(np.int64)
        ends = starts + self.index.size[firsts].astype(np.int64)
        begins, stops, group = merge_ranges(starts, ends)
        read = [
            read_exactly(self._source, begin, stop - begin)
            for begin, stop in zip(begins.tolist(), stops.tolist(), strict=True)
        ]
        return read, group, starts - begins[group], ends - begins[group]

    def _decode(
        self, buffers: BatchBuffers, batches: Int64Array, batch: Int64Array, wanted: Int64Array
    ) -> Rows:
        lengths = self.index.batch_lengths[batches]
        within = self.index.batch_row[wanted].astype(np.int64)
        try:
            return Rows(*_braid.arrow_rows(*buffers, lengths, batch, within))
        except _braid.KernelError as error:
            row = self.describe_row(int(self.index.first_rows[batches[error.item]]))
            raise InvalidShardFormatError(f"{row}: {error}. Export this shard again") from None

    def _check_coords(self, decoded: Rows, wanted: Int64Array) -> None:
        differ = (decoded.coords != self.index.coords[wanted]).any(axis=1)
        if differ.any():
            at = int(differ.argmax())
            raise InvalidShardFormatError(
                f"{self.describe_row(int(wanted[at]))}: the stream holds chunk "
                f"{tuple(decoded.coords[at].tolist())} there, so index and stream disagree. "
                "Re-export into an empty folder"
            )


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
