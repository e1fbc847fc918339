"""Storage in a Google Cloud Storage bucket."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial

from runtime import log, log_events
from runtime.errors import PermanentError
from runtime.storage.base import (
    DAY_S,
    OWNER,
    ObjectInfo,
    Overview,
    Pieces,
    Storage,
    checked,
    is_owned,
    temporary_name,
)
from runtime.storage.gcs_composition import GcsComposition, UploadedShard
from runtime.storage.gcs_listing import GcsListing
from runtime.storage.gcs_objects import GcsObjects
from runtime.storage.gcs_source import GcsSource
from runtime.storage.gcs_upload import FirstPieces, GcsUpload, beside
from runtime.storage.stream import ShardStream


class GcsStorage(Storage):
    """Objects of a bucket below one prefix."""

    def __init__(self, url: str) -> None:
        self._objects = GcsObjects(url)
        self.url = self._objects.url
        self._listing = GcsListing(self._objects)
        self._upload = GcsUpload(self._objects)
        self._composition = GcsComposition(self._objects)

    def read(self, path: str) -> bytes:
        """The whole object, verified by its checksum; one that is stored as gzip is unpacked."""
        return self._objects.read(path)

    def read_stamped(self, path: str) -> tuple[bytes, str]:
        """The whole object and its stamp, in one request.

        Raises:
            PermanentError: it is stored as gzip.
        """
        return self._objects.read_stamped(path)

    def read_at(self, path: str, offset: int, length: int) -> bytes:
        """The bytes from `offset`; of an object that is stored as gzip, unpacked whole."""
        try:
            return super().read_at(path, offset, length)
        except PermanentError:
            return self.read(path)[offset : offset + length]

    def source(self, path: str) -> GcsSource:
        """Open the present generation of an object for reading by ranges.

        Raises:
            PermanentError: it is stored as gzip, which has no ranges.
        """
        return self._objects.source(path)

    def stat(self, path: str) -> ObjectInfo:
        """The listing entry of one object."""
        return self._objects.stat(path)

    def list(
        self, prefix: str = "", *, broken_links: bool = False, first: str = "", last: str = ""
    ) -> Iterator[ObjectInfo]:
        """All objects whose path begins with `prefix`, sorted by path; one request per thousand."""
        del broken_links  # a bucket has no links
        return self._listing.objects(prefix, first, last)

    def list_parts(self, prefix: str, bounds: Sequence[str]) -> Iterator[ObjectInfo]:
        """The same, sorted; what the first request leaves is listed by parts at the same time."""
        return self._listing.objects_by_parts(prefix, bounds)

    def folders(self) -> Sequence[str]:
        """Names up to the first slash; one request per thousand."""
        return self._listing.folders()

    def overview(self) -> Overview:
        """Objects without a slash, and names up to the first slash; one request per thousand."""
        return self._listing.overview()

    def write(self, path: str, data: bytes, metadata: Mapping[str, str] | None = None) -> None:
        """Write an object, replacing any other."""
        self._objects.upload(self._objects.blob(checked(path)), data, metadata)

    def create(self, path: str, data: bytes, metadata: Mapping[str, str] | None = None) -> bool:
        """Write an object if there is none; False if there is."""
        return self._objects.create(path, data, metadata)

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
        """Upload a small file in one request, of a larger one the body as it is produced; compose.

        Composing a small file too keeps its upload out of the time between `confirm` and the
        moment at which it appears.
        """
        seen = beside((lambda: 0) if is_new else partial(self._objects.generation, path))
        stream = ShardStream(pieces, head_bytes)
        with closing(iter(stream)) as body:
            begin = FirstPieces.of(body, head_bytes)
            before = seen.result()
            with self._upload.temporaries(path, owner) as parts:
                self._upload.upload(parts, stream, begin, body)
                shard = UploadedShard(path, parts, stream.crc, metadata)
                return self._composition.publish(shard, confirm, before)

    def delete_shard(self, path: str, confirm: Callable[[], None]) -> bool:
        """Remove the generation of an object that was there before `confirm` was called."""
        return self._composition.delete(path, confirm)

    def delete(self, path: str) -> bool:
        """Remove an object; False if there was none."""
        return self._objects.delete(self._objects.blob(checked(path)))

    def sweep_temporaries(
        self, owners: Container[str] = (OWNER,), older_than_s: float = DAY_S
    ) -> int:
        """Remove temporary objects of these owners that are older than `older_than_s`."""
        found = [info for info in self._listing.all("") if is_owned(info.path, owners)]
        limit = self._clock() - timedelta(seconds=older_than_s) if found else None
        old = [info.path for info in found if limit and info.updated < limit]
        swept = sum(self._objects.delete(self._objects.blob(path)) for path in old)
        log.get().info(log_events.TEMPORARIES_SWEPT, url=self.url, objects=swept)
        return swept

    def _clock(self) -> datetime:
        """The time by the service's clock: ours may be wrong by days."""
        blob = self._objects.blob(temporary_name("clock", OWNER))
        self._objects.upload(blob, b"")
        written: datetime = blob.updated
        self._objects.delete(blob)
        return written

    def check_readable(self) -> None:
        """Raise an error unless the bucket exists and can be listed."""
        self._listing.check()

    def check_writable(self) -> None:
        """Raise an error unless objects can be written and deleted, as replacing one needs."""
        blob = self._objects.blob(temporary_name("check", OWNER))
        self._objects.upload(blob, b"")
        self._objects.delete(blob)
