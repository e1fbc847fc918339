"""One generation of an object in a bucket, read by ranges that are checked."""

import threading
from collections.abc import Callable
from typing import Any, Final, Protocol, Self, TypeVar

from runtime.storage.base import ObjectInfo, source_stamp
from runtime.storage.checked_reads import CheckedReads
from runtime.storage.checksum import crc32c

TIMEOUT_S: Final = (10, 60)  # to connect, to wait for bytes

T = TypeVar("T")


class Bucket(Protocol):
    """What a source needs of its storage."""

    url: str

    def blob(self, path: str, generation: int | None = None) -> Any:  # noqa: ANN401 - Google publishes no types
        """Client handle of an object."""

    def call(self, blob: Any, request: Callable[[], T]) -> T:  # noqa: ANN401 - as above
        """Make a request with retries."""


class GcsSource:
    """One generation of an object, read by ranges; threads may share it."""

    def __init__(self, home: Bucket, info: ObjectInfo, generation: int) -> None:
        self.size = info.size
        self.stamp = source_stamp(info)
        self.requests = 0
        self.name = f"{home.url}/{info.path}"
        self._lock = threading.Lock()
        self._home = home
        self._blob = home.blob(info.path, generation=generation)
        self._reads = CheckedReads(self.name, info.size, info.crc32c, self._fetch)

    def changed(self) -> bool:
        """False: a generation never changes."""
        return False

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`; fewer than `length` only at the object's end.

        Raises:
            ObjectNotFound: the object was replaced or removed since it was opened.
        """
        return self._reads.read_at(offset, length)

    def verify(self, *, doubted: bool = False) -> None:
        """Prove that the bytes read so far are the object's; see `Source.verify`."""
        del doubted  # the object's checksum tells in any case
        self._reads.verify()

    def close(self) -> None:
        """Do nothing: no connection is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _fetch(self, offset: int, length: int) -> bytes:
        """Request a range, again while what comes is short or is not the object."""

        def attempt() -> bytes:
            with self._lock:
                self.requests += 1
            data = bytes(
                self._blob.download_as_bytes(
                    start=offset,
                    end=offset + length - 1,  # inclusive
                    raw_download=True,
                    checksum=None,  # the client knows none for a range
                    timeout=TIMEOUT_S,
                    retry=None,
                )
            )
            self._check(data, length)
            return data

        return self._home.call(self._blob, attempt)

    def _check(self, data: bytes, length: int) -> None:
        if len(data) != length:
            raise self._reads.damaged(f"{len(data)} bytes came for {length}")
        if length == self.size:
            self._reads.check(crc32c(data))
