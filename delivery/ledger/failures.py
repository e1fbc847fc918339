"""Failure records: one per dead shard, with the reason; drained from the dead letters.

A record stays until the shard is requeued, or outlived by a newer receipt. A dropped shard keeps
its record, marked: it was given up.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict

from delivery.messages import Hop, Kind, ShardMessage, now, shortened

if TYPE_CHECKING:
    from delivery.ledger.run import Run

FOLDER: Final = "failed"
SUMMARY_CHARS: Final = 300  # of a reason in a listing

Short = Annotated[str, BeforeValidator(lambda text: shortened(str(text), SUMMARY_CHARS))]


class FailureSummary(BaseModel):
    """What a listing tells of a dead shard.

    Attributes:
        tier: the last tier it was tried on.
        attempts: deliveries, over all tiers, as far as they are recorded.
        at: when it died.
        dropped: given up for good by `dead-letters drop`.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    kind: Kind
    redo: int = 0
    tier: str = ""
    attempts: int = 0
    at: datetime
    reason: Short
    dropped: bool = False


class Failure(FailureSummary):
    """Everything that is known of a dead shard."""

    reason: str
    tiers_tried: tuple[str, ...] = ()
    history: tuple[Hop, ...] = ()
    worker: str | None = None


def from_letter(message: ShardMessage, reason: str) -> Failure:
    """The record of a dead letter; its last hop tells where and when it died."""
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
    """The tiers of a history in their order, each once."""
    return tuple(dict.fromkeys(hop.tier for hop in history))


def write(run: "Run", failure: Failure) -> bool:
    """Write the record unless a newer one, or one given up, is there; whether it was written."""
    return run.failures.offer(failure.key, failure, _keeps)


def read(run: "Run", key: str) -> Failure | None:
    """The shard's failure record, or None."""
    return run.failures.read(key)


def list_all(run: "Run") -> dict[str, FailureSummary]:
    """The summary of every failure record, by key."""
    return run.failures.list()


def drop(run: "Run", key: str) -> Failure | None:
    """Give a dead shard up for good; None if it is not dead."""
    present = read(run, key)
    if present is None:
        return None
    dropped = present.model_copy(update={"dropped": True})
    run.failures.write(key, dropped)
    return dropped


def remove(run: "Run", failure: Failure) -> bool:
    """Remove exactly this record; False if it is gone or another took its place."""
    return read(run, failure.key) == failure and run.failures.delete(failure.key)


def _keeps(present: Failure, new: Failure) -> bool:
    if present.redo != new.redo:
        return present.redo > new.redo
    return present.dropped or present.at >= new.at
