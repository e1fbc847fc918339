"""Storage interface: objects below one root; every write is atomic.

A path is relative to the root, with `/` between its parts (`16x16x16/0fe9.shard`). A listing never
contains a temporary object; a read never returns part of an object that is being written. Checksums
are crc32c as GCS prints them: base64 of the big-endian value.

Transient errors are retried inside and end as `UnreachableError`; a missing object is
`ObjectNotFound`; missing rights are `UsageError`.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, Protocol
from uuid import uuid4

from runtime.errors import ObjectNotFound, UnreachableError, UsageError

TEMPORARY_PREFIX: Final = ".tmp-"
DAY_S: Final = 86_400
_PACKED: Final = {"gzip", "x-gzip", "deflate", "br", "zstd", "compress"}
UPLOAD_AGAIN: Final = (
    "copy it to a local folder, which unpacks it, and upload it again without gcloud's "
    "--gzip-local (-z, -Z)"
)
OWNER: Final = "shardlift"
"""Owner of temporary objects that belong to no run."""

MOST_REPLACEMENTS: Final = 5  # by others while one shard is published

_OWNED: Final = re.compile(
    re.escape(TEMPORARY_PREFIX) + r".+~(?P<owner>[A-Za-z0-9._-]+)~[0-9a-f]{32}(\.head|\.body)?"
)

_DOUBTFUL: Final = re.compile(r"/[/.]|\0")  # in a path; what else is no name is at its ends

Pieces = Generator[bytes, None, bytes]
"""Generator of the body of a file; returns the head, which stands before the body."""


class ObjectInfo(NamedTuple):
    """Entry of a listing.

    Attributes:
        path: relative to the storage's root.
        size: bytes.
        crc32c: base64, or None where the storage keeps none (a local listing).
        updated: when it was last written, in UTC.
        metadata: set by the writer; None where the storage keeps none (then read the object).
        modified_ns: time of the last write in full precision, where the storage tells it.
        broken_link: a link whose target is missing; listed only on request.
        content_encoding: set by the writer, such as `gzip`; then a range is not one of the content.
    """

    path: str
    size: int
    crc32c: str | None
    updated: datetime
    metadata: Mapping[str, str] | None
    modified_ns: int | None = None
    broken_link: bool = False
    content_encoding: str | None = None

    @property
    def packed(self) -> str | None:
        """Why no range of it can be read, if its bytes are a packed form of the content."""
        if (self.content_encoding or "").lower() not in _PACKED:
            return None
        return f"stored with Content-Encoding {self.content_encoding}, so it has no byte ranges"


@dataclass(frozen=True, slots=True)
class Overview:
    """What lies directly below a root.

    Attributes:
        files: entries of the objects without a slash in their path, by path.
        folders: first parts of all other paths; a link without a target counts as one.
    """

    files: Mapping[str, ObjectInfo]
    folders: frozenset[str]


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
        """The bytes from `offset`; fewer than `length` only at the object's end.

        Raises:
            DamagedInTransit: they are known not to be the object's.
        """

    def verify(self, *, doubted: bool = False) -> None:
        """Prove that the bytes read so far are the object's: by its checksum, or read twice.

        To be called before anything made from ranges is published, and before a fault in them is
        blamed on the object. Free where the object was read whole.

        Args:
            doubted: something in the bytes is wrong; a storage without checksums reads them again
                only then.

        Raises:
            DamagedInTransit: they are not; a retry may help.
        """

    def close(self) -> None:
        """Release the object; reading afterwards is an error."""


class Storage(ABC):
    """Objects below one root: a local directory or a prefix in a bucket."""

    url: str
    """The root, absolute: a directory or `gs://bucket/prefix`, without a slash at the end."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The whole object."""

    def read_stamped(self, path: str) -> tuple[bytes, str]:
        """The whole object as others wrote it, and its stamp.

        Raises:
            UnreachableError: it was written meanwhile; a retry may help.
        """
        source = self.source(path)
        try:
            data = source.read_at(0, source.size)
            if len(data) != source.size or source.changed():
                raise changed_meanwhile(source.name)
            return data, source.stamp
        finally:
            source.close()

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
    def list(
        self, prefix: str = "", *, broken_links: bool = False, first: str = "", last: str = ""
    ) -> Iterator[ObjectInfo]:
        """All objects whose path begins with `prefix`, at any depth, sorted by path.

        Args:
            prefix: of the paths.
            broken_links: list links without a target too, as entries of size 0 that say so.
            first: leave out those before this path.
            last: leave out those after this path, if given.
        """

    def list_parts(self, prefix: str, bounds: Sequence[str]) -> Iterator[ObjectInfo]:
        """All objects whose path begins with `prefix`, a long listing by parts at the same time.

        Args:
            prefix: of the paths.
            bounds: paths in order, between which lie so many objects as one request lists.
        """
        del bounds  # here a listing is one piece
        return self.list(prefix)

    @abstractmethod
    def folders(self) -> Sequence[str]:
        """First parts of all paths that have several, sorted; does not list their contents."""

    @abstractmethod
    def overview(self) -> Overview:
        """What lies directly below the root; does not list the contents of folders."""

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
        *,
        owner: str = OWNER,
        is_new: bool = False,
    ) -> ObjectInfo:
        """Write a file whose head is known only when its body is complete; atomic.

        The file replaces only the version that was there before `confirm` was called: a request
        that takes effect late, after another writer's, changes nothing. If another writer came
        first, `confirm` is called again before that writer's file is replaced.

        Args:
            path: of the file; replaces any other.
            pieces: generator of the body that returns the head.
            head_bytes: length of the head.
            confirm: called just before the file appears; if it raises, it does not.
            metadata: stored with the object, where the storage keeps metadata.
            owner: of its temporary objects: a run's id.
            is_new: probably there is no such file yet, so it is not looked for first.

        Returns:
            The new object, always with its crc32c.

        Errors of `pieces` and `confirm` are raised as they are; then no file is left behind.
        """

    @abstractmethod
    def delete_shard(self, path: str, confirm: Callable[[], None]) -> bool:
        """Remove the version of a file that was there before `confirm` was called.

        Args:
            path: of the file.
            confirm: called just before; if it raises, the file stays. Called again if another
                writer replaced the file meanwhile.

        Returns:
            Whether there was a file.
        """

    @abstractmethod
    def delete(self, path: str) -> bool:
        """Remove an object; False if there was none."""

    @abstractmethod
    def sweep_temporaries(
        self, owners: Container[str] = (OWNER,), older_than_s: float = DAY_S
    ) -> int:
        """Remove temporary objects left by killed writers; returns their number.

        Only those whose name has our pattern and one of these owners: what other programs or
        other runs call temporary stays. Age is judged by the storage's own clock.
        """

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
    if path and path[0] not in "/." and path[-1] != "/" and not _DOUBTFUL.search(path):
        return path  # as nearly all; a ledger's are thousands
    parts = path.split("/")
    if any(part in {"", ".", ".."} for part in parts) or "\0" in path:
        raise UsageError(f"{path!r} is not a path below a storage's root")
    if is_temporary(path):
        raise UsageError(f"{path!r} names a temporary object, which is swept away")
    return path


def changed_meanwhile(name: str) -> UnreachableError:
    """The error for an object that was written or removed while it was read."""
    return UnreachableError(
        f"{name}: changed while it was read",
        hint="wait until the export is complete and copied; the shard is tried again",
    )


def is_temporary(path: str) -> bool:
    """Whether a part of the path is the name of a temporary object."""
    return path.startswith(TEMPORARY_PREFIX) or f"/{TEMPORARY_PREFIX}" in path


def temporary_name(name: str, owner: str) -> str:
    """A unique name for the temporary object of `name`, from which its owner can be told."""
    return f"{TEMPORARY_PREFIX}{name}~{owner}~{uuid4().hex}"


def is_owned(path: str, owners: Container[str]) -> bool:
    """Whether the last part of a path names a temporary object of one of these owners."""
    found = _OWNED.fullmatch(path.rpartition("/")[2])
    return found is not None and found["owner"] in owners


def replaced_too_often(name: str) -> UnreachableError:
    """The error for a shard that other writers replace as often as it is published."""
    return UnreachableError(
        f"{name}: replaced by another writer each time it was to be published",
        hint="does another program, or a run below another state root, write this volume?",
    )
