"""Small JSON objects, one per name, whose summary travels in the object's metadata.

A listing alone then tells what `status` counts. Where the storage keeps no metadata, or the
summary is too long for it, the object itself is read; what was read is kept in this process
until the listing shows another size or time.
"""

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from runtime.errors import ObjectNotFound, ShardliftError
from runtime.storage import ObjectInfo, Storage

if TYPE_CHECKING:
    from datetime import datetime

SUMMARY: Final = "summary"  # the metadata's name
MOST_METADATA_BYTES: Final = 6_000  # GCS keeps at most 8 KiB for all of an object's metadata

Brief = TypeVar("Brief", bound=BaseModel)
Full = TypeVar("Full", bound=BaseModel)
Model = TypeVar("Model", bound=BaseModel)


class RecordStore(Generic[Full, Brief]):
    """The records of one kind in one folder of a run.

    Args:
        storage: rooted at the run.
        folder: where the records lie, `receipts`.
        full: what an object holds; has every field of `brief`.
        brief: what a listing should tell.
        suffix: of the objects' names.
    """

    def __init__(
        self,
        storage: Storage,
        folder: str,
        full: type[Full],
        brief: type[Brief],
        suffix: str = ".json",
    ) -> None:
        self._storage = storage
        self._folder = folder
        self._full = full
        self._brief = brief
        self._suffix = suffix
        self._known: dict[str, tuple[datetime, int, Brief]] = {}

    def path(self, name: str) -> str:
        """Where the record of this name lies, relative to the run."""
        return f"{self._folder}/{name}{self._suffix}"

    def read(self, name: str) -> Full | None:
        """The record, or None."""
        return self._read(name, self._full)

    def brief(self, name: str) -> Brief | None:
        """The record's summary, or None."""
        return self._read(name, self._brief)

    def write(self, name: str, record: Full) -> None:
        """Write the record, replacing any other."""
        self._storage.write(self.path(name), _json(record), self._metadata(record))

    def offer(self, name: str, record: Full, keeps: Callable[[Full, Full], bool]) -> bool:
        """Write the record unless one is there that `keeps(present, new)`; whether we wrote."""
        if self._storage.create(self.path(name), _json(record), self._metadata(record)):
            return True
        present = self.read(name)
        if present is not None and keeps(present, record):
            return False
        self.write(name, record)
        return True

    def delete(self, name: str) -> bool:
        """Remove the record; False if there was none."""
        return self._storage.delete(self.path(name))

    def list(self) -> dict[str, Brief]:
        """Every record's summary by name, at the cost of one listing where metadata are kept."""
        found = {}
        for info in self._storage.list(f"{self._folder}/"):
            name = info.path.removeprefix(f"{self._folder}/").removesuffix(self._suffix)
            brief = self._seen(name, info)
            if brief is not None:
                found[name] = brief
        self._forget_all_but(found)
        return found

    def _seen(self, name: str, info: ObjectInfo) -> Brief | None:
        """The summary from what we know, else the metadata, else the object."""
        known = self._known.get(name)
        if known is not None and known[:2] == (info.updated, info.size):
            return known[2]
        text = (info.metadata or {}).get(SUMMARY)
        brief = self.brief(name) if text is None else self._parse(name, text, self._brief)
        if brief is not None:  # None: removed since it was listed
            self._known[name] = (info.updated, info.size, brief)
        return brief

    def _forget_all_but(self, names: Iterable[str]) -> None:
        for gone in self._known.keys() - set(names):
            del self._known[gone]

    def _metadata(self, record: Full) -> dict[str, str] | None:
        brief = self._brief.model_validate_json(_json(record))
        fields = brief.model_dump(mode="json", exclude_defaults=True)
        text = json.dumps(fields, separators=(",", ":"))  # ASCII, as headers want it
        return {SUMMARY: text} if len(text) <= MOST_METADATA_BYTES else None

    def _read(self, name: str, model: type[Model]) -> Model | None:
        try:
            data = self._storage.read(self.path(name))
        except ObjectNotFound:
            return None
        return self._parse(name, data, model)

    def _parse(self, name: str, data: bytes | str, model: type[Model]) -> Model:
        try:
            return model.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ShardliftError(
                f"{self._storage.url}/{self.path(name)} is damaged ({where}: {first['msg']})",
                hint="delete it and run `python -m producer replay --missing`",
            ) from None


def _json(record: BaseModel) -> bytes:
    return record.model_dump_json(exclude_none=True, indent=1).encode()
