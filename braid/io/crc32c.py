"""CRC-32C of bytes that are read in pieces and out of order.

A CRC is the remainder of a polynomial over GF(2), so the CRC of two pieces side by side follows
from theirs: the first one's, times x to the number of bits in the second, plus the second one's.
Residues are held as CRCs are: bit 31 is the coefficient of x**0 (RFC 3720, polynomial 0x1EDC6F41).
"""

from base64 import b64encode
from collections.abc import Iterable
from functools import cache
from typing import Self

import google_crc32c
import numpy as np

from braid.typing import BytesLike

__all__ = ["RangeChecksum", "crc32c", "crc32c_combine", "crc32c_text"]

_POLYNOMIAL = 0x82F63B78  # 0x1EDC6F41 with its bits reversed
_ONE = 1 << 31
_LENGTH_BITS = 64


def crc32c(data: BytesLike, crc: int = 0) -> int:
    """CRC-32C of data, going on from an earlier piece's."""
    return int(google_crc32c.extend(crc, np.frombuffer(data, np.uint8))) if len(data) else crc


def crc32c_combine(crc1: int, crc2: int, len2: int) -> int:
    """CRC-32C of two pieces side by side, from each one's and the second one's length in bytes."""
    return _multiply(crc1, _shift(len2)) ^ crc2


def crc32c_text(crc: int) -> str:
    """As Google Cloud Storage prints it: base64 of the big-endian bytes."""
    return b64encode(crc.to_bytes(4, "big")).decode("ascii")


class RangeChecksum:
    """Collects the CRCs of ranges of one object, until they cover it.

    Ranges must not overlap. Ranges that follow each other cost one running CRC; only jumps cost
    a combination in the end.
    """

    def __init__(self, ranges: Iterable[tuple[int, int, int]] = ()) -> None:
        self._done = list(ranges)  # start, end, crc
        self._open = (0, 0, 0)

    def copy(self) -> Self:
        """An independent collection that begins with the same ranges."""
        self._settle()
        return type(self)(self._done)

    def add(self, start: int, data: BytesLike) -> None:
        """Take in a range."""
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
        """The CRC of all ranges in the order of their starts."""
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


def _multiply(a: int, b: int) -> int:
    """Product of two residues: add `b`, times x once more for every next bit of `a`."""
    product = 0
    for bit in range(31, -1, -1):
        if a >> bit & 1:
            product ^= b
        b = (b >> 1) ^ (_POLYNOMIAL if b & 1 else 0)
    return product


@cache
def _squares() -> tuple[int, ...]:
    """X ** (8 * 2**k) for k from 0: enough for any length below 2**64 bytes."""
    powers = [_ONE >> 8]
    while len(powers) < _LENGTH_BITS:
        powers.append(_multiply(powers[-1], powers[-1]))
    return tuple(powers)


def _shift(length: int) -> int:
    """X to the power of the bits in `length` bytes."""
    power = _ONE
    for k, square in enumerate(_squares()[: length.bit_length()]):
        if length >> k & 1:
            power = _multiply(power, square)
    return power
