"""Heads of record batches that a scan has read, packed, so that they are not read once more.

The metadata of small batches are as long as their rows, and nearly the same in each.
"""

import zlib
from array import array
from typing import Final

import numpy as np

from braid.typing import BytesLike, Int64Array

__all__ = ["PackedHeads"]

_LEVEL: Final = 1
_WINDOW_BITS: Final = -12  # 4 KiB without header: the first head is always in reach
_MEMORY_LEVEL: Final = 2


class PackedHeads:
    """The first bytes of each record batch's message, as far as they are kept."""

    def __init__(self) -> None:
        self._first = b""
        self._packed = bytearray()
        self._ends = array("Q", [0])
        self._lengths = array("q")

    def add(self, head: BytesLike) -> None:
        """Add the next batch's head; an empty one if it is not to be kept."""
        self._lengths.append(len(head))
        if len(head):
            self._first = self._first or bytes(head)
            packer = zlib.compressobj(
                _LEVEL, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL, zdict=self._first
            )
            self._packed += packer.compress(head) + packer.flush()
        self._ends.append(len(self._packed))

    @property
    def packed_bytes(self) -> int:
        """Bytes that all of them take."""
        return len(self._packed)

    @property
    def lengths(self) -> Int64Array:
        """(batches,) bytes of each head; 0 where it is not kept."""
        return np.array(self._lengths, np.int64)

    def head(self, number: int) -> bytes:
        """The head of a record batch."""
        packed = self._packed[self._ends[number] : self._ends[number + 1]]
        if not packed:
            return b""
        return zlib.decompressobj(_WINDOW_BITS, zdict=self._first).decompress(packed)
