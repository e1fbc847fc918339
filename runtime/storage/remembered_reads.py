"""Reads of one file by ranges, remembered by checksums, so that a doubted one is made again.

A disk knows no checksum of a file. Ranges are read as they are, since pages around them would be
read again with the ranges beside.
"""

import threading
from array import array
from collections.abc import Callable

from runtime.storage.checked_reads import damaged_on_the_way
from runtime.storage.checksum import crc32c


class RememberedReads:
    """Reads of one version of a file; threads may share it.

    Args:
        name: of the file, for errors.
        size: its bytes.
        read: reads a range; returns fewer bytes only where the file was cut since.
    """

    def __init__(self, name: str, size: int, read: Callable[[int, int], bytes]) -> None:
        self._name = name
        self._size = size
        self._read = read
        self._lock = threading.Lock()
        self._offsets = array("Q")
        self._lengths = array("Q")
        self._crcs = array("I")
        self._proven = 0  # ranges that were read again

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`; fewer than `length` only at the file's end."""
        length = min(length, self._size - offset)
        if length <= 0:
            return b""
        data = self._read(offset, length)
        crc = crc32c(data)
        with self._lock:
            self._offsets.append(offset)
            self._lengths.append(len(data))
            self._crcs.append(crc)
        return data

    def verify(self) -> None:
        """Read again what was read since the last time.

        Raises:
            DamagedInTransit: the bytes differ.
        """
        with self._lock:
            ranges = list(zip(self._offsets, self._lengths, self._crcs, strict=True))
        for offset, length, crc in ranges[self._proven :]:
            if crc32c(self._read(offset, length)) != crc:
                raise damaged_on_the_way(self._name, "read twice, and the bytes differ")
        self._proven = len(ranges)
