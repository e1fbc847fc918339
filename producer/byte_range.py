"""Byte ranges of HTTP requests (RFC 9110)."""

import re
from dataclasses import dataclass
from typing import Final

_RANGE: Final = re.compile(r"bytes=([0-9]*)-([0-9]*)")
_OFFSET_DIGITS: Final = 20  # more than any file's size has


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Byte range [begin, end) of a file."""

    begin: int
    end: int

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.end - self.begin


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """Parse a Range header (RFC 9110); the whole file without one, None if not satisfiable (416).

    Several ranges at once, other units and malformed headers are ignored, as the RFC allows.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return ByteRange(0, size)
    first, last = match.groups()
    if not first:
        begin, end = max(0, size - _offset(last)), size
    else:
        begin, end = _offset(first), min(size, _offset(last) + 1) if last else size
        if last and _offset(last) < begin:
            return ByteRange(0, size)
    return ByteRange(begin, end) if begin < end else None


def _offset(digits: str) -> int:
    """The number, or one beyond every file; Python refuses to read a number of 5,000 digits."""
    return int(digits.lstrip("0")[:_OFFSET_DIGITS] or "0")
