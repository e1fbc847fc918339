"""Storage interface: objects below one root; every write is atomic.

A path is relative to the root, with `/` between its parts (`16x16x16/0fe9.shard`). A listing never
contains a temporary object; a read never returns part of an object that is being written. Checksums
are crc32c as GCS prints them: base64 of the big-endian value.

Transient errors are retried inside and end as `UnreachableError`; a missing object is
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
"""Generator of the body of a file; returns the head, which stands before the body."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """Entry of a listing.

    Attributes:
        path: relative to the storage's root.
        size: bytes.
        crc32c: base64, or None where the storage keeps none (a local listing).
        updated: when it was last written, in UTC.
        metadata: set by the writer; None where the storage keeps none (then read the object).
        modified_ns: time of the last write in full precision, where the storage tells it.
        broken_link: a link whose target is missing; listed only on request.
    """

    path: str
    size: int
    crc32c: str | None
    updated: datetime
    metadata: Mapping[str, str] | None
    modified_ns: int | None = None
    broken_link: bool = False


def source_stamp(info: ObjectInfo) -> str:
    """Stamp of an object that others write: another one after any change of its bytes.

    Size and checksum; where the storage keeps no checksum, size and the time of the last write.
    """
    if info.crc32c is not None:
        return f"{info.size}-{info.crc32c}"
    if info.modified_ns is not None:
        return f"{info.size}-{info.modified_ns}"
    return f"{info.size}-{info.updated.isoformat()}"


class Source(Protocol):
    """One object read by byte ranges; the interface that `braid` reads from."""

    @property
    def size(self) -> int:
        """Total number of bytes."""

    @property
    def name(self) -> str:
        """Path or URL, for error messages."""

    @property
    def stamp(self) -> str:
        """`source_stamp` of the object that was opened, not of one that replaced it since."""

    def changed(self) -> bool:
        """Whether bytes read since it was opened may be of another version than its stamp's."""

    @property
    def requests(self) -> int:
        """Number of ranges requested so far; on GCS each is billed."""

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`; fewer than `length` only at the object's end."""

    def close(self) -> None:
        """Release the object; reading afterwards is an error."""


class Storage(ABC):
    """Objects below one root: a local directory or a prefix in a bucket."""

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
        """Open the present version of an object for reading by ranges.

        If the object is replaced, reads return the old bytes or raise, never a mixture.
        """

    @abstractmethod
    def stat(self, path: str) -> ObjectInfo:
        """The listing entry of one object."""

    def exists(self, path: str) -> bool:
        """Whether there is an object."""
        try:
            self.stat(path)
        except ObjectNotFound:
            return False
        return True

    @abstractmethod
    def list(self, prefix: str = "", *, broken_links: bool = False) -> Iterator[ObjectInfo]:
        """All objects whose path begins with `prefix`, at any depth, sorted by path.

        Args:
            prefix: of the paths.
            broken_links: list links without a target too, as entries of size 0 that say so.
        """

    @abstractmethod
    def folders(self) -> Sequence[str]:
        """First parts of all paths that have several, sorted; does not list their contents."""

    @abstractmethod
    def write(self, path: str, data: bytes, metadata: Mapping[str, str] | None = None) -> None:
        """Write an object, replacing any other."""

    @abstractmethod
    def create(self, path: str, data: bytes, metadata: Mapping[str, str] | None = None) -> bool:
        """Write an object if there is none; exactly one of several writers gets True."""

    @abstractmethod
    def write_shard(
        self,
        path: str,
        pieces: Pieces,
        head_bytes: int,
        confirm: Callable[[], None],
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """Write a file whose head is known only when its body is complete; atomic.

        Args:
            path: of the file; replaces any other.
            pieces: generator of the body that returns the head.
            head_bytes: length of the head.
            confirm: called once, just before the file appears; if it raises, it does not.
            metadata: stored with the object, where the storage keeps metadata.

        Returns:
            The new object, always with its crc32c.

        Errors of `pieces` and `confirm` are raised as they are; then no file is left behind.
        """

    @abstractmethod
    def delete(self, path: str) -> bool:
        """Remove an object; False if there was none."""

    @abstractmethod
    def sweep_temporaries(self, older_than_s: float = DAY_S) -> int:
        """Remove temporary objects left by killed writers; returns their number."""

    @abstractmethod
    def check_readable(self) -> None:
        """Raise UsageError or UnreachableError if the root cannot be read."""

    @abstractmethod
    def check_writable(self) -> None:
        """Raise UsageError or UnreachableError if the root cannot be written."""


def checked(path: str) -> str:
    """Validate a path and return it.

    Raises:
        UsageError: it is empty or absolute, would leave the root, or names a temporary object.
    """
    parts = path.split("/")
    if any(part in {"", ".", ".."} for part in parts) or "\0" in path:
        raise UsageError(f"{path!r} is not a path below a storage's root")
    if is_temporary(path):
        raise UsageError(f"{path!r} names a temporary object, which is swept away")
    return path


def is_temporary(path: str) -> bool:
    """Whether a part of the path is the name of a temporary object."""
    return path.startswith(TEMPORARY_PREFIX) or f"/{TEMPORARY_PREFIX}" in path
