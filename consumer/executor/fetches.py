"""Fetches of parts of objects, few at a time and not far ahead of what is read."""

import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final

from braid.typing import BytesLike
from memmodel.estimate import (
    AHEAD_SOURCE_BYTES,
    FETCHES_AT_ONCE,
    FIRST_SOURCE_BYTES,
)
from runtime.errors import MachineError
from runtime.machine import translate_machine_errors

BEFORE: Final = -1
"""Number of the window while none is planned."""

_END_WAIT_S: Final = 1.0  # for parts on their way that nobody needs


@dataclass(eq=False, slots=True)
class Part:
    """A range of an object, fetched by one request.

    Attributes:
        begin: its first byte; `end` past its last.
        fetch: requests it.
        first: number of the first window that reads it, `last` of the last one.
        data: what has come, or is on its way; None: not requested, or gone again.
        used: whether any of it was read.
    """

    begin: int
    end: int
    fetch: Callable[[], BytesLike]
    first: int = BEFORE
    last: int = BEFORE
    data: Future[BytesLike] | None = None
    used: bool = False

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.end - self.begin

    @property
    def begun(self) -> bool:
        """Whether it was requested and is held."""
        return self.data is not None


class Fetches:
    """Threads that fetch parts of a shard's files, few at a time however many files there are.

    Until windows are planned, what lies near the begin of its file comes first: it is needed when
    the file is opened. Then it is the order of use. A part that is read and was not requested comes
    at once.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(FETCHES_AT_ONCE, thread_name_prefix="fetch")
        self._numbers = itertools.count()
        self._waiting: list[tuple[int, int, int, Part]] = []
        self._held: list[Part] = []
        self._running: set[Future[BytesLike]] = set()
        self._window = BEFORE
        self._closed = False
        self._lock = threading.RLock()

    def begin(self, parts: Sequence[Part]) -> None:
        """Fetch parts, each when it is its turn."""
        with self._lock:
            for part in parts:
                heappush(self._waiting, (part.first, part.begin, next(self._numbers), part))
            self._go_on()

    def take(self, part: Part) -> BytesLike:
        """The bytes of a part, once they have come; its error, if it failed."""
        with self._lock:
            if part.data is None:
                self._request(part)
            part.used = True
            self._go_on()
            data = part.data
        assert data is not None  # noqa: S101 - requested above
        return data.result()

    def plan(self, parts: Sequence[Part]) -> None:
        """Fetch these parts, and no others, in the order of their first use."""
        with self._lock:
            wanted = [part for part in parts if part.last > BEFORE]
            self._drop([part for part in self._held if part not in wanted])
            self._window = 0
            self._waiting = [
                (part.first, part.begin, next(self._numbers), part)
                for part in wanted
                if not part.begun
            ]
            heapify(self._waiting)
            self._go_on()

    def reach(self, window: int) -> None:
        """Note that this window is read next: what only those before it need goes."""
        with self._lock:
            self._window = max(self._window, window)
            self._drop([part for part in self._held if part.last < self._window])
            self._go_on()

    def let_go(self, parts: Sequence[Part]) -> None:
        """Hold these parts no longer."""
        with self._lock:
            self._drop(parts)
            self._go_on()

    def close(self) -> None:
        """Fetch no more, and wait a moment for what is on its way."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
            running = [future for future in self._running if future.running()]
        self._pool.shutdown(wait=False, cancel_futures=True)
        wait(running, _END_WAIT_S)

    def _go_on(self) -> None:
        """Request what is next, while it is not too far ahead."""
        while self._waiting and len(self._running) < FETCHES_AT_ONCE and not self._closed:
            part = self._waiting[0][-1]
            if not part.begun:
                ahead = sum(one.size for one in self._held if self._is_ahead(one))
                if self._is_ahead(part) and ahead and ahead + part.size > self._most_ahead:
                    return
            heappop(self._waiting)
            if not part.begun:
                self._request(part)  # what it calls may come back here

    @property
    def _most_ahead(self) -> int:
        return FIRST_SOURCE_BYTES if self._window == BEFORE else AHEAD_SOURCE_BYTES

    def _is_ahead(self, part: Part) -> bool:
        if self._window == BEFORE:
            return not part.used
        return part.first > self._window

    def _request(self, part: Part) -> None:
        with translate_machine_errors():
            part.data = self._pool.submit(part.fetch)
        self._held.append(part)
        self._running.add(part.data)
        part.data.add_done_callback(self._ended)

    def _ended(self, data: Future[BytesLike]) -> None:
        with self._lock:
            self._running.discard(data)
            if not self._closed:
                with suppress(MachineError):  # no thread to spare: raised where the part is read
                    self._go_on()

    def _drop(self, parts: Sequence[Part]) -> None:
        for part in parts:
            if part.data is not None:
                part.data.cancel()
            part.data = None
            self._held.remove(part)
