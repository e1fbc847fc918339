"""Outline of a record batch: all of it but the items of its lists, which are nearly all its bytes.

It says where each row's items lie. So a row of a large batch is read without the rows beside it,
which chunks far away in the order of ids need, and which would be read again with each of them.
"""

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from struct import error as StructError  # noqa: N812 - a class
from typing import Final, Self

import numpy as np

from braid.dvid.ipc import PREFIX_BYTES, RECORD_BATCH, Message, metadata_length, parse_metadata
from braid.exceptions import InvalidShardFormatError
from braid.io.byte_source import ByteSource, page_bytes, read_each
from braid.io.ranges import merge_pages
from braid.typing import BytesLike, Int64Array

__all__ = ["BatchOutline", "Piece", "read_outlines", "sparse_image"]

Piece = tuple[int, BytesLike]
"""First byte within the message, and bytes."""

_HEAD_BYTES: Final = 1 << 10  # a batch's metadata
_HEAD_ROW_BYTES: Final = 4 * 4  # coordinates, and starts of labels: they follow the metadata
_TAIL_ROW_BYTES: Final = 4  # uncompressed sizes come last
_PADDING_BYTES: Final = 64
_NODES: Final = 10  # whose buffers are all of a batch's: two each
_VALUES: Final = (1, 3, 5, 18)  # buffers: coordinates x, y, z; uncompressed size
_STARTS: Final = (7, 11, 15)  # buffers: where each row's labels, supervoxels, block begin
_ITEMS: Final = ((9, 8), (13, 8), (16, 1))  # buffers of these, and bytes of an item


