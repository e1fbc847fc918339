"""Remote objects fetched whole, side by side in parts: what has come is read while the rest comes.

Once it is known which windows of rows need which bytes, the parts come in the order of their first
use, and go after their last: as much is held as windows share, and some parts ahead. Where windows
share too much, the rest of the object is read by ranges instead.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np

from braid.io.byte_source import read_exactly
from braid.typing import BytesLike, Int64Array
from consumer.executor.fetches import Fetches, Part
from consumer.executor.range_prefetch import RangePrefetch
from memmodel.estimate import FETCH_PART_BYTES, SHARED_SOURCE_BYTES
from runtime.storage import Source

RangesOfWindow = tuple[Int64Array, Int64Array]
"""First bytes of the ranges that a window reads, and the bytes past their last."""

GRAIN_BYTES: Final = 256 << 10  # a part is some of these
_LONGER: Final = 0.5  # of the time that bytes are held: what joining parts may add to it
_LONGER_WINDOWS: Final = 2  # and what is too short to matter
_NEVER: Final = 1 << 40  # a window after all others


class WholeFetch:
    """A byte source that is on its way from the moment it is made.

    Args:
        source: the object; its errors are raised where what failed is read.
        fetches: fetch it.
    """

    is_held = True

    def __init__(self, source: Source, fetches: Fetches) -> None:
        self._source = source
        self._fetches = fetches
        self._ranges: RangePrefetch | None = None
        self.name = source.name
        self.size = source.size
        self.parts = self._new_parts(range(0, self.size, FETCH_PART_BYTES))
        fetches.begin(self.parts)

    @property
    def requests(self) -> int:
        """Number of requests to the source."""
        return self._source.requests

    @property
    def page_bytes(self) -> int:
        """Bytes of the pages that it is read by; 1 while it is fetched whole."""
        return 1 if self._ranges is None else self._ranges.page_bytes

    @property
    def read_many(self) -> Callable[[Sequence[int], Sequence[int]], list[bytes]]:
        """Read ranges side by side, once nothing is fetched whole any more.

        Raises:
            AttributeError: it is fetched whole.
        """
        if self._ranges is None:
            raise AttributeError("read_many")
        return self._ranges.read_many

    def read_at(self, offset: int, length: int) -> BytesLike:
        """A range, once it has come."""
        if self._ranges is not None:
            return self._ranges.read_at(offset, length)
        end = min(offset + length, self.size)
        first = bisect_right(self.parts, offset, key=lambda part: part.end)
        after = bisect_left(self.parts, end, key=lambda part: part.begin)
        pieces = [
            memoryview(self._fetches.take(part))[max(0, offset - part.begin) : end - part.begin]
            for part in self.parts[first:after]
        ]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def plan(self, windows: Sequence[RangesOfWindow]) -> None:
        """Note what each window reads, before the first does."""
        first, last = self._uses(windows)
        begun = [part for part in self.parts if part.begun]
        fetched = np.zeros(len(first), bool)
        for part in begun:
            grains = slice(part.begin // GRAIN_BYTES, -(-part.end // GRAIN_BYTES))
            part.first, part.last = int(first[grains].min()), int(last[grains].max())
            fetched[grains] = True
        cut = _cut(first, last, fetched)
        new = [self._part(a * GRAIN_BYTES, b * GRAIN_BYTES) for a, b in cut]
        for part, (a, b) in zip(new, cut, strict=True):
            part.first, part.last = int(first[a:b].min()), int(last[a:b].max())
        self.parts = sorted([*begun, *new], key=lambda part: part.begin)

    def keep(self) -> list[Part]:
        """Parts of the whole object, to be held for all windows."""
        for part in self.parts:
            part.first, part.last = 0, _NEVER
        return self.parts

    def leave(self, offset: int) -> None:
        """Let go of what lies before a byte: it is not read any more."""
        self._fetches.let_go([part for part in self.parts if part.begun and part.end <= offset])

    def read_by_ranges(self) -> None:
        """Fetch nothing any more; ranges are requested as they are read."""
        self._ranges = RangePrefetch(self._source)
        self.parts = []

    def _uses(self, windows: Sequence[RangesOfWindow]) -> tuple[Int64Array, Int64Array]:
        """Number of the first and the last window that reads each grain."""
        count = -(-self.size // GRAIN_BYTES)
        first, last = np.full(count, _NEVER), np.full(count, -1)
        for number, (begins, ends) in enumerate(windows):
            lows, highs = begins // GRAIN_BYTES, -(-ends // GRAIN_BYTES)
            edges = np.zeros(count + 1, np.int64)
            np.add.at(edges, lows, 1)
            np.add.at(edges, highs, -1)
            read = np.cumsum(edges)[:-1] > 0
            first[read & (first == _NEVER)] = number
            last[read] = number
        return first, last

    def _new_parts(self, begins: Sequence[int]) -> list[Part]:
        return [self._part(at, at + FETCH_PART_BYTES) for at in begins]

    def _part(self, begin: int, end: int) -> Part:
        end = min(end, self.size)
        return Part(begin, end, partial(read_exactly, self._source, begin, end - begin))


def shared_bytes(parts: Sequence[Part]) -> int:
    """Most bytes of parts that a window needs, or that lie between two uses by windows."""
    used = [part for part in parts if part.last >= 0]
    change = np.zeros(max((part.last for part in used), default=0) + 2, np.int64)
    for part in used:
        change[part.first] += part.size
        change[part.last + 1] -= part.size
    return int(np.cumsum(change).max())


def may_hold(parts: Sequence[Part]) -> bool:
    """Whether so much may be held as windows share."""
    return shared_bytes(parts) <= SHARED_SOURCE_BYTES


def _cut(first: Int64Array, last: Int64Array, fetched: Int64Array) -> list[tuple[int, int]]:
    """Parts of the grains that are used and not fetched, as (begin, end).

    Neighbours are joined while that does not prolong much the time that their bytes are held.
    """
    found: list[tuple[int, int]] = []
    begin, low, high, held = 0, 0, 0, 0
    most = FETCH_PART_BYTES // GRAIN_BYTES
    places = zip(first.tolist(), last.tolist(), fetched.tolist(), strict=True)
    for at, (one, other, is_fetched) in enumerate(places):
        if is_fetched or other < 0:
            continue
        lives, size = other - one + 1, at + 1 - begin
        joined_low, joined_high = min(low, one), max(high, other)
        mean = (held + lives) / size
        longer = joined_high - joined_low + 1 - mean > max(_LONGER_WINDOWS, _LONGER * mean)
        if found and found[-1][1] == at and size <= most and not longer:
            found[-1] = (begin, at + 1)
            low, high, held = joined_low, joined_high, held + lives
        else:
            found.append((at, at + 1))
            begin, low, high, held = at, one, other, lives
    return found
