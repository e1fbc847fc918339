"""Scan of an Arrow stream: finds every row of exports that lack byte offsets.

Only IPC message headers and the three coordinate columns are read, through a window that moves
along the file, so memory does not grow with it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from braid.dvid.csv_index import ShardIndex, check_unique
from braid.dvid.found_rows import COORDINATES, FoundRows, ScannedBatch
from braid.dvid.ipc import (
    END_OF_STREAM,
    FILE_MAGIC,
    PREFIX_BYTES,
    RECORD_BATCH,
    SCHEMA,
    Message,
    metadata_length,
    parse_metadata,
)
from braid.dvid.rows import read_schema
from braid.exceptions import InvalidShardFormatError
from braid.io.byte_source import ByteSource, is_held, read_exactly, source_name
from braid.typing import BytesLike

__all__ = [
    "Preamble",
    "check_batches",
    "check_end",
    "read_preamble",
    "scan_batches",
    "scan_offsets",
]

_AHEAD_BYTES = 8 << 20
_FAR_SKIP_BYTES = 1 << 20  # of a batch over a network: to skip it takes a round trip
_KEPT_HEADS = 20  # of batches that are no larger than as many of their heads
_FIRST_BYTES = 4 << 10  # of the first batch
_PROBE_BYTES = 4 << 10  # a batch's metadata and the coordinates of some hundred rows
_HEAD_BYTES = 16 << 10  # a schema message takes about 700
_MIN_ROW_BYTES = 28  # seven columns with four bytes of value or offset each
_TRAILER_BYTES = 4 + len(FILE_MAGIC)


@dataclass(frozen=True)
class Preamble:
    """Part before the first record batch: the file format's magic, if any, then the schema.

    Attributes:
        start: first byte of the schema message.
        end: where the first record batch begins.
        schema: with the columns of an export.
    """

    start: int
    end: int
    schema: pa.Schema

    @property
    def is_file(self) -> bool:
        """Whether this is the Arrow file format, which has a footer."""
        return self.start > 0


class _ReadAhead:
    """Views of a source, read ahead of the scan."""

    def __init__(self, source: ByteSource, ahead_bytes: int = _AHEAD_BYTES) -> None:
        self._source = source
        self._ahead_bytes = ahead_bytes
        # What one more read is worth in bytes; sources over a network read many at once.
        far = hasattr(source, "read_many")
        self._skip_bytes = _FAR_SKIP_BYTES if far else 0
        self._keeps_heads = not (far or is_held(source))
        self._start = 0
        self._data = memoryview(b"")
        self._seen_bytes, self._seen_heads = 0, 0

    def view(self, offset: int, length: int) -> memoryview:
        begin = offset - self._start
        if begin < 0 or begin + length > len(self._data):
            wanted = min(max(length, self._ahead_bytes), self._source.size - offset)
            self._data = read_exactly(self._source, offset, max(wanted, length))
            self._start, begin = offset, 0
        return self._data[begin : begin + length]

    def expect(self, batch: ScannedBatch) -> None:
        """Expect batches like this one: where they are large, only their beginnings are read."""
        self._seen_bytes += batch.size
        self._seen_heads += batch.head
        self._ahead_bytes = batch.head if batch.size >= self._skip_bytes else _AHEAD_BYTES

    def kept_head(self, batch: ScannedBatch) -> BytesLike:
        """Head of a batch, if it is to be kept: where heads are much of the stream."""
        few = self._seen_bytes > _KEPT_HEADS * self._seen_heads
        return b"" if few or not self._keeps_heads else self.view(batch.offset, batch.head)


def read_preamble(source: ByteSource) -> Preamble:
    """Read and check the schema; one request.

    Raises:
        InvalidShardFormatError: the object does not begin with the schema of a DVID export.
    """
    name = source_name(source)
    if source.size == 0:
        raise InvalidShardFormatError(f"{name}: the file is empty; export this shard again")
    head = read_exactly(source, 0, min(source.size, _HEAD_BYTES))
    start = PREFIX_BYTES if bytes(head[: len(FILE_MAGIC)]) == FILE_MAGIC else 0
    try:
        message = _schema_message(source, head, start)
        schema = read_schema(message)
    except InvalidShardFormatError as error:
        raise InvalidShardFormatError(f"{name}: not an Arrow shard: {error}") from None
    return Preamble(start, start + len(message), schema)


def _schema_message(source: ByteSource, head: memoryview, start: int) -> bytes:
    """Whole schema message, which `head` usually contains."""
    if len(head) < start + PREFIX_BYTES:
        raise InvalidShardFormatError(f"it ends after {source.size} bytes")
    end = start + PREFIX_BYTES + metadata_length(head[start : start + PREFIX_BYTES])
    schema = bytes(
        head[start:end] if end <= len(head) else read_exactly(source, start, end - start)
    )
    message = parse_metadata(schema[PREFIX_BYTES:])
    if message.kind != SCHEMA or message.body_bytes:
        raise InvalidShardFormatError("the first message is not a schema")
    return schema


def check_end(source: ByteSource, preamble: Preamble, end: int) -> None:
    """Check that only the end mark (and the file format's footer) follow the last record batch.

    Raises:
        InvalidShardFormatError: the stream is cut short, or another one follows.
    """
    left = source.size - end
    name = source_name(source)
    if left < 0:
        raise InvalidShardFormatError(
            f"{name}: cut short: batches reach to byte {end}, the file has {source.size}. "
            "Export this shard again"
        )
    if preamble.is_file:
        _check_footer(source, end)
        return
    if left == 0:
        return  # DVID stopped before it could write the end mark; every row is there
    if left == len(END_OF_STREAM) and read_exactly(source, end, left) == END_OF_STREAM:
        return
    raise InvalidShardFormatError(
        f"{name}: {left} bytes follow the last row that the index lists, at byte {end}: the index "
        "is not this file's, or a second stream was appended. Re-export into an empty folder"
    )


def check_batches(source: ByteSource, index: ShardIndex, batches: Iterable[int]) -> None:
    """Check record batches against an index by their metadata and coordinates; nothing is decoded.

    Args:
        source: the Arrow file.
        index: of the file.
        batches: numbers of record batches, one request each.

    Raises:
        InvalidShardFormatError: with the first row of the first batch that is not as indexed.
    """
    for number in batches:
        row = int(index.first_rows[number])
        try:
            _check_batch(source, index, row, int(index.batch_lengths[number]))
        except InvalidShardFormatError as error:
            chunk = tuple(index.coords[row].tolist())
            raise InvalidShardFormatError(
                f"{source_name(source)}: row {row}, chunk {chunk}: {error}"
            ) from None


def _check_batch(source: ByteSource, index: ShardIndex, row: int, rows: int) -> None:
    begin, size = int(index.offset[row]), int(index.size[row])
    batch = _read_batch(_ReadAhead(source, _PROBE_BYTES), begin, begin + size)
    if batch is None or batch.size != size:
        found = batch.size if batch else len(END_OF_STREAM)
        raise InvalidShardFormatError(
            f"the index gives its batch {size} bytes, the stream {found}: the index is not this "
            "file's. Re-export into an empty folder"
        )
    if batch.rows != rows:
        raise InvalidShardFormatError(
            f"the index lists {rows} rows of a batch that has {batch.rows}. Export this shard again"
        )
    if (batch.coords != index.coords[row : row + rows]).any():
        raise InvalidShardFormatError(
            "the stream holds other chunks there, so index and stream disagree. "
            "Re-export into an empty folder"
        )


def scan_offsets(source: ByteSource) -> ShardIndex:
    """Build the index from the stream itself, read once from front to back.

    Raises:
        InvalidShardFormatError: the stream is damaged, holds a chunk twice, or is followed by
            another one.
    """
    preamble = read_preamble(source)
    found = FoundRows()
    end = preamble.end
    for batch, head in scan_batches(source, preamble):
        found.add(batch, head)
        end = batch.end
    check_end(source, preamble, end)
    index = found.index(preamble.end)
    check_unique(index.coords, source_name(source))
    return index


def scan_batches(
    source: ByteSource, preamble: Preamble
) -> Iterator[tuple[ScannedBatch, BytesLike]]:
    """Yield the record batches of a stream, each with its head if that is to be kept.

    Raises:
        InvalidShardFormatError: the stream is damaged.
    """
    ahead = _ReadAhead(source, _FIRST_BYTES)
    limit = source.size if not preamble.is_file else _footer_start(source)
    at = preamble.end
    while at < limit:
        try:
            batch = _read_batch(ahead, at, limit)
        except InvalidShardFormatError as error:
            raise InvalidShardFormatError(
                f"{source_name(source)}: message at byte {at}: {error}"
            ) from None
        if batch is None:
            return
        yield batch, ahead.kept_head(batch)
        ahead.expect(batch)
        at = batch.end


def _read_batch(ahead: _ReadAhead, at: int, limit: int) -> ScannedBatch | None:
    """Record batch at a byte, or None at the end mark."""
    if at + PREFIX_BYTES > limit:
        raise InvalidShardFormatError("cut short. Export this shard again")
    length = metadata_length(ahead.view(at, PREFIX_BYTES))
    if length == 0:
        return None
    body = at + PREFIX_BYTES + length
    if body > limit:
        raise InvalidShardFormatError("cut short. Export this shard again")
    message = parse_metadata(ahead.view(at + PREFIX_BYTES, length), want=COORDINATES)
    _check_message(message, limit - body)
    columns = [_column(ahead, body, message, i) for i in range(COORDINATES)]
    head = body + max(message.buffers[2 * i + 1][0] for i in range(COORDINATES)) - at
    size = body + message.body_bytes - at
    return ScannedBatch(at, size, head + 4 * message.rows, message.rows, columns)


def _check_message(message: Message, room: int) -> None:
    if message.kind == SCHEMA:
        raise InvalidShardFormatError("a second stream begins here. Re-export into an empty folder")
    if message.kind != RECORD_BATCH:
        raise InvalidShardFormatError(f"not a record batch (kind {message.kind})")
    if message.compressed:
        raise InvalidShardFormatError("Arrow body compression is not supported")
    if message.body_bytes > room:
        raise InvalidShardFormatError("cut short. Export this shard again")
    if message.rows * _MIN_ROW_BYTES > message.body_bytes:
        raise InvalidShardFormatError(f"{message.rows} rows in {message.body_bytes} bytes")


def _column(ahead: _ReadAhead, body: int, message: Message, number: int) -> memoryview:
    """One coordinate column: fixed width, so node i has buffers 2i (validity) and 2i + 1."""
    if len(message.nodes) < COORDINATES or len(message.buffers) < 2 * COORDINATES:
        raise InvalidShardFormatError("the batch lacks coordinate columns")
    if message.nodes[number] != (message.rows, 0):
        raise InvalidShardFormatError("a coordinate column has nulls or another length")
    offset, length = message.buffers[2 * number + 1]
    needed = 4 * message.rows
    if offset < 0 or length < needed or offset + needed > message.body_bytes:
        raise InvalidShardFormatError("a coordinate column lies outside its batch")
    return ahead.view(body + offset, needed)


def _footer_start(source: ByteSource) -> int:
    if source.size < 2 * PREFIX_BYTES + _TRAILER_BYTES:
        raise _no_footer(source)
    trailer = read_exactly(source, source.size - _TRAILER_BYTES, _TRAILER_BYTES)
    length = int.from_bytes(trailer[:4], "little")
    start = source.size - _TRAILER_BYTES - length
    if bytes(trailer[4:]) != FILE_MAGIC or start < PREFIX_BYTES:
        raise _no_footer(source)
    return start


def _no_footer(source: ByteSource) -> InvalidShardFormatError:
    return InvalidShardFormatError(
        f"{source_name(source)}: cut short: no footer. Export this shard again"
    )


def _check_footer(source: ByteSource, end: int) -> None:
    left = _footer_start(source) - end
    if left not in (0, len(END_OF_STREAM)):
        raise InvalidShardFormatError(
            f"{source_name(source)}: {left} bytes lie between the last row that the index lists "
            "and the footer: the index is not this file's"
        )
