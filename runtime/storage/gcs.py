"""Storage in a Google Cloud Storage bucket.

A shard of a few MiB is uploaded in one request. A larger one is written as two temporary objects,
body and head; parts of the body are on their way while more is made. A compose request makes the
shard of these under its final name. All requests are idempotent and share one retry loop; only the
chunks of an upload are retried by Google's client, which alone can resume an upload.
"""

import re
from collections import deque
from collections.abc import (
    Callable,
    Container,
    Generator,
    Iterator,
    Mapping,
    MutableSequence,
    Sequence,
)
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta
from functools import cache, partial
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypeVar

from google.api_core import exceptions as api
from google.cloud.storage.retry import DEFAULT_RETRY

from runtime import log, settings
from runtime.errors import (
    DamagedInTransit,
    ObjectNotFound,
    PermanentError,
    ShardliftError,
    UnreachableError,
    UsageError,
)
from runtime.machine import translate_machine_errors
from runtime.storage import gcs_errors
from runtime.storage.background_upload import BackgroundUpload, PartReader
from runtime.storage.base import (
    DAY_S,
    MOST_REPLACEMENTS,
    OWNER,
    UPLOAD_AGAIN,
    ObjectInfo,
    Overview,
    Pieces,
    Storage,
    checked,
    is_owned,
    is_temporary,
    replaced_too_often,
    source_stamp,
    temporary_name,
)
from runtime.storage.checksum import crc32c, encode, unpacked
from runtime.storage.gcs_client import MOST_AT_ONCE_BYTES, client
from runtime.storage.gcs_listing import LISTED_FIELDS, UNKNOWN, ListingPage, read_page
from runtime.storage.gcs_source import TIMEOUT_S, GcsSource
from runtime.storage.stream import ShardStream

_URL: Final = re.compile(r"gs://(?P<bucket>[a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?:/(?P<prefix>.*))?")
_PART_BYTES: Final = 8 << 20  # of an upload; a multiple of 256 KiB, two are held in memory
_REQUESTS_BESIDE: Final = 8  # of threads that make a shard's small requests
_LISTINGS_AT_ONCE: Final = 16
_FOLDER_FIELDS: Final = "prefixes,nextPageToken"
# Public objects are cached for an hour by default; a viewer would mix an old index with new bytes.
_CACHE_CONTROL: Final = "no-cache"

T = TypeVar("T")
Blob = Any  # Google publishes no types


class _Made(NamedTuple):
    """A shard that is made, and the request by which it appears.

    Attributes:
        appear: over this generation alone, as this handle; False if another is there.
    """

    path: str
    crc: int
    metadata: Mapping[str, str] | None
    appear: Callable[[Blob, int], bool]


