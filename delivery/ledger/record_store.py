"""Record stores: small JSON objects, one per name, each with its summary in the object's metadata.

A listing alone then yields what `status` counts. Where the storage keeps no metadata, or the
summary is too long for it, the object itself is read; what was read is kept in this process
until the listing shows another size or time.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from pydantic import BaseModel

from delivery.ledger.damage import REPLAY, LedgerDamaged, damaged, parse, read_object
from runtime.errors import ObjectNotFound
from runtime.memory import without_collections
from runtime.storage import ObjectInfo, Storage

if TYPE_CHECKING:
    from datetime import datetime

SUMMARY: Final = "summary"  # the metadata's name
MOST_METADATA_BYTES: Final = 6_000  # GCS keeps at most 8 KiB for all of an object's metadata

Record = TypeVar("Record", bound=BaseModel)
Summary = TypeVar("Summary", bound=BaseModel)
Model = TypeVar("Model", bound=BaseModel)


class RecordStore(Generic[Record, Summary]):
    """The records of one kind in one folder of a run.

    Args:
        storage: rooted at the run.
        folder: of the records, such as `receipts`.
        record: model of an object; has every field of `summary`.
        summary: model of an entry in a listing.
        suffix: of the objects' names.
        name_field: field of the record that repeats its name, if any.
        spare: whether a damaged record counts as absent, since nothing correct depends on it;
            else it is an error.
    """

    def __init__(
        self,
        storage: Storage,
        folder: str,
        record: type[Record],
        summary: type[Summary],
        suffix: str = ".json",
        *,
        name_field: str | None = None,
        spare: bool = False,
    ) -> None:
        self._storage = storage
        self._folder = folder
        self._record = record
        self._summary = summary
        self._suffix = suffix
        self._name_field = name_field
        self._spare = spare
        self._known: dict[str, tuple[datetime, int, Summary]] = {}

    def path(self, name: str) -> str:
        """Path of the record of this name, relative to the run."""
        return f"{self._folder}/{name}{self._suffix}"

    def get(self, name: str) -> Record | None:
        """The record, or None."""
        return self._read(name, self._record)

    def summary(self, name: str) -> Summary | None:
        """The record's summary, or None."""
        return self._read(name, self._summary)

    def write(self, name: str, record: Record) -> None:
        """Write the record, replacing any other."""
        self._storage.write(self.path(name), *self._encoded(record))

    def write_if(
        self, name: str, record: Record, supersedes: Callable[[Record, Record], bool]
    ) -> bool:
        """Write the record unless the present one is not superseded; whether it was written.

        A damaged one is replaced.

        Args:
            name: of the record.
            record: the new one.
            supersedes: whether the new record, given first, replaces the present one.
        """
        data, metadata = self._encoded(record)
        if self._storage.create(self.path(name), data, metadata):
            return True
        present = self._present(name)
        if present is not None and not supersedes(record, present):
            return False
        self._storage.write(self.path(name), data, metadata)
        return True

    def delete(self, name: str) -> bool:
        """Delete the record; False if there was none."""
        return self._storage.delete(self.path(name))

    def list(self, bounds: Sequence[str] = ()) -> dict[str, Summary]:
        """Every record's summary by name, at the cost of one listing where metadata are kept.

        Args:
            bounds: names in order, between which lie hundreds of records: a long listing is made
                of parts at the same time.
        """
        found = {}
        with without_collections():
            for info in self._storage.list_parts(f"{self._folder}/", [*map(self.path, bounds)]):
                name = info.path.removeprefix(f"{self._folder}/").removesuffix(self._suffix)
                summary = self._listed(name, info)
                if summary is not None:
                    found[name] = summary
        self._forget_all_but(found)
        return found

    def some(self, names: Iterable[str]) -> dict[str, Summary]:
        """The summaries of those of these records that there are, by name, with one listing.

        It is as long as there are records between the first and the last name.
        """
        wanted = {self.path(name): name for name in names}
        found = {}
        if wanted:
            first, last = min(wanted), max(wanted)
            for info in self._storage.list(f"{self._folder}/", first=first, last=last):
                name = wanted.get(info.path)
                summary = None if name is None else self._summary_of(name, info)
                if name is not None and summary is not None:
                    found[name] = summary
        return found

    def _present(self, name: str) -> Record | None:
        try:
            return self.get(name)
        except LedgerDamaged:
            return None

    def _listed(self, name: str, info: ObjectInfo) -> Summary | None:
        """The summary as it is known here, else from the metadata, else from the object."""
        known = self._known.get(name)
        if known is not None and known[:2] == (info.updated, info.size):
            return known[2]
        summary = self._summary_of(name, info)
        if summary is not None:  # None: removed since it was listed
            self._known[name] = (info.updated, info.size, summary)
        return summary

    def _summary_of(self, name: str, info: ObjectInfo) -> Summary | None:
        """The summary from the metadata, else from the object."""
        text = (info.metadata or {}).get(SUMMARY)
        return self._checked(name, text, self._summary) if text else self.summary(name)

    def _forget_all_but(self, names: Iterable[str]) -> None:
        for gone in self._known.keys() - set(names):
            del self._known[gone]

    def _encoded(self, record: Record) -> tuple[bytes, dict[str, str] | None]:
        """The object's bytes and metadata."""
        data = record.model_dump_json(exclude_none=True, indent=1).encode()
        summary = self._summary.model_validate_json(data)
        fields = summary.model_dump(mode="json", exclude_defaults=True)
        text = json.dumps(fields, separators=(",", ":"))  # ASCII, as headers want it
        return data, {SUMMARY: text} if len(text) <= MOST_METADATA_BYTES else None

    def _read(self, name: str, model: type[Model]) -> Model | None:
        path = self.path(name)
        try:
            data = read_object(self._storage, path, f"{self._storage.url}/{path}", REPLAY)
        except ObjectNotFound:
            return None
        except LedgerDamaged:
            if self._spare:
                return None
            raise
        return self._checked(name, data, model)

    def _checked(self, name: str, data: bytes | str, model: type[Model]) -> Model | None:
        """The record of these bytes; None for a damaged one that may be missing."""
        try:
            return self._parse(name, data, model)
        except LedgerDamaged:
            if self._spare:
                return None
            raise

    def _parse(self, name: str, data: bytes | str, model: type[Model]) -> Model:
        where = f"{self._storage.url}/{self.path(name)}"
        record = parse(model, data, where, REPLAY)
        named = getattr(record, self._name_field) if self._name_field else name
        if named != name:
            raise damaged(where, f"it is the record of {named!r}", REPLAY)
        return record
