"""Prefetch of a remote object's ranges, several requests at a time.

Sequential requests would wait for the network longer than the shard takes to convert.
"""

from concurrent.futures import ThreadPoolExecutor

from braid.io.ranges import merge_ranges
from braid.typing import Int64Array
from runtime.storage import Source

REQUESTS_AT_ONCE = 8


class RangePrefetch:
    """A byte source whose ranges are fetched concurrently before they are read."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._held: dict[tuple[int, int], bytes] = {}
        self.name = source.name
        self.size = source.size

    @property
    def requests(self) -> int:
        """Number of requests to the source."""
        return self._source.requests

    def fetch(self, starts: Int64Array, ends: Int64Array) -> None:
        """Fetch ranges, merged as `braid.io.ranges.merge_ranges` does."""
        begins, stops, _ = merge_ranges(starts, ends)
        lengths = (stops - begins).tolist()
        with ThreadPoolExecutor(REQUESTS_AT_ONCE, thread_name_prefix="fetch") as pool:
            data = pool.map(self._source.read_at, begins.tolist(), lengths)
            self._held = dict(zip(zip(begins.tolist(), lengths, strict=True), data, strict=True))

    def read_at(self, offset: int, length: int) -> bytes:
        """A fetched range, which is then dropped, or one read now."""
        held = self._held.pop((offset, length), None)
        return self._source.read_at(offset, length) if held is None else held