class GcsStorage(Storage):
    """Objects of a bucket below one prefix."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        found = _URL.fullmatch(self.url)
        if not found:
            raise UsageError(f"{url} is not a gs://bucket/prefix")
        prefix = found["prefix"]
        self._prefix = f"{checked(prefix)}/" if prefix else ""
        payer = settings.get(settings.USER_PROJECT)
        self._bucket = client().bucket(found["bucket"], user_project=payer)
        self._deletes_parts: bool | None = None  # a compose request; None: not seen yet

    def blob(self, path: str, generation: int | None = None) -> Blob:
        """Client handle of an object, which need not exist."""
        blob = self._bucket.blob(self._prefix + path, generation=generation)
        blob.cache_control = _CACHE_CONTROL
        return blob

    def call(self, blob: Blob, request: Callable[[], T]) -> T:
        """Make a request with retries; errors are ShardliftError and name the object."""
        with gcs_errors.translate_errors(_name(blob)):
            return gcs_errors.call_with_retry(request)

    def read(self, path: str) -> bytes:
        """The whole object, verified by its checksum; one that is stored as gzip is unpacked."""
        blob = self.blob(checked(path))
        return self.call(blob, partial(self._read_once, blob))

    def read_stamped(self, path: str) -> tuple[bytes, str]:
        """The whole object and its stamp, in one request.

        Raises:
            PermanentError: it is stored as gzip.
        """
        blob = self.blob(checked(path))
        data = self.call(blob, partial(self._download_once, blob))
        encoding = blob.content_encoding or None
        info = ObjectInfo(path, len(data), blob.crc32c, UNKNOWN, None, content_encoding=encoding)
        return data, source_stamp(_unpacked_only(blob, info))

    def _read_once(self, blob: Blob) -> bytes:
        data = self._download_once(blob)
        return unpacked(data) if blob.content_encoding == "gzip" else data

    @staticmethod
    def _download_once(blob: Blob) -> bytes:
        data = bytes(
            blob.download_as_bytes(
                raw_download=True,  # what the checksum is of
                checksum=None,
                timeout=TIMEOUT_S,
                retry=None,
            )
        )
        if blob.crc32c is None:  # the header of this answer, which real storage sends
            blob.reload(timeout=TIMEOUT_S, retry=None)
        _check_sums(blob, data)
        return data

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
        blob = self._loaded(path)
        return GcsSource(self, _unpacked_only(blob, self._info(blob)), blob.generation)

    def stat(self, path: str) -> ObjectInfo:
        """The listing entry of one object."""
        return self._info(self._loaded(path))

    def _loaded(self, path: str) -> Blob:
        blob = self.blob(checked(path))
        self.call(blob, lambda: blob.reload(timeout=TIMEOUT_S, retry=None))
        return blob

    def list(
        self, prefix: str = "", *, broken_links: bool = False, first: str = "", last: str = ""
    ) -> Iterator[ObjectInfo]:
        """All objects whose path begins with `prefix`, sorted by path; one request per thousand."""
        del broken_links  # a bucket has no links
        return (
            info
            for info in self._list_all(prefix, first, last)
            if not is_temporary(info.path) and not _is_folder(info)
        )

    def list_parts(self, prefix: str, bounds: Sequence[str]) -> Iterator[ObjectInfo]:
        """The same, sorted; what the first request leaves is listed by parts at the same time."""
        found, _, token = self.call(self._bucket, partial(self._page, prefix, None))
        if token and not found:  # nothing says where to go on
            return self.list(prefix)
        if token:
            reached = found[-1].path
            later = [reached, *(bound for bound in bounds if bound > reached), ""]
            with ThreadPoolExecutor(_LISTINGS_AT_ONCE, thread_name_prefix="list") as pool:
                parts = pool.map(partial(self._part, prefix), pairwise(later))
                found += [info for part in parts for info in part]
        infos = {info.path: info for info in found}  # bounds are listed twice
        return (i for i in infos.values() if not is_temporary(i.path) and not _is_folder(i))

    def _part(self, prefix: str, ends: tuple[str, str]) -> Sequence[ObjectInfo]:
        """What lies between two paths, with both."""
        return list(self._list_all(prefix, *ends))

    def folders(self) -> Sequence[str]:
        """Names up to the first slash; one request per thousand."""
        return sorted(self._level(_FOLDER_FIELDS).folders)

    def overview(self) -> Overview:
        """Objects without a slash, and names up to the first slash; one request per thousand."""
        return self._level(f"prefixes,{LISTED_FIELDS}")

    def _level(self, fields: str) -> Overview:
        """What lies directly below the prefix, as far as these fields tell."""
        found: dict[str, ObjectInfo] = {}
        names: set[str] = set()
        token: str | None = None
        while True:
            page = self.call(self._bucket, partial(self._level_page, fields, token))
            shown = (i for i in page.infos if not is_temporary(i.path) and not _is_folder(i))
            found |= {info.path: info for info in shown}
            names.update(name.removeprefix(self._prefix).rstrip("/") for name in page.folders)
            token = page.token
            if not token:
                return Overview(found, frozenset(n for n in names if not is_temporary(n)))

    def _level_page(self, fields: str, token: str | None) -> ListingPage:
        listing = self._bucket.list_blobs(
            prefix=self._prefix,
            delimiter="/",
            page_token=token,
            fields=fields,
            timeout=TIMEOUT_S,
            retry=None,
        )
        return read_page(listing, self._prefix)

    def _list_all(self, prefix: str, first: str = "", last: str = "") -> Iterator[ObjectInfo]:
        token: str | None = None
        while True:
            page = partial(self._page, prefix, token, first=first, last=last)
            infos, _, token = self.call(self._bucket, page)
            yield from infos
            if not token:
                return

    def _page(
        self,
        prefix: str,
        token: str | None,
        size: int | None = None,
        *,
        first: str = "",
        last: str = "",
    ) -> ListingPage:
        listing = self._bucket.list_blobs(
            prefix=self._prefix + prefix,
            page_token=token,
            page_size=size,
            start_offset=self._prefix + first if first else None,
            end_offset=f"{self._prefix}{last} " if last else None,  # the first name left out
            fields=LISTED_FIELDS,
            timeout=TIMEOUT_S,
            retry=None,
        )
        return read_page(listing, self._prefix)

    def write(self, path: str, data: bytes, metadata: Mapping[str, str] | None = None) -> None:
        """Write an object, replacing any other."""
        self._upload(self.blob(checked(path)), data, metadata)

    def create(self, path: str, data: bytes, metadata: Mapping[str, str] | None = None) -> bool:
        """Write an object if there is none; False if there is."""
        # A lost response may hide our own success: after a retry, equal bytes count as ours.
        blob = self.blob(checked(path))
        tries = 0

        def attempt() -> bool:
            nonlocal tries
            tries += 1
            try:
                self._upload_once(blob, data, metadata, if_generation_match=0)
            except api.PreconditionFailed:
                return tries > 1 and self._holds(path, data)
            except DamagedInTransit:  # what is there now is ours, and wrong
                blob.delete(timeout=TIMEOUT_S, retry=None, if_generation_match=blob.generation)
                raise
            return True

        return self.call(blob, attempt)

    def _holds(self, path: str, data: bytes) -> bool:
        with suppress(ObjectNotFound):
            return self.stat(path).crc32c == encode(crc32c(data))
        return False

    def _upload(self, blob: Blob, data: bytes, metadata: Mapping[str, str] | None) -> None:
        self.call(blob, lambda: self._upload_once(blob, data, metadata))

    @staticmethod
    def _upload_once(
        blob: Blob,
        data: bytes,
        metadata: Mapping[str, str] | None,
        if_generation_match: int | None = None,
    ) -> None:
        if metadata:  # never null, over which some servers stumble
            blob.metadata = dict(metadata)
        blob.upload_from_string(
            data,
            content_type=_content_type(blob.name),
            checksum="crc32c",
            if_generation_match=if_generation_match,
            timeout=TIMEOUT_S,
            retry=None,
        )
        _check_sums(blob, data)  # as the answer describes the new object

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
        seen = _beside((lambda: 0) if is_new else partial(self._generation, path))
        stream = ShardStream(pieces, head_bytes)
        with closing(iter(stream)) as body:
            begin, complete = _first_pieces(body, MOST_AT_ONCE_BYTES - head_bytes)
            before = seen.result()
            with self._temporaries(path, owner) as parts:
                if complete:
                    del parts[1:]
                    self._upload(parts[0], b"".join([stream.head, *begin]), None)
                else:
                    self._upload_parts(parts, stream, _and_then(begin, body))
                appear = partial(self._composed, parts, stream.crc)
                made = _Made(path, stream.crc, metadata, appear)
                return self._publish(made, confirm, before)

    def _publish(self, made: _Made, confirm: Callable[[], None], seen: int) -> ObjectInfo:
        """Let a shard appear over the generation that was seen, each time after `confirm`."""
        for _ in range(MOST_REPLACEMENTS):
            confirm()
            info = self._published(made, seen)
            if info is not None:
                return info
            seen = self._generation(made.path)
        raise replaced_too_often(f"{self.url}/{made.path}")

    def delete_shard(self, path: str, confirm: Callable[[], None]) -> bool:
        """Remove the generation of an object that was there before `confirm` was called."""
        for _ in range(MOST_REPLACEMENTS):
            seen = self._generation(path)
            confirm()
            if not seen:
                return False
            if self._delete_generation(path, seen):
                return True
        raise replaced_too_often(f"{self.url}/{path}")

    def _generation(self, path: str) -> int:
        """The present generation of an object; 0, as preconditions have it, if there is none."""
        try:
            return int(self._loaded(path).generation)
        except ObjectNotFound:
            return 0

    def _delete_generation(self, path: str, seen: int) -> bool:
        """Delete an object unless it was replaced; False if it was."""
        blob = self.blob(checked(path))

        def attempt() -> bool:
            try:
                blob.delete(if_generation_match=seen, timeout=TIMEOUT_S, retry=None)
            except api.PreconditionFailed:
                return False
            return True

        try:
            return self.call(blob, attempt)
        except ObjectNotFound:  # also after a lost answer
            return True

    def _upload_parts(
        self, parts: Sequence[Blob], stream: ShardStream, body: Iterator[bytes]
    ) -> None:
        """Upload the body as it comes, and the head beside the last part."""
        head, rest = parts
        upload = BackgroundUpload(partial(self._upload_body, rest), _PART_BYTES)
        with upload.running():
            for piece in body:
                upload.put(piece)
            upload.complete()
            self._upload(head, stream.head, None)
            upload.wait()

    @staticmethod
    def _upload_body(blob: Blob, reader: PartReader) -> None:
        blob.chunk_size = _PART_BYTES  # set only here: it would also split downloads
        limit_s = settings.storage_retry_s()
        transient = DEFAULT_RETRY._predicate  # noqa: SLF001 - no public name
        retry = (
            DEFAULT_RETRY.with_timeout(limit_s)
            .with_delay(initial=0.25, maximum=15)
            .with_predicate(lambda error: not reader.closed and transient(error))
        )
        try:
            blob.upload_from_file(
                reader,
                content_type=_content_type(blob.name),
                checksum="crc32c",
                timeout=TIMEOUT_S,
                retry=retry if limit_s else None,
            )
        except Exception as error:
            if reader.closed:  # the upload was given up
                raise
            raise gcs_errors.upload_error(error, _name(blob)) from error

    def _published(self, made: _Made, seen: int) -> ObjectInfo | None:
        """Let a shard appear under its name; None if another writer's came first."""
        final, crc = self.blob(made.path), encode(made.crc)
        final.content_type = _content_type(made.path)
        if made.metadata:
            final.metadata = dict(made.metadata)
        if not made.appear(final, seen):
            # Either our own, whose answer was lost, or another writer's: its bytes tell.
            return self._present(made.path, crc)
        if final.crc32c == crc:
            return self._info(final)
        info = self._present(made.path, crc)  # the answer may be what was damaged
        if info is None and self._delete_generation(made.path, int(final.generation)):
            raise DamagedInTransit(
                f"{_name(final)}: not the bytes that were sent; deleted",
                hint="the shard is made again",
            )
        return info

    def _composed(self, made: MutableSequence[Blob], crc: int, final: Blob, seen: int) -> bool:
        """Make the compose request; False if the present generation is not the one seen.

        Args:
            made: the parts; removed from it once they are composed, which deletes them.
            crc: of the whole.
            final: the object to be made.
            seen: its generation to be replaced.
        """

        def attempt() -> bool:
            try:
                final.compose(
                    list(made),
                    delete_source_objects=True,
                    if_generation_match=seen,
                    timeout=TIMEOUT_S,
                    retry=None,
                )
            except api.PreconditionFailed:
                return False
            if self._composing_deletes(made[0]):
                made.clear()
            return True

        try:
            return self.call(final, attempt)
        except ObjectNotFound as error:  # an object with its generation is a part of ours
            path = final.name.removeprefix(self._prefix)
            if self._present(path, encode(crc)) is not None:  # composed; the answer was lost
                return False
            raise UnreachableError(
                f"{_name(final)}: its parts were deleted before it was composed",
                hint="no rule of the bucket may delete objects that are hours old",
            ) from error

    def _present(self, path: str, crc: str) -> ObjectInfo | None:
        """The present object if it holds these bytes."""
        with suppress(ObjectNotFound):
            info = self.stat(path)
            return info if info.crc32c == crc else None
        return None

    def _composing_deletes(self, part: Blob) -> bool:
        """Whether the service deletes composed parts when asked; seen once, by one of them.

        Google's does; some others that speak its protocol pass the request over.
        """
        if self._deletes_parts is None:
            self._deletes_parts = not self.call(part, partial(part.exists, timeout=TIMEOUT_S))
        return self._deletes_parts

    @contextmanager
    def _temporaries(self, path: str, owner: str) -> Generator[MutableSequence[Blob]]:
        """Two temporary objects for `path`; those left in it are deleted on exit.

        A sweep removes what is left in the bucket.
        """
        directory, _, name = path.rpartition("/")
        stem = f"{directory}/" * bool(directory) + temporary_name(name, owner)
        parts = [self.blob(f"{stem}.head"), self.blob(f"{stem}.body")]
        try:
            yield parts
        finally:
            deleted = [_beside(partial(self._delete, part)) for part in parts]
            for one in deleted:
                with suppress(ShardliftError):
                    one.result()

    def delete(self, path: str) -> bool:
        """Remove an object; False if there was none."""
        return self._delete(self.blob(checked(path)))

    def _delete(self, blob: Blob) -> bool:
        try:
            self.call(blob, lambda: blob.delete(timeout=TIMEOUT_S, retry=None))
        except ObjectNotFound:
            return False
        return True

    def sweep_temporaries(
        self, owners: Container[str] = (OWNER,), older_than_s: float = DAY_S
    ) -> int:
        """Remove temporary objects of these owners that are older than `older_than_s`."""
        found = [info for info in self._list_all("") if is_owned(info.path, owners)]
        limit = self._clock() - timedelta(seconds=older_than_s) if found else None
        old = [info.path for info in found if limit and info.updated < limit]
        swept = sum(self._delete(self.blob(path)) for path in old)
        log.get().info(log.TEMPORARIES_SWEPT, url=self.url, objects=swept)
        return swept

    def _clock(self) -> datetime:
        """The time by the service's clock: ours may be wrong by days."""
        blob = self.blob(temporary_name("clock", OWNER))
        self._upload(blob, b"", None)
        written: datetime = blob.updated
        self._delete(blob)
        return written

    def check_readable(self) -> None:
        """Raise an error unless the bucket exists and can be listed."""
        self.call(self._bucket, lambda: self._page("", None, size=1))

    def check_writable(self) -> None:
        """Raise an error unless objects can be written and deleted, as replacing one needs."""
        blob = self.blob(temporary_name("check", OWNER))
        self._upload(blob, b"", None)
        self._delete(blob)

    def _info(self, blob: Blob) -> ObjectInfo:
        path = blob.name.removeprefix(self._prefix)
        return ObjectInfo(
            path,
            blob.size or 0,  # some servers leave a size of 0 out
            blob.crc32c,
            blob.updated,
            blob.metadata or {},
            content_encoding=blob.content_encoding or None,
        )


