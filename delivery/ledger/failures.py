"""Failure records: one per dead shard, with the reason; drained from the dead letters.

A record stays until the shard is requeued, or outlived by a newer receipt. A dropped shard keeps
its record, marked as given up.
"""

from typing import Annotated, Final

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict

from delivery.ledger.fields import Count
from delivery.ledger.record_store import RecordStore
from delivery.messages import Hop, Kind, ShardMessage, now, shortened
from runtime.storage import Storage

FOLDER: Final = "failed"
SUMMARY_CHARS: Final = 700  # of a reason in a listing, whose metadata has room for 6,000 bytes

Short = Annotated[str, BeforeValidator(lambda text: shortened(str(text), SUMMARY_CHARS))]


class FailureSummary(BaseModel):
    """The part of a failure record that a listing yields.

    Attributes:
        tier: the last tier it was tried on.
        attempts: deliveries over all tiers, as far as they are recorded.
        at: when it became a dead letter.
        dropped: given up for good by `dead-letters drop`.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    kind: Kind
    redo: Count = 0
    tier: str = ""
    attempts: Count = 0
    at: AwareDatetime
    reason: Short
    dropped: bool = False


class Failure(FailureSummary):
    """Record of a dead shard."""

    reason: str
    tiers_tried: tuple[str, ...] = ()
    history: tuple[Hop, ...] = ()
    worker: str | None = None


def from_letter(message: ShardMessage, reason: str) -> Failure:
    """The record of a dead letter; tier and time are those of its last hop."""
    last = message.history[-1] if message.history else None
    return Failure(
        key=message.key,
        kind=message.kind,
        redo=message.redo,
        tier=last.tier if last else "",
        attempts=sum(hop.attempt for hop in message.history),
        at=last.at if last else now(),
        reason=reason,
        tiers_tried=tiers_tried(message.history),
        history=message.history,
        worker=last.worker if last else None,
    )


def tiers_tried(history: tuple[Hop, ...]) -> tuple[str, ...]:
    """The tiers of a history in order, each once."""
    return tuple(dict.fromkeys(hop.tier for hop in history))


class FailureStore(RecordStore[Failure, FailureSummary]):
    """The failure records of one run, by shard key."""

    def __init__(self, storage: Storage) -> None:
        super().__init__(storage, FOLDER, Failure, FailureSummary, name_field="key")

    def put(self, failure: Failure) -> bool:
        """Write the record unless a newer or dropped one is there; whether it was written."""
        return self.write_if(failure.key, failure, _supersedes)

    def drop(self, key: str) -> Failure | None:
        """Give a dead shard up for good; None if it is not dead."""
        present = self.get(key)
        if present is None:
            return None
        dropped = present.model_copy(update={"dropped": True})
        self.write(key, dropped)
        return dropped

    def remove(self, failure: Failure) -> bool:
        """Remove exactly this record; False if it is gone or another took its place."""
        return self.get(failure.key) == failure and self.delete(failure.key)


def _supersedes(new: Failure, present: Failure) -> bool:
    if new.redo != present.redo:
        return new.redo > present.redo
    return not present.dropped and new.at > present.at
