"""CRC-32C of an object whose ranges are read in pieces and out of order."""

from base64 import b64encode
from collections.abc import Iterable
from typing import Self

import google_crc32c
import numpy as np

from braid.typing import BytesLike

__all__ = ["RangeChecksum", "crc32c", "crc32c_combine", "crc32c_text"]

_ONES = 0xFFFF_FFFF
_ZEROS = bytes(1 << 16)


def crc32c(data: BytesLike, crc: int = 0) -> int:
    """CRC-32C of data, continued from the CRC of what precedes it."""
    return int(google_crc32c.extend(crc, np.frombuffer(data, np.uint8))) if len(data) else crc


def crc32c_combine(crc1: int, crc2: int, len2: int) -> int:
    """CRC-32C of two adjacent pieces from their CRCs and the second one's length in bytes."""
    # As in `runtime.storage.checksum.combine`, which braid may not import: a CRC is linear, so the
    # first one is pushed through len2 zeros (20 GB/s), initial and final inversion cancelled.
    state = crc1 ^ _ONES
    whole, rest = divmod(len2, len(_ZEROS))
    for _ in range(whole):
        state = google_crc32c.extend(state, _ZEROS)
    return int(google_crc32c.extend(state, _ZEROS[:rest])) ^ _ONES ^ crc2


def crc32c_text(crc: int) -> str:
    """Text form of Google Cloud Storage: base64 of the big-endian bytes."""
    return b64encode(crc.to_bytes(4, "big")).decode("ascii")


class RangeChecksum:
    """CRCs of disjoint ranges of one object, until they cover it."""

    # Adjacent ranges share one running CRC; only a jump costs a combination in the end.

    def __init__(self, ranges: Iterable[tuple[int, int, int]] = ()) -> None:
        self._done = list(ranges)  # start, end, crc
        self._open = (0, 0, 0)

    def copy(self) -> Self:
        """Independent collection that starts with the same ranges."""
        self._settle()
        return type(self)(self._done)

    def add(self, start: int, data: BytesLike) -> None:
        """Add a range."""
        begin, end, crc = self._open
        if start != end:
            self._close()
            begin, end, crc = start, start, 0
        self._open = begin, end + len(data), crc32c(data, crc)

    def gaps(self, size: int) -> list[tuple[int, int]]:
        """Parts of an object of `size` bytes that no range covers, as (start, end)."""
        self._settle()
        starts = [start for start, _, _ in self._done] + [size]
        ends = [0] + [end for _, end, _ in self._done]
        return [(a, b) for a, b in zip(ends, starts, strict=True) if a < b]

    def value(self) -> int:
        """CRC of all ranges in the order of their starts."""
        self._settle()
        total = 0
        for start, end, crc in self._done:
            total = crc32c_combine(total, crc, end - start)
        return total

    def _settle(self) -> None:
        self._close()
        self._done.sort()

    def _close(self) -> None:
        if self._open[1] > self._open[0]:
            self._done.append(self._open)
        self._open = (0, 0, 0)