@cache
def _threads() -> ThreadPoolExecutor:
    """Threads that stay: to start them for each shard would cost more than they do."""
    return ThreadPoolExecutor(_REQUESTS_BESIDE, thread_name_prefix="storage")


def _beside(request: Callable[[], T]) -> Future[T]:
    """Make a request in another thread."""
    with translate_machine_errors():
        return _threads().submit(request)


def _first_pieces(body: Iterator[bytes], most_bytes: int) -> tuple[deque[bytes], bool]:
    """Take pieces while they hold no more than this, or one piece more; and whether all came."""
    taken: deque[bytes] = deque()
    held = 0
    for piece in body:
        taken.append(piece)
        held += len(piece)
        if held > most_bytes:
            return taken, False
    return taken, True


def _and_then(begin: deque[bytes], rest: Iterator[bytes]) -> Iterator[bytes]:
    """Pieces, each let go when the next is taken."""
    while begin:
        yield begin.popleft()
    yield from rest


def _unpacked_only(blob: Blob, info: ObjectInfo) -> ObjectInfo:
    """The entry of an object, unless that is stored in a packed form."""
    if info.packed:
        raise PermanentError(f"{_name(blob)}: {info.packed}", hint=UPLOAD_AGAIN)
    return info


def _check_sums(blob: Blob, data: bytes) -> None:
    """Refuse bytes that are not those whose checksum the storage gave with its answer."""
    if blob.crc32c != encode(crc32c(data)):
        raise DamagedInTransit(
            f"{_name(blob)}: damaged on the way: {len(data)} bytes, not the object's crc32c",
            hint="it is tried again; if it goes on, check the network of this machine",
        )


def _is_folder(info: ObjectInfo) -> bool:
    """Whether an object only stands for a folder, as consoles and other tools make them."""
    return info.size == 0 and (not info.path or info.path.endswith("/"))


def _content_type(name: str) -> str:
    is_json = name.endswith(".json") or name.rpartition("/")[2] == "info"
    return "application/json" if is_json else "application/octet-stream"


def _name(resource: Blob) -> str:
    bucket = getattr(resource, "bucket", None)
    return f"gs://{bucket.name}/{resource.name}" if bucket else f"gs://{resource.name}"
