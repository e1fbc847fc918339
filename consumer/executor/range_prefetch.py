"""Ranges of a remote object, read several requests at a time.

Sequential requests would wait for the network longer than the shard takes to convert.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from memmodel.estimate import EDGE_PAGES_BYTES
from runtime.storage import Source
from runtime.storage.checked_reads import PAGE_BYTES

REQUESTS_AT_ONCE = 8
_MOST_PAGES: Final = EDGE_PAGES_BYTES // PAGE_BYTES


class RangePrefetch:
    """A byte source of which many ranges are read concurrently, by whole pages.

    Ranges of a window end within pages that the windows beside it begin with, so pages at the edges
    are kept for a while.
    """

    page_bytes = PAGE_BYTES

    def __init__(self, source: Source) -> None:
        self._source = source
        self.name = source.name
        self.size = source.size
        self._edges: dict[int, bytes] = {}  # pages by first byte, those used last behind
        self._lock = threading.Lock()

    @property
    def requests(self) -> int:
        """Number of requests to the source."""
        return self._source.requests

    def read_at(self, offset: int, length: int) -> bytes:
        """Read a range."""
        return self._source.read_at(offset, length)

    def read_many(self, offsets: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
        """Read ranges, in their order."""
        parts = [self._known(a, a + length) for a, length in zip(offsets, lengths, strict=True)]
        missing = [(begin, end) for begin, end, _, _ in parts if begin < end]
        with ThreadPoolExecutor(REQUESTS_AT_ONCE, thread_name_prefix="fetch") as pool:
            read = pool.map(lambda ends: self._source.read_at(ends[0], ends[1] - ends[0]), missing)
            found = []
            for begin, end, before, behind in parts:
                fetched = next(read) if begin < end else b""
                found.append(b"".join((before, fetched, behind)) if before or behind else fetched)
        self._keep(offsets, found)
        return found

    def _known(self, begin: int, end: int) -> tuple[int, int, bytes, bytes]:
        """What is left of a range, and the pages before and behind that are here."""
        before, behind = [], []
        if not self._is_whole(begin, end):
            return begin, end, b"", b""
        with self._lock:
            while begin < end and (page := self._edges.get(begin)) is not None:
                before.append(page)
                begin += len(page)
            while begin < end and (page := self._edges.get(_last_page(end))) is not None:
                behind.append(page)
                end -= len(page)
        return begin, end, b"".join(before), b"".join(reversed(behind))

    def _is_whole(self, begin: int, end: int) -> bool:
        """Whether a range is one of whole pages."""
        ends = end % PAGE_BYTES == 0 or end == self.size
        return begin < end and begin % PAGE_BYTES == 0 and ends

    def _keep(self, offsets: Sequence[int], found: Sequence[bytes]) -> None:
        """Keep the first and the last page of each range."""
        with self._lock:
            for offset, data in zip(offsets, found, strict=True):
                end = offset + len(data)
                for page in {offset, _last_page(end)} if self._is_whole(offset, end) else ():
                    self._edges.pop(page, None)
                    self._edges[page] = bytes(data[page - offset : page - offset + PAGE_BYTES])
            for page in list(self._edges)[: max(0, len(self._edges) - _MOST_PAGES)]:
                del self._edges[page]


def _last_page(end: int) -> int:
    """First byte of the page before a byte."""
    return (end - 1) // PAGE_BYTES * PAGE_BYTES
