"""Ranges of a remote object, fetched together, several requests at a time.

One request after another would wait for the network longer than the shard takes to convert.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from braid.io.byte_source import merge_ranges
from runtime.storage import Source

REQUESTS_AT_ONCE = 8

I64 = npt.NDArray[np.int64]


class RangeCache:
    """A source that a reader reads from, told beforehand what that will be."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._held: dict[tuple[int, int], bytes] = {}
        self.name = source.name
        self.size = source.size

    @property
    def requests(self) -> int:
        """Ranges asked of the source."""
        return self._source.requests

    def fetch(self, starts: I64, ends: I64) -> None:
        """Fetch ranges that will be read, merged as `braid.io.byte_source.merge_ranges` does."""
        begins, stops, _ = merge_ranges(starts, ends)
        lengths = (stops - begins).tolist()
        with ThreadPoolExecutor(REQUESTS_AT_ONCE, thread_name_prefix="fetch") as pool:
            data = pool.map(self._source.read_at, begins.tolist(), lengths)
            self._held = dict(zip(zip(begins.tolist(), lengths, strict=True), data, strict=True))

    def read_at(self, offset: int, length: int) -> bytes:
        """A fetched range, which is then let go of, or one read now."""
        held = self._held.pop((offset, length), None)
        return self._source.read_at(offset, length) if held is None else held
