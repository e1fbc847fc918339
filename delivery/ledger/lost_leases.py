"""Leases of a run that ran out while their worker lived: such a delivery was not a death.

A frozen machine, a paused container or a lost network outlasts leases; its worker notices when it
goes on. The broker counts the delivery all the same, so the worker notes here that it lives.
"""

import uuid
from typing import Final

from runtime.storage import Storage

FOLDER: Final = "lost-leases"


class LostLeases:
    """The notes of one run, an empty object each.

    Args:
        storage: rooted at the run.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def add(self, key: str, worker: str) -> None:
        """Note that a worker lost the lease on a shard, and lives."""
        self._storage.write(f"{FOLDER}/{key}/{worker}-{uuid.uuid4().hex[:8]}", b"")

    def count(self, key: str) -> int:
        """Number of notes on a shard since the last `clear`."""
        return len(self._paths(key))

    def clear(self, key: str) -> None:
        """Remove the notes on a shard, once the broker counts its deliveries anew."""
        for path in self._paths(key):
            self._storage.delete(path)

    def _paths(self, key: str) -> list[str]:
        return [info.path for info in self._storage.list(f"{FOLDER}/{key}/")]
