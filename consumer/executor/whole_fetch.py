"""Remote object fetched whole, side by side in parts: what has come is read while the rest comes.

Held in one buffer, which what is read are views of.
"""

import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Final

from braid.io.byte_source import read_exactly
from memmodel.estimate import FETCH_PART_BYTES, FETCHES_AT_ONCE
from runtime.machine import translate_machine_errors
from runtime.storage import Source

_END_WAIT_S: Final = 1.0  # for parts on their way that nobody needs


class WholeFetch:
    """A byte source that is on its way from the moment it is made.

    Args:
        source: the object; its errors are raised where what failed is read.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.name = source.name
        self.size = source.size
        self._data = bytearray(self.size)  # pages that were not written yet take no memory
        self._ended = threading.Event()
        self._pool = ThreadPoolExecutor(FETCHES_AT_ONCE, thread_name_prefix="fetch")
        with translate_machine_errors():
            self._parts: list[Future[None]] = [
                self._pool.submit(self._fetch, at) for at in range(0, self.size, FETCH_PART_BYTES)
            ]

    @property
    def requests(self) -> int:
        """Number of requests to the source."""
        return self._source.requests

    def read_at(self, offset: int, length: int) -> memoryview:
        """A view of a range, once it has come."""
        end = min(offset + length, self.size)
        for part in range(offset // FETCH_PART_BYTES, -(-end // FETCH_PART_BYTES)):
            self._parts[part].result()
        return memoryview(self._data)[offset:end]

    def close(self) -> None:
        """Fetch no more."""
        self._ended.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        wait([part for part in self._parts if part.running()], _END_WAIT_S)

    def _fetch(self, at: int) -> None:
        if self._ended.is_set():
            return
        length = min(FETCH_PART_BYTES, self.size - at)
        self._data[at : at + length] = read_exactly(self._source, at, length)
