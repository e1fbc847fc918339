"""Uploads of shards to a bucket, as temporary objects that are then composed.

A shard of a few MiB is uploaded in one request. A larger one is written as two temporary objects,
body and head; parts of the body are on their way while more is made. Only the chunks of an upload
are retried by Google's client, which alone can resume an upload.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, MutableSequence, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache, partial
from typing import Final, NamedTuple, Self, TypeVar

from runtime.errors import ShardliftError
from runtime.machine import translate_machine_errors
from runtime.storage import gcs_errors
from runtime.storage.background_upload import BackgroundUpload, PartReader
from runtime.storage.base import temporary_name
from runtime.storage.gcs_client import MOST_AT_ONCE_BYTES, upload_retry
from runtime.storage.gcs_objects import Blob, GcsObjects, content_type, generation_of, name_of
from runtime.storage.gcs_source import TIMEOUT_S
from runtime.storage.stream import ShardStream

_PART_BYTES: Final = 8 << 20  # of an upload; a multiple of 256 KiB, two are held in memory
_REQUESTS_BESIDE: Final = 8  # of threads that make a shard's small requests

T = TypeVar("T")


class FirstPieces(NamedTuple):
    """The begin of a shard's body.

    Attributes:
        complete: whether it is the whole body, which is uploaded at once.
    """

    pieces: deque[bytes]
    complete: bool

    @classmethod
    def of(cls, body: Iterator[bytes], head_bytes: int) -> Self:
        """Take pieces while one request holds them and the head, or one piece more."""
        taken: deque[bytes] = deque()
        held = head_bytes
        for piece in body:
            taken.append(piece)
            held += len(piece)
            if held > MOST_AT_ONCE_BYTES:
                return cls(taken, complete=False)
        return cls(taken, complete=True)


class GcsUpload:
    """Uploads the parts of shards.

    Args:
        objects: of the volume.
    """

    def __init__(self, objects: GcsObjects) -> None:
        self._objects = objects

    def upload(
        self,
        parts: MutableSequence[Blob],
        stream: ShardStream,
        begin: "FirstPieces",
        rest: Iterator[bytes],
    ) -> None:
        """Upload a shard; of a small one the second part is left out.

        Args:
            parts: temporary objects for head and body.
            stream: of the shard, which has the head once its body ended.
            begin: of the body.
            rest: of its pieces.
        """
        if begin.complete:
            del parts[1:]
            self._objects.upload(parts[0], b"".join([stream.head, *begin.pieces]))
        else:
            self._upload_parts(parts, stream, _and_then(begin.pieces, rest))

    @contextmanager
    def temporaries(self, path: str, owner: str) -> Generator[MutableSequence[Blob]]:
        """Two temporary objects for `path`; those left in it are deleted on exit.

        A sweep removes what is left in the bucket.
        """
        directory, _, name = path.rpartition("/")
        stem = f"{directory}/" * bool(directory) + temporary_name(name, owner)
        parts = [self._objects.blob(f"{stem}.head"), self._objects.blob(f"{stem}.body")]
        try:
            yield parts
        finally:
            deleted = [beside(partial(self._objects.delete, part)) for part in parts]
            for one in deleted:
                with suppress(ShardliftError, ValueError):  # the client's: an unreadable answer
                    one.result()

    def _upload_parts(
        self, parts: Sequence[Blob], stream: ShardStream, body: Iterator[bytes]
    ) -> None:
        """Upload the body as it comes, and the head beside the last part."""
        head, rest = parts
        upload = BackgroundUpload(partial(_upload_body, rest), _PART_BYTES)
        with upload.running():
            for piece in body:
                upload.put(piece)
            upload.complete()
            self._objects.upload(head, stream.head)
            upload.wait()


def beside(request: Callable[[], T]) -> Future[T]:
    """Make a request in another thread."""
    with translate_machine_errors():
        return _threads().submit(request)


@cache
def _threads() -> ThreadPoolExecutor:
    """Threads that stay: to start them for each shard would cost more than they do."""
    return ThreadPoolExecutor(_REQUESTS_BESIDE, thread_name_prefix="storage")


def _upload_body(blob: Blob, reader: PartReader) -> None:
    blob.chunk_size = _PART_BYTES  # set only here: it would also split downloads
    try:
        blob.upload_from_file(
            reader,
            content_type=content_type(blob.name),
            checksum="crc32c",
            timeout=TIMEOUT_S,
            retry=upload_retry(lambda: not reader.closed),
        )
    except Exception as error:
        if reader.closed:  # the upload was given up
            raise
        raise gcs_errors.upload_error(error, name_of(blob)) from error
    generation_of(blob)  # composing names it: refuses an answer that cannot be read


def _and_then(begin: deque[bytes], rest: Iterator[bytes]) -> Iterator[bytes]:
    """Pieces, each let go when the next is taken."""
    while begin:
        yield begin.popleft()
    yield from rest
