"""A local file that is read by ranges."""

import contextlib
import os
import threading
from pathlib import Path
from typing import Self

from runtime.storage import files
from runtime.storage.base import source_stamp
from runtime.storage.local_listing import file_info
from runtime.storage.remembered_reads import RememberedReads


class LocalSource:
    """One file read by ranges; if it is replaced, reads keep returning the old bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self.requests = 0
        self._lock = threading.Lock()
        with files.translate_read_errors(path):
            self._file = files.open_regular(path)
        found = os.fstat(self._file.fileno())
        self.size = found.st_size
        self.stamp = source_stamp(file_info(self.name, found))
        self._reads = RememberedReads(self.name, self.size, self._read)

    def changed(self) -> bool:
        """Whether the file was written since it was opened; one that took its place is another."""
        return source_stamp(file_info(self.name, os.fstat(self._file.fileno()))) != self.stamp

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`; fewer than `length` only at the file's end."""
        return self._reads.read_at(offset, length)

    def verify(self, *, doubted: bool = False) -> None:
        """Read again what was read, if it is doubted: a file has no checksum to be held against."""
        if not doubted:
            return
        # Else the system gives the bytes that it holds; macOS has no such call.
        with contextlib.suppress(AttributeError, OSError):
            os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        self._reads.verify()

    def _read(self, offset: int, length: int) -> bytes:
        with self._lock:
            self.requests += 1
        fd = self._file.fileno()
        with files.translate_read_errors(self.path):
            data = more = os.pread(fd, length, offset)
            while more and len(data) < length and offset + len(data) < self.size:
                more = os.pread(fd, length - len(data), offset + len(data))  # none: it was cut
                data += more
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
