"""Storage in a Google Cloud Storage bucket.

A shard is written as two temporary objects, body and head, that one compose request joins under the
final name. All requests are idempotent and share one retry loop; only the chunks of an upload are
retried by Google's client, which alone can resume an upload.
"""

import re
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any, Final, Self, TypeVar
from uuid import uuid4

import google.auth.exceptions
from google.api_core import exceptions as api
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.adapters import HTTPAdapter

from runtime import log, settings
from runtime.errors import ObjectNotFound, ShardliftError, UnreachableError, UsageError
from runtime.storage import gcs_errors
from runtime.storage.base import (
    DAY_S,
    TEMPORARY_PREFIX,
    ObjectInfo,
    Pieces,
    Storage,
    checked,
    is_temporary,
    source_stamp,
)
from runtime.storage.checksum import crc32c, encode
from runtime.storage.stream import BodyReader, ShardStream

_URL: Final = re.compile(r"gs://(?P<bucket>[a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?:/(?P<prefix>.*))?")
_TIMEOUT_S: Final = (10, 60)  # to connect, to wait for bytes
_MOST_CONNECTIONS: Final = 256  # kept; as many as commands have threads
_UPLOAD_CHUNK_BYTES: Final = 8 << 20  # a multiple of 256 KiB; held in memory
_LISTED_FIELDS: Final = "items(name,size,crc32c,updated,metadata),nextPageToken"
# Public objects are cached for an hour by default; a viewer would mix an old index with new bytes.
_CACHE_CONTROL: Final = "no-cache"

T = TypeVar("T")
Client = Any  # Google publishes no types
Blob = Any


def _client() -> Client:
    """Client of this process."""
    return _client_of(
        settings.get(settings.PROJECT_ID), settings.get(settings.STORAGE_EMULATOR_HOST)
    )


@cache
def _client_of(project: str | None, emulator: str | None) -> Client:
    """Client per project and endpoint, cached with its connections."""
    settings.disable_bucket_metadata_requests()
    if emulator:
        credentials = AnonymousCredentials()  # type: ignore[no-untyped-call] # Google's
        return _keep_connections(
            storage.Client(project=project or "local", credentials=credentials)
        )
    try:
        return _keep_connections(storage.Client(project=project))
    except google.auth.exceptions.DefaultCredentialsError as error:
        raise UsageError(
            "no Google Cloud credentials found", hint="gcloud auth application-default login"
        ) from error


def _keep_connections(client: Client) -> Client:
    """Let every thread keep a connection; the default keeps ten, and opens others each time."""
    adapter = HTTPAdapter(pool_maxsize=_MOST_CONNECTIONS)
    for scheme in ("https://", "http://"):
        client._http.mount(scheme, adapter)  # noqa: SLF001 - it has no public name
    return client


