"""Reads of one object by ranges, remembered by checksums, so that damage in transit is found.

Storage sends no checksum with a range. So ranges are read by whole pages, and each page's crc32c is
kept: a page that is read twice must be the same twice, and all pages together are held against the
checksum of the object, where the storage keeps one.
"""

import threading
from array import array
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

from runtime.errors import DamagedInTransit
from runtime.storage.checksum import combine, crc32c, encode

PAGE_BYTES: Final = 4 << 10  # as disks and memory have them: little is read beyond a range
_PIECE_PAGES: Final = 2048  # 8 MiB: of one request that reads again
_PIECES_AT_ONCE: Final = 4
_TRIES: Final = 3

T = TypeVar("T")
Span = tuple[int, int]
"""First page, page past the last."""


def read_again(action: Callable[[], T]) -> T:
    """Result of an action that reads, begun anew while bytes are damaged on their way to it."""
    for _ in range(_TRIES - 1):
        with suppress(DamagedInTransit):
            return action()
    return action()


def damaged_on_the_way(name: str, what: str) -> DamagedInTransit:
    """Error of bytes of an object that changed on their way."""
    return DamagedInTransit(
        f"{name}: damaged on the way: {what}",
        hint="it is read again; if it goes on, check disk and network of this machine",
    )


class CheckedReads:
    """Reads of one version of an object; threads may share it.

    Args:
        name: of the object, for errors.
        size: its bytes.
        expected: its crc32c as the storage knows it; None where it knows none.
        read: reads a range; returns fewer bytes only where the object was cut since.
    """

    def __init__(
        self, name: str, size: int, expected: str | None, read: Callable[[int, int], bytes]
    ) -> None:
        self._name = name
        self._size = size
        self._expected = expected
        self._read = read
        pages = -(-size // PAGE_BYTES)
        self._crcs = array("I", bytes(4 * pages))
        self._read_pages = bytearray(pages)  # 1 where the page was read
        self._lock = threading.Lock()
        self._whole = False
        self._proven = 0  # pages that were read when they were proven last

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`; fewer than `length` only at the object's end.

        Raises:
            DamagedInTransit: they are not those that an earlier read gave.
        """
        stop = min(offset + length, self._size)
        if length <= 0 or offset >= stop:
            return b""
        first, end = offset // PAGE_BYTES, -(-stop // PAGE_BYTES)
        data = self._fetch((first, end))
        begin = offset - first * PAGE_BYTES
        return data[begin : begin + stop - offset]  # no copy if it is all of them

    def verify(self) -> None:
        """Prove that the bytes read so far are the object's.

        What was not read is read too where that is less than what was, and all is held against the
        object's checksum; else what was read is read again.

        Raises:
            DamagedInTransit: they are not.
        """
        with self._lock:
            pages = bytes(self._read_pages)
        known = sum(pages)
        if self._whole or known == self._proven:
            return
        if self._expected is None or 2 * known < len(pages):
            self._read_again(_spans(pages, 1))
        else:
            self._read_again(_spans(pages, 0))
            self.check(self._value())
            known = len(pages)
        self._proven = known

    def check(self, crc: int) -> None:
        """Refuse the crc32c of all bytes, as they were read, unless it is the object's."""
        if self._expected is not None and encode(crc) != self._expected:
            raise self.damaged("its bytes have another crc32c than the object")

    def damaged(self, what: str) -> DamagedInTransit:
        """Error of bytes that changed on their way."""
        return damaged_on_the_way(self._name, what)

    def _fetch(self, span: Span) -> bytes:
        """Read pages and remember them."""
        begin, stop = span[0] * PAGE_BYTES, min(span[1] * PAGE_BYTES, self._size)
        data = self._read(begin, stop - begin)
        if len(data) == self._size and self._expected is not None:
            self.check(crc32c(data))
            self._whole = True  # nothing is left to be proven
        elif len(data) == stop - begin:
            self._record(span[0], data)
        return data

    def _record(self, first: int, data: bytes) -> None:
        found = array(
            "I", [crc32c(data[i : i + PAGE_BYTES]) for i in range(0, len(data), PAGE_BYTES)]
        )
        span = slice(first, first + len(found))
        with self._lock:
            before, known = self._crcs[span], self._read_pages[span]
            self._crcs[span] = found
            self._read_pages[span] = b"\1" * len(found)
        if any(known) and any(k and a != b for k, a, b in zip(known, before, found, strict=True)):
            raise self.damaged("read twice, and the bytes differ")

    def _read_again(self, spans: Iterable[Span]) -> None:
        pieces = [
            (first, min(first + _PIECE_PAGES, end))
            for begin, end in spans
            for first in range(begin, end, _PIECE_PAGES)
        ]
        if len(pieces) == 1:
            self._fetch(pieces[0])
        elif pieces:
            with ThreadPoolExecutor(_PIECES_AT_ONCE, thread_name_prefix="reread") as pool:
                for _ in pool.map(self._compare, pieces):
                    pass

    def _compare(self, span: Span) -> None:
        self._fetch(span)  # and keep no bytes

    def _value(self) -> int:
        """The crc32c of the whole object, all of whose pages are known."""
        total = 0
        for number, page in enumerate(self._crcs):
            total = combine(total, page, min(PAGE_BYTES, self._size - number * PAGE_BYTES))
        return total


def _spans(pages: bytes, wanted: int) -> Iterator[Span]:
    """Runs of pages with a mark."""
    begin = pages.find(wanted)
    while begin >= 0:
        end = pages.find(1 - wanted, begin)
        yield begin, end if end >= 0 else len(pages)
        begin = pages.find(wanted, end) if end >= 0 else -1
