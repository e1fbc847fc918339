"""Remote object fetched whole, side by side in parts: what has come is read while the rest comes.

Held in one buffer, which what is read are views of.
"""

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from heapq import heappop, heappush
from typing import Final

from braid.io.byte_source import read_exactly
from memmodel.estimate import FETCH_PART_BYTES, FETCHES_AT_ONCE
from runtime.machine import translate_machine_errors
from runtime.storage import Source

_END_WAIT_S: Final = 1.0  # for parts on their way that nobody needs


class Fetches:
    """Threads that fetch parts of a shard's files, few at a time however many files there are.

    What lies near the begin of its file comes first: it is needed when the file is opened.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(FETCHES_AT_ONCE, thread_name_prefix="fetch")
        self._waiting: list[tuple[int, int, Future[None], Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._running: set[Future[None]] = set()
        self._lock = threading.Lock()

    def begin(self, at: int, fetch: Callable[[], None]) -> Future[None]:
        """Fetch the part at this byte of its file, when it is its turn."""
        part: Future[None] = Future()
        with self._lock:
            heappush(self._waiting, (at, next(self._numbers), part, fetch))
        with translate_machine_errors():
            self._pool.submit(self._fetch_next)
        return part

    def close(self) -> None:
        """Fetch no more, and wait a moment for what is on its way."""
        with self._lock:
            for _, _, part, _ in self._waiting:
                part.cancel()
            self._waiting.clear()
            running = set(self._running)
        self._pool.shutdown(wait=False, cancel_futures=True)
        wait(running, _END_WAIT_S)

    def _fetch_next(self) -> None:
        with self._lock:
            if not self._waiting:
                return
            _, _, part, fetch = heappop(self._waiting)
            self._running.add(part)
        try:
            part.set_result(fetch())
        except BaseException as error:  # noqa: BLE001 - raised where the part is read
            part.set_exception(error)
        finally:
            with self._lock:
                self._running.discard(part)


class WholeFetch:
    """A byte source that is on its way from the moment it is made.

    Args:
        source: the object; its errors are raised where what failed is read.
        fetches: fetch it.
    """

    def __init__(self, source: Source, fetches: Fetches) -> None:
        self._source = source
        self.name = source.name
        self.size = source.size
        self._data = bytearray(self.size)  # pages that were not written yet take no memory
        self._parts = [
            fetches.begin(at, partial(self._fetch, at))
            for at in range(0, self.size, FETCH_PART_BYTES)
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

    def _fetch(self, at: int) -> None:
        length = min(FETCH_PART_BYTES, self.size - at)
        self._data[at : at + length] = read_exactly(self._source, at, length)
