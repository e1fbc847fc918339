"""The contract of storage: objects under one root, whole or not at all.

A path is relative to the root, with `/` between its parts (`16x16x16/0fe9.shard`). Whoever lists
never sees a temporary object; whoever reads never sees half an object. Checksums are crc32c as
GCS prints them: base64 of the big-endian value.

Transient trouble is retried inside and ends as `UnreachableError`; a missing object is
`ObjectNotFound`; missing rights are `UsageError`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from runtime.errors import ObjectNotFound, UsageError

TEMPORARY_PREFIX: Final = ".tmp-"
DAY_S: Final = 86_400

Pieces = Generator[bytes, None, bytes]
"""Yields the body of a file and returns its head, which stands before the body."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a listing says of one object.

    Attributes:
        path: relative to the storage's root.
        size: bytes.
        crc32c: base64, or None where the storage keeps none (a local listing).
        updated: when it was last written, in UTC.
        metadata: the writer's own, or None where the storage keeps none: then read the object.
    """

    path: str
    size: int
    crc32c: str | None
    updated: datetime
    metadata: Mapping[str, str] | None


class Source(Protocol):
    """One object to be read by byte ranges; the shape `braid` reads from."""

    @property
    def size(self) -> int:
        """Bytes in all."""

    @property
    def name(self) -> str:
        """Path or URL, for errors."""

    @property
    def requests(self) -> int:
        """Ranges asked for so far; on GCS each is billed."""

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`; fewer than `length` only at the object's end."""

    def close(self) -> None:
        """Let go of the object; reading afterwards is an error."""


class Storage(ABC):
    """Objects under one root, which may be a local directory or a prefix in a bucket."""

    url: str
    """The root, absolute: a directory or `gs://bucket/prefix`, without a slash at the end."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The whole object."""

    def read_at(self, path: str, offset: int, length: int) -> bytes:
        """The bytes from `offset`; fewer than `length` only at the object's end."""
        source = self.source(path)
        try:
            return source.read_at(offset, length)
        finally:
            source.close()

    @abstractmethod
    def source(self, path: str) -> Source:
        """The object for reading by ranges, held to the state it has now.

        If it is replaced meanwhile, reads give the old bytes or an error, never a mixture.
        """

    @abstractmethod
    def stat(self, path: str) -> ObjectInfo:
        """What a listing would say of it."""

    def exists(self, path: str) -> bool:
        """Whether there is an object."""
        try:
            self.stat(path)
        except ObjectNotFound:
            return False
        return True

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects whose path begins with `prefix`, at any depth, sorted by path."""

    @abstractmethod
    def folders(self) -> Sequence[str]:
        """The first parts of all paths that have several, sorted; costs no look into them."""

    @abstractmethod
    def write(self, path: str, data: bytes, metadata: Mapping[str, str] | None = None) -> None:
        """Write an object, replacing any other."""

    @abstractmethod
    def create(self, path: str, data: bytes, metadata: Mapping[str, str] | None = None) -> bool:
        """Write an object if there is none; False if there is. One of many writers gets True."""

    @abstractmethod
    def write_shard(
        self,
        path: str,
        pieces: Pieces,
        head_bytes: int,
        confirm: Callable[[], None],
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """Stream a file whose head is known only when its body is written.

        Args:
            path: where it appears, whole, replacing any other.
            pieces: yields the body, returns the head.
            head_bytes: length of the head.
            confirm: called once, just before the file appears; if it raises, nothing does.
            metadata: kept with the object, where the storage keeps any.

        Returns:
            The new object, always with its crc32c.

        Raises whatever `pieces` or `confirm` raise; then nothing is published and no trace stays.
        """

    @abstractmethod
    def delete(self, path: str) -> bool:
        """Remove an object; False if there was none."""

    @abstractmethod
    def sweep_temporaries(self, older_than_s: float = DAY_S) -> int:
        """Remove what killed writers left behind; how many objects that were."""

    @abstractmethod
    def check_readable(self) -> None:
        """Raise the one-line error a user needs if nothing can be read at this root."""

    @abstractmethod
    def check_writable(self) -> None:
        """Raise the one-line error a user needs if nothing can be written at this root."""


def checked(path: str) -> str:
    """The path itself, if it is one.

    Raises:
        UsageError: it is empty or absolute, would leave the root, or names a temporary object.
    """
    parts = path.split("/")
    if any(part in {"", ".", ".."} for part in parts) or "\0" in path:
        raise UsageError(f"{path!r} is no path below a storage's root")
    if is_temporary(path):
        raise UsageError(f"{path!r} names a temporary object, which is swept away")
    return path


def is_temporary(path: str) -> bool:
    """Whether a part of the path has the name of something half-written."""
    return path.startswith(TEMPORARY_PREFIX) or f"/{TEMPORARY_PREFIX}" in path
