"""Ranges of a remote object, read several requests at a time.

Sequential requests would wait for the network longer than the shard takes to convert.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from runtime.storage import Source

REQUESTS_AT_ONCE = 8


class RangePrefetch:
    """A byte source of which many ranges are read concurrently."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.name = source.name
        self.size = source.size

    @property
    def requests(self) -> int:
        """Number of requests to the source."""
        return self._source.requests

    def read_at(self, offset: int, length: int) -> bytes:
        """Read a range."""
        return self._source.read_at(offset, length)

    def read_many(self, offsets: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
        """Read ranges, in their order."""
        with ThreadPoolExecutor(REQUESTS_AT_ONCE, thread_name_prefix="fetch") as pool:
            return list(pool.map(self._source.read_at, offsets, lengths))