@dataclass(frozen=True, slots=True)
class BatchOutline:
    """Outline of one record batch.

    Attributes:
        size: bytes of the whole message.
        pieces: of the message, without the items.
        starts: (3, rows + 1), first byte within the message of each row's labels, supervoxels and
            block, and the byte past the last.
    """

    size: int
    pieces: tuple[Piece, ...]
    starts: Int64Array

    @property
    def row_bytes(self) -> Int64Array:
        """(rows,) bytes of each row's items."""
        found: Int64Array = np.diff(self.starts, axis=1).sum(axis=0)
        return found

    def ranges(self, rows: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Begins and ends within the message of the items of some rows."""
        return self.starts[:, rows].ravel(), self.starts[:, rows + 1].ravel()


@dataclass(frozen=True, slots=True)
class _Ends:
    """Beginning and end of a message, and what its metadata says."""

    begin: int  # in the file
    size: int
    rows: int
    head: memoryview
    tail: memoryview
    body: int  # first byte of the body, within the message
    buffers: tuple[tuple[int, int], ...]

    @classmethod
    def parse(
        cls, begin: int, size: int, rows: int, head: memoryview, tail: memoryview
    ) -> Self | None:
        """Parse it; None if it is no batch of so many rows, or its metadata is longer."""
        try:
            body = PREFIX_BYTES + metadata_length(head[:PREFIX_BYTES])
            message = parse_metadata(head[PREFIX_BYTES:body], want=_NODES)
        except (InvalidShardFormatError, StructError):
            return None
        if body > len(head) or not _is_batch(message, size - body, rows):
            return None
        return cls(begin, size, rows, head, tail, body, message.buffers)

    def ranges(self) -> list[tuple[int, int]]:
        """Begins and ends within the message of all values and starts."""
        values = [(self.buffers[number][0], 4 * self.rows) for number in _VALUES]
        starts = [(self.buffers[number][0], 4 * self.rows + 4) for number in _STARTS]
        return [(self.body + at, self.body + at + length) for at, length in values + starts]

    def known(self, at: int, end: int) -> memoryview | None:
        """A range within the message, if head or tail hold it."""
        behind = self.size - len(self.tail)
        if end <= len(self.head):
            return self.head[at:end]
        return self.tail[at - behind : end - behind] if at >= behind else None

    def outline(self, pieces: Sequence[memoryview]) -> BatchOutline | None:
        """Outline from the pieces at `ranges`; None if starts lead outside."""
        starts = np.empty((len(_STARTS), self.rows + 1), np.int64)
        for row, (number, width), piece in zip(starts, _ITEMS, pieces[len(_VALUES) :], strict=True):
            offsets = np.frombuffer(piece, "<i4").astype(np.int64)
            at, length = self.buffers[number]
            if offsets[0] < 0 or (np.diff(offsets) < 0).any() or offsets[-1] * width > length:
                return None
            row[:] = self.body + at + width * offsets
        kept = [(0, bytes(self.head[: self.body]))]
        kept += [(at, bytes(p)) for (at, _), p in zip(self.ranges(), pieces, strict=True)]
        return BatchOutline(self.size, tuple(kept), starts)


def read_outlines(
    source: ByteSource,
    begins: Int64Array,
    sizes: Int64Array,
    rows: Int64Array,
    heads: Sequence[bytes],
) -> list[BatchOutline | None]:
    """Read the outlines of record batches in two rounds of requests.

    Args:
        source: the Arrow file.
        begins: (k,) first byte of each message.
        sizes: (k,) its bytes.
        rows: (k,) rows that it must have.
        heads: first bytes of each, as far as they were kept.

    Returns:
        None for a message that is not as expected: who reads it whole finds out why.
    """
    found = _read_ends(source, begins, sizes, rows, heads)
    far = [
        (ends.begin + at, ends.begin + end)
        for ends in found
        for at, end in (ends.ranges() if ends else ())
        if ends and ends.known(at, end) is None
    ]
    read = iter(_read_pages(source, np.array(far, np.int64).reshape(-1, 2)))

    def pieces(ends: _Ends) -> list[memoryview]:
        known = (ends.known(at, end) for at, end in ends.ranges())
        return [next(read) if piece is None else piece for piece in known]

    return [None if ends is None else ends.outline(pieces(ends)) for ends in found]


def _read_ends(
    source: ByteSource,
    begins: Int64Array,
    sizes: Int64Array,
    rows: Int64Array,
    heads: Sequence[bytes],
) -> list[_Ends | None]:
    needed = np.minimum(sizes, _HEAD_BYTES + _HEAD_ROW_BYTES * rows)
    stops_of_heads = begins + np.where([len(head) > 0 for head in heads], 0, needed)
    stops = begins + sizes
    tails = stops - np.minimum(sizes, _PADDING_BYTES + _TAIL_ROW_BYTES * rows)
    ranges = np.stack([np.append(begins, tails), np.append(stops_of_heads, stops)], axis=1)
    read = _read_pages(source, ranges)
    first = [memoryview(head) if head else one for head, one in zip(heads, read, strict=False)]
    parts = (begins.tolist(), sizes.tolist(), rows.tolist(), first, read[len(rows) :])
    return [_Ends.parse(*part) for part in zip(*parts, strict=True)]


def _read_pages(source: ByteSource, ranges: Int64Array) -> list[memoryview]:
    """Read ranges (k, 2); the tail of a message shares its page with the head of the next."""
    begins, stops, group = merge_pages(
        ranges[:, 0], ranges[:, 1], source.size, 0.0, page_bytes(source)
    )
    read = read_each(source, begins.tolist(), stops.tolist())
    return [
        read[number][begin - begins[number] : end - begins[number]]
        for (begin, end), number in zip(ranges.tolist(), group.tolist(), strict=True)
    ]


def sparse_image(size: int, pieces: Sequence[Piece]) -> memoryview:
    """Message of which only some pieces are there; the rest takes no memory."""
    image = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        image.madvise(mmap.MADV_NOHUGEPAGE)  # or each piece would take 2 MiB
    for at, data in pieces:
        image[at : at + len(data)] = data
    return memoryview(image)


def _is_batch(message: Message, body_bytes: int, rows: int) -> bool:
    return (
        (message.kind, message.rows, message.body_bytes) == (RECORD_BATCH, rows, body_bytes)
        and not message.compressed
        and len(message.buffers) > max(_VALUES)
        and all(message.buffers[number][1] >= 4 * rows for number in _VALUES)
        and all(message.buffers[number][1] >= 4 * rows + 4 for number in _STARTS)
        and all(
            offset >= 0 and length >= 0 and offset + length <= body_bytes
            for offset, length in message.buffers
        )
    )
