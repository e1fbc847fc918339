"""Shards appearing in a bucket: composed of their parts over the generation that was seen.

A compose request makes the shard under its final name. Its answer can be lost, and another writer
can come first: the bytes that are there tell.
"""

from collections.abc import Callable, Mapping, MutableSequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from runtime.errors import DamagedInTransit, ObjectNotFound, UnreachableError
from runtime.storage.base import MOST_REPLACEMENTS, ObjectInfo, replaced_too_often
from runtime.storage.checksum import encode
from runtime.storage.gcs_objects import Blob, GcsObjects, content_type, generation_of, name_of
from runtime.storage.gcs_source import TIMEOUT_S


class UploadedShard(NamedTuple):
    """A shard whose parts are uploaded.

    Attributes:
        parts: temporary objects; removed from it once they are composed, which deletes them.
        crc: of the whole.
    """

    path: str
    parts: MutableSequence[Blob]
    crc: int
    metadata: Mapping[str, str] | None


class GcsComposition:
    """Lets shards appear, and disappear, while other writers may do the same.

    Args:
        objects: of the volume.
    """

    def __init__(self, objects: GcsObjects) -> None:
        self._objects = objects
        self._deletes_parts: bool | None = None  # a compose request; None: not seen yet

    def publish(self, shard: UploadedShard, confirm: Callable[[], None], seen: int) -> ObjectInfo:
        """Let a shard appear over the generation that was seen, each time after `confirm`."""
        for _ in range(MOST_REPLACEMENTS):
            confirm()
            info = self._published(shard, seen)
            if info is not None:
                return info
            seen = self._objects.generation(shard.path)
        raise replaced_too_often(f"{self._objects.url}/{shard.path}")

    def delete(self, path: str, confirm: Callable[[], None]) -> bool:
        """Remove the generation of an object that was there before `confirm` was called."""
        for _ in range(MOST_REPLACEMENTS):
            seen = self._objects.generation(path)
            confirm()
            if not seen:
                return False
            if self._objects.delete_generation(path, seen):
                return True
        raise replaced_too_often(f"{self._objects.url}/{path}")

    def _published(self, shard: UploadedShard, seen: int) -> ObjectInfo | None:
        """Let a shard appear under its name; None if another writer's came first."""
        final, crc = self._objects.blob(shard.path), encode(shard.crc)
        final.content_type = content_type(shard.path)
        if shard.metadata:
            final.metadata = dict(shard.metadata)
        if not self._composed(shard, final, seen):
            # Either our own, whose answer was lost, or another writer's: its bytes tell.
            return self._objects.present(shard.path, crc)
        if final.crc32c == crc:
            with suppress(DamagedInTransit):
                return self._objects.info(final)
        info = self._objects.present(shard.path, crc)  # the answer may be what was damaged
        if info is None and self._objects.delete_generation(shard.path, generation_of(final)):
            raise DamagedInTransit(
                f"{name_of(final)}: not the bytes that were sent; deleted",
                hint="the shard is made again",
            )
        return info

    def _composed(self, shard: UploadedShard, final: Blob, seen: int) -> bool:
        """Make the compose request; False if the present generation is not the one seen.

        Args:
            shard: to be made.
            final: the object to be made.
            seen: its generation to be replaced.
        """

        def compose() -> None:
            final.compose(
                list(shard.parts),
                delete_source_objects=True,
                if_generation_match=seen,
                timeout=TIMEOUT_S,
                retry=None,
            )
            if self._composing_deletes(shard.parts[0]):
                shard.parts.clear()

        try:
            return self._objects.call_if_unchanged(final, compose)
        except ObjectNotFound as error:  # an object with its generation is a part of ours
            if self._objects.present(shard.path, encode(shard.crc)) is not None:
                return False  # composed; the answer was lost
            raise UnreachableError(
                f"{name_of(final)}: its parts were deleted before it was composed",
                hint="no rule of the bucket may delete objects that are hours old",
            ) from error

    def _composing_deletes(self, part: Blob) -> bool:
        """Whether the service deletes composed parts when asked; seen once, by one of them.

        Google's does; some others that speak its protocol pass the request over.
        """
        if self._deletes_parts is None:
            exists = partial(part.exists, timeout=TIMEOUT_S)
            self._deletes_parts = not self._objects.call(part, exists)
        return self._deletes_parts
