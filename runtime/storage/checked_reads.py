"""Reads of one object by ranges, remembered by checksums, so that damage in transit is found.

Storage sends no checksum with a range. So ranges are read by whole pages, and each page's crc32c is
kept: a page that is read twice must be the same twice, and all pages together are held against the
checksum of the object, where the storage keeps one.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

from runtime.errors import DamagedInTransit
from runtime.storage.checksum import combine, crc32c, encode

PAGE_BYTES: Final = 64 << 10  # the gap that readers merge ranges over anyway
_PIECE_PAGES: Final = 128  # 8 MiB: of one request that reads again
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
        self._pages: list[int | None] = [None] * -(-size // PAGE_BYTES)
        self._lock = threading.Lock()
        self._known = 0
        self._proven = 0

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`; fewer than `length` only at the object's end.

        Raises:
            DamagedInTransit: they are not those that an earlier read gave.
        """
        stop = min(offset + length, self._size)
        if length <= 0 or offset >= stop:
            return b""
        first, end = offset // PAGE_BYTES, -(-stop // PAGE_BYTES)
        data = self._read_pages((first, end))
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
            pages, known = list(self._pages), self._known
        if known == self._proven:
            return
        missing = len(pages) - known
        if self._expected is None or missing > known:
            self._read_again(_spans([page is not None for page in pages]))
            self._proven = known
            return
        self._read_again(_spans([page is None for page in pages]))
        if encode(self._value()) != self._expected:
            raise self.damaged("its bytes as read have another crc32c than the object")
        self._proven = self._known

    def damaged(self, what: str) -> DamagedInTransit:
        """Error of bytes that changed on their way."""
        return DamagedInTransit(
            f"{self._name}: damaged on the way: {what}",
            hint="it is read again; if it goes on, check disk and network of this machine",
        )

    def _read_pages(self, span: Span) -> bytes:
        begin, stop = span[0] * PAGE_BYTES, min(span[1] * PAGE_BYTES, self._size)
        data = self._read(begin, stop - begin)
        if len(data) == stop - begin:
            self._record(span[0], data)
        return data

    def _record(self, first: int, data: bytes) -> None:
        found = [crc32c(data[at : at + PAGE_BYTES]) for at in range(0, len(data), PAGE_BYTES)]
        with self._lock:
            known = self._pages[first : first + len(found)]
            self._pages[first : first + len(found)] = found
            self._known += known.count(None)
        if any(old not in {None, new} for old, new in zip(known, found, strict=True)):
            raise self.damaged("read twice, and the bytes differ")

    def _read_again(self, spans: Iterable[Span]) -> None:
        pieces = [
            (first, min(first + _PIECE_PAGES, end))
            for begin, end in spans
            for first in range(begin, end, _PIECE_PAGES)
        ]
        if len(pieces) == 1:
            self._read_pages(pieces[0])
        elif pieces:
            with ThreadPoolExecutor(_PIECES_AT_ONCE, thread_name_prefix="reread") as pool:
                for _ in pool.map(self._forget_bytes, pieces):
                    pass

    def _forget_bytes(self, span: Span) -> None:
        self._read_pages(span)

    def _value(self) -> int:
        """The crc32c of the whole object, all of whose pages are known."""
        total = 0
        for number, page in enumerate(self._pages):
            length = min(PAGE_BYTES, self._size - number * PAGE_BYTES)
            total = combine(total, page or 0, length)
        return total


def _spans(wanted: Sequence[bool]) -> Iterator[Span]:
    """Runs of pages that are wanted."""
    begin: int | None = None
    for number, page in enumerate([*wanted, False]):
        if page and begin is None:
            begin = number
        elif not page and begin is not None:
            yield begin, number
            begin = None
