"""Placements: notes of the tier that a shard was published to, where it is not its plan's.

A worker writes one before it escalates a shard, a command before it publishes to a tier of its own
choice. So the ledger alone tells for which tiers workers are needed, and a shard that is published
again goes where it was, not to a tier that proved too small.
"""

from collections.abc import Mapping
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict

from delivery.ledger.record_store import RecordStore
from delivery.messages import now
from runtime.storage import Storage

FOLDER: Final = "placed"


class Placement(BaseModel):
    """Note that a shard was published to a tier other than its plan's.

    Attributes:
        tier: the queue.
        inputs_digest: of redo and inputs that it was published for; with others, the plan counts.
        at: just before it was published.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    tier: str
    inputs_digest: str
    at: AwareDatetime


class PlacementStore(RecordStore[Placement, Placement]):
    """The placements of one run, by shard key; a damaged one counts as absent."""

    def __init__(self, storage: Storage) -> None:
        super().__init__(storage, FOLDER, Placement, Placement, name_field="key", spare=True)

    def note(self, key: str, tier: str, inputs_digest: str) -> None:
        """Write a shard's placement, replacing its last one."""
        self.write(key, Placement(key=key, tier=tier, inputs_digest=inputs_digest, at=now()))


def present(placements: Mapping[str, Placement], key: str, inputs_digest: str) -> Placement | None:
    """The placement of a shard, if it was written for these inputs."""
    found = placements.get(key)
    return found if found is not None and found.inputs_digest == inputs_digest else None
