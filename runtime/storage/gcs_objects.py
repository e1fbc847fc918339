"""Objects of a bucket below one prefix, whole: read, written and removed, with retries.

All requests are idempotent and share one retry loop.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

from google.api_core import exceptions as api

from runtime import settings
from runtime.errors import DamagedInTransit, ObjectNotFound, PermanentError, UsageError
from runtime.storage import gcs_errors
from runtime.storage.base import UPLOAD_AGAIN, ObjectInfo, checked, source_stamp
from runtime.storage.checksum import crc32c, encode, unpacked
from runtime.storage.gcs_client import client
from runtime.storage.gcs_errors import reading_answer
from runtime.storage.gcs_page import UNKNOWN
from runtime.storage.gcs_source import TIMEOUT_S, GcsSource

_URL: Final = re.compile(r"gs://(?P<bucket>[a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?:/(?P<prefix>.*))?")
_BUCKET_NAMES: Final = (
    "a bucket's name has 3 to 222 lower-case letters, digits, dashes, dots and underscores, and "
    "begins and ends with a letter or digit"
)
# Public objects are cached for an hour by default; a viewer would mix an old index with new bytes.
_CACHE_CONTROL: Final = "no-cache"

T = TypeVar("T")
Blob = Any  # Google publishes no types


class GcsObjects:
    """Objects of a bucket below one prefix.

    Args:
        url: `gs://bucket/prefix`.

    Attributes:
        bucket: the client's handle of it.
        prefix: of the names; empty, or ends with a slash.

    Raises:
        UsageError: it is another URL.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        found = _URL.fullmatch(self.url)
        if not found:
            raise UsageError(f"{url} is not a gs://bucket/prefix", hint=_BUCKET_NAMES)
        prefix = found["prefix"]
        self.prefix = f"{checked(prefix)}/" if prefix else ""
        payer = settings.get(settings.USER_PROJECT)
        self.bucket: Blob = client().bucket(found["bucket"], user_project=payer)

    def blob(self, path: str, generation: int | None = None) -> Blob:
        """Client handle of an object, which need not exist."""
        blob = self.bucket.blob(self.prefix + path, generation=generation)
        blob.cache_control = _CACHE_CONTROL
        return blob

    def call(self, blob: Blob, request: Callable[[], T]) -> T:
        """Make a request with retries; errors are ShardliftError and name the object."""
        with gcs_errors.translate_errors(name_of(blob)):
            return gcs_errors.call_with_retry(request)

    def call_if_unchanged(self, blob: Blob, request: Callable[[], object]) -> bool:
        """Make a request that names the object's generation; False if another one is there."""

        def attempt() -> bool:
            try:
                request()
            except api.PreconditionFailed:
                return False
            return True

        return self.call(blob, attempt)

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

    def source(self, path: str) -> GcsSource:
        """Open the present generation of an object for reading by ranges.

        Raises:
            PermanentError: it is stored as gzip, which has no ranges.
        """
        blob = self._loaded(path)
        return GcsSource(self, _unpacked_only(blob, self.info(blob)), blob.generation)

    def stat(self, path: str) -> ObjectInfo:
        """The listing entry of one object."""
        return self.info(self._loaded(path))

    def present(self, path: str, crc: str) -> ObjectInfo | None:
        """The present object if it holds these bytes."""
        with suppress(ObjectNotFound):
            info = self.stat(path)
            return info if info.crc32c == crc else None
        return None

    def generation(self, path: str) -> int:
        """The present generation of an object; 0, as preconditions have it, if there is none."""
        try:
            return generation_of(self._loaded(path))
        except ObjectNotFound:
            return 0

    def _loaded(self, path: str) -> Blob:
        checked(path)

        def attempt() -> Blob:
            blob = self.blob(path)  # anew: one with an unreadable answer fails again
            blob.reload(timeout=TIMEOUT_S, retry=None)
            self.info(blob)  # refuses an answer that cannot be read
            return blob

        return self.call(self.blob(path), attempt)

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
                return tries > 1 and self.present(path, encode(crc32c(data))) is not None
            except DamagedInTransit:  # what is there now is ours, and wrong
                seen = generation_of(blob)
                blob.delete(timeout=TIMEOUT_S, retry=None, if_generation_match=seen)
                raise
            return True

        return self.call(blob, attempt)

    def upload(self, blob: Blob, data: bytes, metadata: Mapping[str, str] | None = None) -> None:
        """Write an object, replacing any other."""
        self.call(blob, lambda: self._upload_once(blob, data, metadata))

    def _upload_once(
        self,
        blob: Blob,
        data: bytes,
        metadata: Mapping[str, str] | None,
        if_generation_match: int | None = None,
    ) -> None:
        if metadata:  # never null, over which some servers stumble
            blob.metadata = dict(metadata)
        blob.upload_from_string(
            data,
            content_type=content_type(blob.name),
            checksum="crc32c",
            if_generation_match=if_generation_match,
            timeout=TIMEOUT_S,
            retry=None,
        )
        _check_sums(blob, data)  # as the answer describes the new object
        self.info(blob)  # refuses an answer that cannot be read

    def delete(self, blob: Blob) -> bool:
        """Remove an object; False if there was none."""
        try:
            self.call(blob, lambda: blob.delete(timeout=TIMEOUT_S, retry=None))
        except ObjectNotFound:
            return False
        return True

    def delete_generation(self, path: str, seen: int) -> bool:
        """Delete an object unless it was replaced; False if it was."""
        blob = self.blob(checked(path))
        delete = partial(blob.delete, if_generation_match=seen, timeout=TIMEOUT_S, retry=None)
        try:
            return self.call_if_unchanged(blob, delete)
        except ObjectNotFound:  # also after a lost answer
            return True

    def info(self, blob: Blob) -> ObjectInfo:
        """The listing entry of an object whose properties are known.

        Raises:
            DamagedInTransit: the answer with them cannot be read.
        """
        generation_of(blob)
        with reading_answer(name_of(blob)):
            return ObjectInfo(
                blob.name.removeprefix(self.prefix),
                blob.size or 0,  # some servers leave a size of 0 out
                blob.crc32c,
                blob.updated,
                blob.metadata or {},
                content_encoding=blob.content_encoding or None,
            )


def content_type(name: str) -> str:
    """Media type of an object, by its name."""
    is_json = name.endswith(".json") or name.rpartition("/")[2] == "info"
    return "application/json" if is_json else "application/octet-stream"


def generation_of(blob: Blob) -> int:
    """The generation of an object, as an answer gave it.

    Raises:
        DamagedInTransit: the answer cannot be read.
    """
    with reading_answer(name_of(blob)):
        return int(blob.generation)


def name_of(resource: Blob) -> str:
    """URL of an object or a bucket, for messages."""
    bucket = getattr(resource, "bucket", None)
    return f"gs://{bucket.name}/{resource.name}" if bucket else f"gs://{resource.name}"


def _unpacked_only(blob: Blob, info: ObjectInfo) -> ObjectInfo:
    """The entry of an object, unless that is stored in a packed form."""
    if info.packed:
        raise PermanentError(f"{name_of(blob)}: {info.packed}", hint=UPLOAD_AGAIN)
    return info


def _check_sums(blob: Blob, data: bytes) -> None:
    """Refuse bytes that are not those whose checksum the storage gave with its answer."""
    if blob.crc32c != encode(crc32c(data)):
        raise DamagedInTransit(
            f"{name_of(blob)}: damaged on the way: {len(data)} bytes, not the object's crc32c",
            hint="it is tried again; if it goes on, check the network of this machine",
        )