class GcsSource:
    """One generation of an object, read by ranges."""

    def __init__(self, home: "GcsStorage", info: ObjectInfo, generation: int) -> None:
        self.size = info.size
        self.stamp = source_stamp(info)
        self.requests = 0
        self._lock = threading.Lock()
        self._home = home
        self._blob = home.blob(info.path, generation=generation)
        self.name = f"{home.url}/{info.path}"

    def changed(self) -> bool:
        """False: a generation never changes."""
        return False

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`; fewer than `length` only at the object's end.

        Raises:
            ObjectNotFound: the object was replaced or removed since it was opened.
        """
        if length <= 0 or offset >= self.size:
            return b""
        with self._lock:
            self.requests += 1
        end = min(offset + length, self.size) - 1  # inclusive
        return bytes(
            self._home.call(
                self._blob,
                lambda: self._blob.download_as_bytes(
                    start=offset,
                    end=end,
                    raw_download=True,
                    checksum=None,
                    timeout=_TIMEOUT_S,
                    retry=None,
                ),
            )
        )

    def close(self) -> None:
        """Do nothing: no connection is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class GcsStorage(Storage):
    """Objects of a bucket below one prefix."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        found = _URL.fullmatch(self.url)
        if not found:
            raise UsageError(f"{url} is not a gs://bucket/prefix")
        prefix = found["prefix"]
        self._prefix = f"{checked(prefix)}/" if prefix else ""
        self._bucket = _client().bucket(found["bucket"])

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
        """The whole object, verified by its checksum."""
        blob = self.blob(checked(path))
        return bytes(
            self.call(
                blob,
                lambda: blob.download_as_bytes(raw_download=True, timeout=_TIMEOUT_S, retry=None),
            )
        )

    def source(self, path: str) -> GcsSource:
        """Open the present generation of an object for reading by ranges."""
        blob = self._loaded(path)
        return GcsSource(self, self._info(blob), blob.generation)

    def stat(self, path: str) -> ObjectInfo:
        """The listing entry of one object."""
        return self._info(self._loaded(path))

    def _loaded(self, path: str) -> Blob:
        blob = self.blob(checked(path))
        self.call(blob, lambda: blob.reload(timeout=_TIMEOUT_S, retry=None))
        return blob

    def list(self, prefix: str = "", *, broken_links: bool = False) -> Iterator[ObjectInfo]:
        """All objects whose path begins with `prefix`, sorted by path; one request per thousand."""
        del broken_links  # a bucket has no links
        return (info for info in self._list_all(prefix) if not is_temporary(info.path))

    def folders(self) -> Sequence[str]:
        """Names up to the first slash; one request per thousand."""
        names: set[str] = set()
        token: str | None = None
        while True:
            found, token = self.call(self._bucket, partial(self._folder_page, token))
            names.update(found)
            if not token:
                return sorted(name for name in names if not is_temporary(name))

    def _folder_page(self, token: str | None) -> tuple[Sequence[str], Any]:
        listing = self._bucket.list_blobs(
            prefix=self._prefix,
            delimiter="/",
            page_token=token,
            fields="prefixes,nextPageToken",
            timeout=_TIMEOUT_S,
            retry=None,
        )
        next(listing.pages, ())
        found = [name.removeprefix(self._prefix).rstrip("/") for name in listing.prefixes]
        return found, listing.next_page_token

    def _list_all(self, prefix: str) -> Iterator[ObjectInfo]:
        token: str | None = None
        while True:
            blobs, token = self.call(self._bucket, partial(self._page, prefix, token))
            yield from map(self._info, blobs)
            if not token:
                return

    def _page(self, prefix: str, token: str | None, size: int | None = None) -> tuple[Any, Any]:
        listing = self._bucket.list_blobs(
            prefix=self._prefix + prefix,
            page_token=token,
            page_size=size,
            fields=_LISTED_FIELDS,
            timeout=_TIMEOUT_S,
            retry=None,
        )
        page = next(listing.pages, ())
        return list(page), listing.next_page_token

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
        blob.metadata = dict(metadata) if metadata else None
        blob.upload_from_string(
            data,
            content_type=_content_type(blob.name),
            checksum="crc32c",
            if_generation_match=if_generation_match,
            timeout=_TIMEOUT_S,
            retry=None,
        )

    def write_shard(
        self,
        path: str,
        pieces: Pieces,
        head_bytes: int,
        confirm: Callable[[], None],
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """Upload the body as it is produced, then the head, then compose both under the name."""
        stream = ShardStream(pieces, head_bytes)
        with self._temporaries(checked(path)) as (head, body):
            self._upload_stream(body, stream)
            self._upload(head, stream.head, None)
            confirm()
            return self._compose(path, (head, body), stream, metadata)

    def _upload_stream(self, blob: Blob, stream: ShardStream) -> None:
        reader = BodyReader(stream)
        blob.chunk_size = _UPLOAD_CHUNK_BYTES  # set only here: it would also split downloads
        limit_s = settings.storage_retry_s()
        retry = DEFAULT_RETRY.with_timeout(limit_s).with_delay(initial=0.25, maximum=15)
        try:
            blob.upload_from_file(
                reader,
                content_type=_content_type(blob.name),
                checksum="crc32c",
                timeout=_TIMEOUT_S,
                retry=retry if limit_s else None,
            )
        except Exception as error:
            if reader.failed:  # the pieces raised, not the storage
                raise
            raise gcs_errors.to_shardlift_error(error, _name(blob)) from error

    def _compose(
        self,
        path: str,
        parts: Sequence[Blob],
        stream: ShardStream,
        metadata: Mapping[str, str] | None,
    ) -> ObjectInfo:
        final = self.blob(path)
        final.content_type = _content_type(path)
        final.metadata = dict(metadata) if metadata else None
        self.call(final, lambda: final.compose(list(parts), timeout=_TIMEOUT_S, retry=None))
        if final.crc32c != encode(stream.crc):
            self.delete(path)
            raise UnreachableError(f"{_name(final)}: not the bytes that were sent; deleted")
        return self._info(final)

    @contextmanager
    def _temporaries(self, path: str) -> Generator[tuple[Blob, Blob]]:
        """Two temporary objects for `path`, deleted on exit; a sweep removes what is left."""
        directory, _, name = path.rpartition("/")
        stem = f"{directory}/" * bool(directory) + f"{TEMPORARY_PREFIX}{name}-{uuid4().hex}"
        parts = self.blob(f"{stem}.head"), self.blob(f"{stem}.body")
        try:
            yield parts
        finally:
            for part in parts:
                with suppress(ShardliftError):
                    self._delete(part)

    def delete(self, path: str) -> bool:
        """Remove an object; False if there was none."""
        return self._delete(self.blob(checked(path)))

    def _delete(self, blob: Blob) -> bool:
        try:
            self.call(blob, lambda: blob.delete(timeout=_TIMEOUT_S, retry=None))
        except ObjectNotFound:
            return False
        return True

    def sweep_temporaries(self, older_than_s: float = DAY_S) -> int:
        """Remove `.tmp-*` objects older than `older_than_s`."""
        limit = datetime.now(UTC) - timedelta(seconds=older_than_s)
        old = [
            info.path
            for info in self._list_all("")
            if is_temporary(info.path) and info.updated < limit
        ]
        swept = sum(self._delete(self.blob(path)) for path in old)
        log.get().info(log.TEMPORARIES_SWEPT, url=self.url, objects=swept)
        return swept

    def check_readable(self) -> None:
        """Raise an error unless the bucket exists and can be listed."""
        self.call(self._bucket, lambda: self._page("", None, size=1))

    def check_writable(self) -> None:
        """Raise an error unless objects can be written and deleted, as replacing one needs."""
        blob = self.blob(f"{TEMPORARY_PREFIX}check-{uuid4().hex}")
        self._upload(blob, b"", None)
        self._delete(blob)

    def _info(self, blob: Blob) -> ObjectInfo:
        path = blob.name.removeprefix(self._prefix)
        return ObjectInfo(path, blob.size, blob.crc32c, blob.updated, blob.metadata or {})


def _content_type(name: str) -> str:
    is_json = name.endswith(".json") or name.rpartition("/")[2] == "info"
    return "application/json" if is_json else "application/octet-stream"


def _name(resource: Blob) -> str:
    bucket = getattr(resource, "bucket", None)
    return f"gs://{bucket.name}/{resource.name}" if bucket else f"gs://{resource.name}"
