"""Frames of an Arrow IPC stream: where each message begins and ends, and what it is.

Format: Arrow columnar format, "Encapsulated message format" and `format/Message.fbs`. A message is
0xFFFFFFFF, u32 metadata length, metadata (a flatbuffer), body. Only the few metadata fields that a
walk over the stream needs are read here, each with its bounds checked; data is pyarrow's business.
"""

from collections.abc import Callable
from functools import cache
from struct import Struct, error
from typing import NamedTuple

from braid.exceptions import InvalidShardFormatError

__all__ = [
    "END_OF_STREAM",
    "FILE_MAGIC",
    "PREFIX_BYTES",
    "RECORD_BATCH",
    "SCHEMA",
    "Message",
    "metadata_length",
    "parse_metadata",
]

PREFIX_BYTES = 8
FILE_MAGIC = b"ARROW1"
END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
SCHEMA, RECORD_BATCH = 1, 3  # members of the union MessageHeader

_MAX_METADATA_BYTES = 1 << 24  # a batch's is a few hundred bytes, a schema's rarely a few thousand
_CONTINUATION = 0xFFFFFFFF

_prefix = Struct("<II").unpack_from
_u8 = Struct("<B").unpack_from
_u16 = Struct("<H").unpack_from
_u32 = Struct("<I").unpack_from
_i32 = Struct("<i").unpack_from
_i64 = Struct("<q").unpack_from

_FIELDS = 4
_slots = [Struct(f"<{n}H").unpack_from for n in range(_FIELDS + 1)]

# Field numbers in Message.fbs.
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3
_BATCH_LENGTH, _NODES, _BUFFERS, _COMPRESSION = 0, 1, 2, 3


class Message(NamedTuple):
    """What the metadata of one message says; `rows` and the rest only of a record batch."""

    kind: int
    body_bytes: int
    rows: int = 0
    compressed: bool = False
    # (length, null count) of the first nodes and (offset, length) of the first buffers.
    nodes: tuple[tuple[int, int], ...] = ()
    buffers: tuple[tuple[int, int], ...] = ()


def metadata_length(prefix: bytes | memoryview) -> int:
    """Length of the metadata that follows these 8 bytes; 0 is the end of the stream.

    Raises:
        InvalidShardFormatError: no message begins here.
    """
    mark, length = _prefix(prefix)
    if mark != _CONTINUATION or length > _MAX_METADATA_BYTES:
        raise InvalidShardFormatError(f"no Arrow message begins with {bytes(prefix[:8]).hex()}")
    return int(length)


def parse_metadata(metadata: bytes | memoryview, want: int = 0) -> Message:
    """Read the metadata of one message.

    Args:
        metadata: the flatbuffer, without prefix and body.
        want: how many of a record batch's first nodes and twice as many buffers to read.

    Raises:
        InvalidShardFormatError: the flatbuffer points outside itself, or lengths are negative.
    """
    try:
        message = _parse(metadata, want)
    except error:
        raise InvalidShardFormatError("Arrow metadata points outside itself") from None
    if message.body_bytes < 0 or message.rows < 0:
        raise InvalidShardFormatError("Arrow metadata holds a negative length")
    return message


def _parse(metadata: bytes | memoryview, want: int) -> Message:
    fields = _fields(metadata, _follow(metadata, 0))
    kind = _u8(metadata, fields[_HEADER_TYPE])[0] if fields[_HEADER_TYPE] else 0
    body_bytes = _i64(metadata, fields[_BODY_LENGTH])[0] if fields[_BODY_LENGTH] else 0
    if kind != RECORD_BATCH or not fields[_HEADER]:
        return Message(kind, body_bytes)
    batch = _fields(metadata, _follow(metadata, fields[_HEADER]))
    return Message(
        kind,
        body_bytes,
        _i64(metadata, batch[_BATCH_LENGTH])[0] if batch[_BATCH_LENGTH] else 0,
        batch[_COMPRESSION] != 0,
        _pairs(metadata, batch[_NODES], want) if want else (),
        _pairs(metadata, batch[_BUFFERS], 2 * want) if want else (),
    )


def _follow(data: bytes | memoryview, at: int) -> int:
    """Where the offset at `at` leads."""
    return int(at + _u32(data, at)[0])


def _fields(data: bytes | memoryview, table: int) -> tuple[int, ...]:
    """Positions of a table's first four fields; 0 where one is left out."""
    vtable = table - _i32(data, table)[0]
    if vtable < 0:
        raise error  # a negative position would count from the end
    size = _u16(data, vtable)[0]
    offsets = _slots[min(max(size - 4, 0) >> 1, _FIELDS)](data, vtable + 4)
    found = [table + offset if offset else 0 for offset in offsets]
    return (*found, 0, 0, 0, 0)


def _pairs(data: bytes | memoryview, at: int, want: int) -> tuple[tuple[int, int], ...]:
    """The first `want` structs of two i64 in the vector that the offset at `at` points to."""
    if not at:
        return ()
    vector = _follow(data, at)
    numbers = iter(_longs(2 * min(want, _u32(data, vector)[0]))(data, vector + 4))
    return tuple(zip(numbers, numbers, strict=True))


@cache
def _longs(count: int) -> Callable[..., tuple[int, ...]]:
    return Struct(f"<{count}q").unpack_from
