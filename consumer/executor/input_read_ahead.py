"""Input shards of a downsampling, read ahead in parts: they are used one after another, in order.

A shard file is read once: its head, the indices at its end, then its payloads in ascending order.
So parts are fetched in that order, as far ahead as they fit the bytes that may be held, and go when
all of their bytes were taken. What is read otherwise, or again, is requested as it is read.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Final

from braid.io.byte_source import read_exactly
from braid.typing import BytesLike
from memmodel.estimate import FETCHES_AT_ONCE, READ_AHEAD_BYTES, READ_AHEAD_PART_BYTES
from runtime.machine import translate_machine_errors
from runtime.storage import Source

Fetch = Future[BytesLike]
"""A part on its way, or here."""

_OPENED_AT_ONCE: Final = 8
_END_WAIT_S: Final = 1.0  # for what is on its way for nobody


class ReadAheadInput:
    """One input, of which parts are here, on their way, or used up.

    Args:
        source: the file.
        home: fetches parts, and counts what is held.
    """

    def __init__(self, source: Source, home: "InputReadAhead") -> None:
        self.source = source
        self.name = source.name
        self.size = source.size
        self._home = home
        count = -(-self.size // READ_AHEAD_PART_BYTES)
        self._parts: dict[int, Fetch] = {}
        self._left = [self.part_bytes(number) for number in range(count)]  # not taken yet

    @property
    def requests(self) -> int:
        """Number of requests to the source."""
        return self.source.requests

    def read_at(self, offset: int, length: int) -> BytesLike:
        """The bytes from `offset`; fewer than `length` only at the file's end."""
        end = min(offset + length, self.size)
        numbers = range(offset // READ_AHEAD_PART_BYTES, -(-end // READ_AHEAD_PART_BYTES))
        if any(self._left[number] <= 0 for number in numbers):  # read before
            return self.source.read_at(offset, length)
        pieces = [self._take(number, offset, end) for number in numbers]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def order(self) -> Iterator[int]:
        """Numbers of the parts, as they will be needed."""
        count = len(self._left)
        yield from range(min(1, count))
        yield from range(max(1, count - 1), count)
        yield from range(1, count - 1)

    def part_bytes(self, number: int) -> int:
        """Size of a part."""
        return min(READ_AHEAD_PART_BYTES, self.size - number * READ_AHEAD_PART_BYTES)

    def begin(self, number: int, fetch: Callable[[Callable[[], BytesLike]], Fetch]) -> int:
        """Begin to fetch a part; bytes that are held for it from now on."""
        if number in self._parts or self._left[number] <= 0:
            return 0
        self._parts[number] = fetch(partial(self.fetch_part, number))
        return self.part_bytes(number)

    def fetch_part(self, number: int) -> BytesLike:
        """Request a part."""
        return read_exactly(self.source, number * READ_AHEAD_PART_BYTES, self.part_bytes(number))

    def drop(self) -> None:
        """Hold nothing any more, and have nothing fetched."""
        for number in range(len(self._left)):
            self._drop(number)

    def _take(self, number: int, begin: int, end: int) -> memoryview:
        at = number * READ_AHEAD_PART_BYTES
        self._home.want(self, number)
        data = memoryview(self._parts[number].result())
        piece = data[max(0, begin - at) : end - at]
        self._left[number] -= len(piece)
        if self._left[number] <= 0:
            self._drop(number)
        return piece

    def _drop(self, number: int) -> None:
        self._left[number] = 0
        part = self._parts.pop(number, None)
        if part is not None:
            part.cancel()
            self._home.freed(self.part_bytes(number))


class InputReadAhead:
    """All inputs of a shard, opened at once and read ahead in the order given.

    Args:
        open_input: opens an input.
        inputs: that will be opened, in that order.
    """

    def __init__(self, open_input: Callable[[int], Source], inputs: Sequence[int]) -> None:
        self._lock = threading.RLock()
        self._held = 0
        self._ended = False
        self._fetching = ThreadPoolExecutor(FETCHES_AT_ONCE, thread_name_prefix="fetch")
        self._opening = ThreadPoolExecutor(_OPENED_AT_ONCE, thread_name_prefix="open")
        self._running: set[Fetch] = set()
        with translate_machine_errors():
            self._opened = {
                number: self._opening.submit(self._open, open_input, number) for number in inputs
            }
        self._ahead = self._schedule()
        self._next: tuple[ReadAheadInput, int] | None = None
        for opened in self._opened.values():
            opened.add_done_callback(lambda _: self._go_on())

    def take(self, number: int) -> ReadAheadInput:
        """An opened input.

        Raises:
            ObjectNotFound: there is none.
        """
        return self._opened[number].result()

    def want(self, file: ReadAheadInput, number: int) -> None:
        """Begin to fetch a part that is read now, if it is not on its way."""
        with self._lock:
            self._held += file.begin(number, self._fetch)

    def freed(self, size: int) -> None:
        """Note that so many bytes are not held any more."""
        with self._lock:
            self._held -= size
            self._go_on()

    def close(self) -> None:
        """Fetch no more."""
        with self._lock:
            self._ended = True
            running = [one for one in self._running if one.running()]
        for pool in (self._opening, self._fetching):
            pool.shutdown(wait=False, cancel_futures=True)
        wait(running, _END_WAIT_S)

    def _open(self, open_input: Callable[[int], Source], number: int) -> ReadAheadInput:
        return ReadAheadInput(open_input(number), self)

    def _schedule(self) -> Iterator[tuple[ReadAheadInput, int] | None]:
        """Parts in the order of use; None while it is not known which is next."""
        for opened in self._opened.values():
            while not opened.done():
                yield None
            if not opened.cancelled() and opened.exception() is None:
                file = opened.result()
                yield from ((file, number) for number in file.order())

    def _go_on(self) -> None:
        """Begin to fetch what fits."""
        with self._lock:
            while not self._ended:
                self._next = self._next or next(self._ahead, None)
                if self._next is None:
                    return
                file, number = self._next
                if self._held and self._held + file.part_bytes(number) > READ_AHEAD_BYTES:
                    return
                self._held += file.begin(number, self._fetch)
                self._next = None

    def _fetch(self, request: Callable[[], BytesLike]) -> Fetch:
        with translate_machine_errors():
            future = self._fetching.submit(request)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return future
