"""Requests for shards of a run: to make some again, or without chunks that do not decode.

Each is an object of the ledger, so it holds however often a shard is published.
"""

import json
import uuid
from collections.abc import Iterable
from typing import Annotated, Final

from pydantic import Field, TypeAdapter

from delivery.ledger.damage import parse_as, read_object
from delivery.ledger.fields import Count
from delivery.ledger.overview import REDO, SKIP_BAD
from delivery.messages import now
from runtime.storage import ObjectInfo, Storage

_ALL: Final = "all"  # stands for every shard of the run
_REDO_REQUEST: Final = TypeAdapter(Annotated[dict[str, Count], Field(min_length=1)])


class RunRequests:
    """The requests of one run.

    Args:
        storage: rooted at the run.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._known: dict[str, tuple[ObjectInfo, dict[str, int]]] = {}  # redo, by path

    def raise_redo(self, keys: Iterable[str]) -> dict[str, int]:
        """Request that these shards be made again; their redo numbers now, by key."""
        # Each call adds an object of its own, so that none can overwrite another's request.
        present = self.redo()
        raised = {key: present.get(key, 0) + 1 for key in keys}
        if raised:
            name = f"{now():%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
            self._storage.write(f"{REDO}/{name}.json", json.dumps(raised, indent=1).encode())
        return raised

    def redo(self) -> dict[str, int]:
        """The highest redo requested, by key; a key without any request is left out."""
        requested: dict[str, int] = {}
        for info in self._storage.list(f"{REDO}/"):
            for key, number in self._redo_request(info).items():
                requested[key] = max(requested.get(key, 0), number)
        return requested

    def _redo_request(self, info: ObjectInfo) -> dict[str, int]:
        """One request; each is written once, so it is read once."""
        known = self._known.get(info.path)
        if known is None or known[0] != info:
            hint = "delete it, and request with `replay --redo` again what it stood for"
            where = f"{self._storage.url}/{info.path}"
            data = read_object(self._storage, info.path, where, hint)
            known = info, parse_as(_REDO_REQUEST, data, where, hint)
            self._known[info.path] = known
        return known[1]

    def request_without_bad_chunks(self, keys: Iterable[str] | None = None) -> None:
        """Request that these shards be made without chunks that do not decode; None: all.

        The request is an object of the ledger, so it holds however often a shard is published.
        """
        for name in (_ALL,) if keys is None else keys:
            self._storage.write(f"{SKIP_BAD}/{name}", b"")

    def leaves_out_bad_chunks(self, key: str) -> bool:
        """Whether the shard, or every shard, is requested without such chunks."""
        return any(self._storage.exists(f"{SKIP_BAD}/{name}") for name in (key, _ALL))
