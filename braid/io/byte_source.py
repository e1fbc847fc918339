"""Byte sources: objects of known size that are read by range.

The programs pass objects of their storage; for a bare path or gs:// URL `open_source` makes one, so
that the library is usable alone.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from braid.exceptions import InvalidShardFormatError, SourceNotFoundError
from braid.typing import BytesLike

__all__ = [
    "ByteSource",
    "BytesSource",
    "FileSource",
    "GcsSource",
    "is_held",
    "open_source",
    "page_bytes",
    "read_each",
    "read_exactly",
    "source_name",
]


@runtime_checkable
class ByteSource(Protocol):
    """Object of fixed size.

    Implementations may also have `name` (for errors), `requests`, `page_bytes` where they read by
    whole pages, and `is_held` where all bytes are in memory.
    """

    @property
    def size(self) -> int:
        """Bytes in the object."""
        ...

    def read_at(self, offset: int, length: int) -> BytesLike:
        """Read exactly `length` bytes from `offset`."""
        ...


class BytesSource:
    """Source of bytes in memory (or mapped)."""

    is_held = True

    def __init__(self, data: BytesLike, name: str = "bytes") -> None:
        self._view = memoryview(data).cast("B")
        self.name = name
        self.requests = 0

    @property
    def size(self) -> int:
        """Bytes in the buffer."""
        return len(self._view)

    def read_at(self, offset: int, length: int) -> memoryview:
        """View a range; nothing is copied."""
        self.requests += 1
        return self._view[offset : offset + length]


class FileSource:
    """Local file, read by `pread`, so that threads may share it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.fspath(path)
        self.requests = 0
        try:
            self._file = Path(path).open("rb", buffering=0)  # noqa: SIM115 (close() closes it)
        except FileNotFoundError:
            raise SourceNotFoundError(f"File not found: {self.name}") from None
        self._size = os.fstat(self._file.fileno()).st_size

    @property
    def size(self) -> int:
        """Bytes in the file when it was opened."""
        return self._size

    def read_at(self, offset: int, length: int) -> bytes:
        """Read a range; shorter only where the file ends."""
        self.requests += 1
        parts = []
        while length > 0:
            part = os.pread(self._file.fileno(), length, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Close the file; further reads fail."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class GcsSource:
    """Object on Google Cloud Storage, for a bare gs:// URL (the programs use their storage)."""

    def __init__(self, url: str) -> None:
        # Imported when used: it costs a second, and local work needs no cloud library.
        from google.cloud import storage  # noqa: PLC0415 (see above)

        bucket, _, path = url.removeprefix("gs://").partition("/")
        self.name = url
        self.requests = 0
        self._blob: Any = storage.Client().bucket(bucket).get_blob(path)
        if self._blob is None:
            raise SourceNotFoundError(f"File not found: {url}")

    @property
    def size(self) -> int:
        """Bytes in the object."""
        return int(self._blob.size)

    def read_at(self, offset: int, length: int) -> bytes:
        """Read a range in one request; one that comes short is requested once more.

        The whole object is compared with its checksum; a range has none.
        """
        if length <= 0:
            return b""
        if offset == 0 and length == self.size:
            self.requests += 1
            return bytes(self._blob.download_as_bytes(raw_download=True, checksum="crc32c"))
        data = self._read_range(offset, length)
        return data if len(data) == length else self._read_range(offset, length)

    def _read_range(self, offset: int, length: int) -> bytes:
        self.requests += 1
        end = offset + length - 1
        data = self._blob.download_as_bytes(start=offset, end=end, raw_download=True, checksum=None)
        return bytes(data)


def open_source(location: str | os.PathLike[str] | ByteSource) -> ByteSource:
    """Open a path or a gs:// URL; a source is returned as it is.

    Raises:
        SourceNotFoundError: there is no such file or object.
    """
    if not isinstance(location, str | os.PathLike):
        return location
    if isinstance(location, str) and location.startswith("gs://"):
        return GcsSource(location)
    return FileSource(location)


def source_name(source: ByteSource) -> str:
    """Name of a source in errors."""
    return str(getattr(source, "name", "source"))


def is_held(source: ByteSource) -> bool:
    """Whether all bytes of a source are in memory, or on their way into it."""
    return bool(getattr(source, "is_held", False))


def page_bytes(source: ByteSource) -> int:
    """Bytes of the pages that a source reads; 1 where it reads ranges as they are."""
    return int(getattr(source, "page_bytes", 1))


def read_exactly(source: ByteSource, offset: int, length: int) -> memoryview:
    """Read a range that must exist.

    Raises:
        InvalidShardFormatError: it goes beyond the object, or the object has shrunk.
    """
    if offset < 0 or length < 0 or offset + length > source.size:
        raise InvalidShardFormatError(
            f"{source_name(source)}: bytes {offset}+{length} lie beyond its {source.size} bytes"
        )
    data = memoryview(source.read_at(offset, length) if length else b"").cast("B")
    if len(data) != length:
        raise InvalidShardFormatError(
            f"{source_name(source)}: wanted {length} bytes at {offset}, got {len(data)}"
        )
    return data


def read_each(source: ByteSource, begins: Sequence[int], ends: Sequence[int]) -> list[memoryview]:
    """Read ranges that must exist; a source with `read_many` reads them at once.

    Raises:
        InvalidShardFormatError: one goes beyond the object, or the object has shrunk.
    """
    read_many = getattr(source, "read_many", None)
    if read_many is None or not begins or max(ends) > source.size:  # the last for its error
        return [read_exactly(source, a, b - a) for a, b in zip(begins, ends, strict=True)]
    lengths = [b - a for a, b in zip(begins, ends, strict=True)]
    found = [memoryview(data).cast("B") for data in read_many(begins, lengths)]
    for begin, length, data in zip(begins, lengths, found, strict=True):
        if len(data) != length:
            raise InvalidShardFormatError(
                f"{source_name(source)}: wanted {length} bytes at {begin}, got {len(data)}"
            )
    return found
