"""Arrow IPC messages: kind and length of each, from its metadata.

Format: Arrow columnar format, "Encapsulated message format" and `format/Message.fbs`. A message is
0xFFFFFFFF, u32 metadata length, metadata (a flatbuffer), body. Of the metadata the kernel reads the
few fields that a scan of the stream needs.
"""

from struct import Struct
from typing import NamedTuple

import _braid
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


class Message(NamedTuple):
    """Metadata of one IPC message; `rows` and the rest only of a record batch."""

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
        InvalidShardFormatError: no IPC message begins here.
    """
    mark, length = _prefix(prefix)
    if mark != _CONTINUATION or length > _MAX_METADATA_BYTES:
        raise InvalidShardFormatError(f"no Arrow message begins with {bytes(prefix[:8]).hex()}")
    return int(length)


def parse_metadata(metadata: bytes | memoryview, want: int = 0) -> Message:
    """Parse the metadata of one IPC message.

    Args:
        metadata: the flatbuffer, without prefix and body.
        want: how many of a record batch's first nodes and twice as many buffers to read.

    Raises:
        InvalidShardFormatError: the flatbuffer points outside itself, or lengths are negative.
    """
    try:
        message = Message(*_braid.arrow_metadata(metadata, want))
    except _braid.KernelError as error:
        raise InvalidShardFormatError(str(error)) from None
    if message.body_bytes < 0 or message.rows < 0:
        raise InvalidShardFormatError("Arrow metadata holds a negative length")
    return message
