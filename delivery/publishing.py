"""Publishing shards: choose a tier, publish, wait for the broker, then write publish markers.

At least once: a crash between the broker's confirmation and the marker costs a duplicate message,
never a shard.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from delivery.broker.base import DEAD, Broker
from delivery.ledger.placements import Placement, present
from delivery.ledger.plan import PlanRow
from delivery.ledger.receipts import ReceiptSummary
from delivery.ledger.run import Run
from delivery.ledger.shard_status import RunStatus, ShardStatus
from delivery.messages import Hop, ShardMessage


@dataclass(frozen=True, slots=True)
class Dead:
    """Choice of no tier: the shard is a dead letter for this reason, which holds both numbers."""

    reason: str


ChooseTier = Callable[[PlanRow, Sequence[ReceiptSummary]], str | Dead]
"""Chooses a shard's tier by its row and its inputs' receipts; present inputs may have none."""


@runtime_checkable
class TimedChooser(Protocol):
    """A choice of tiers that also knows how long a shard takes; see `ChooseTier`."""

    def estimated_seconds(self, row: PlanRow, receipts: Sequence[ReceiptSummary]) -> float:
        """Seconds of one core."""


@dataclass(frozen=True, slots=True)
class Publication:
    """One message to publish.

    Attributes:
        tier: name of the queue.
        message: to publish there.
        inputs_digest: for the publish marker; None for a shard without inputs, which gets none.
        placed_for: inputs digest for its placement, where the ledger expects it on another tier.
        seconds: estimated; 0 where the chooser of tiers has no estimate.
        size: bytes of memory and of input, by which shards of equal seconds are ordered.
    """

    tier: str
    message: ShardMessage
    inputs_digest: str | None = None
    placed_for: str | None = None
    seconds: float = 0.0
    size: tuple[int, int] = (0, 0)

    @property
    def key(self) -> str:
        """The shard's key."""
        return self.message.key


def publish(run: Run, broker: Broker, publications: Iterable[Publication]) -> list[Publication]:
    """Publish by tier, the longest work first, and write publish markers; what was published.

    A long shard that is taken last keeps one worker busy while all others idle.
    Placements come first, so that no message waits on a tier that nobody starts workers for.
    """
    by_tier: dict[str, list[Publication]] = {}
    for publication in longest_first(publications):
        by_tier.setdefault(publication.tier, []).append(publication)
    for tier, group in by_tier.items():
        for publication in group:
            if publication.placed_for is not None:
                run.placements.note(publication.key, tier, publication.placed_for)
        broker.publish(tier, [publication.message for publication in group])
        for publication in group:
            if publication.inputs_digest is not None:
                run.mark_published(publication.key, tier, publication.inputs_digest)
    return [publication for group in by_tier.values() for publication in group]


def longest_first(publications: Iterable[Publication]) -> list[Publication]:
    """Publications by descending seconds, then memory and input."""
    return sorted(publications, key=lambda one: (-one.seconds, *(-size for size in one.size)))


def plan_publication(
    run: Run,
    row: PlanRow,
    status: RunStatus,
    choose_tier: ChooseTier,
    *,
    placements: Mapping[str, Placement] | None = None,
    tier: str | None = None,
    history: tuple[Hop, ...] = (),
) -> Publication:
    """The publication of a shard by the status of its whole run.

    Args:
        run: the shard's run.
        row: the shard's row of the plan.
        status: of the run.
        choose_tier: for shards whose row names no tier.
        placements: of the run; a shard that was moved to another tier stays there. None for one
            that was never published.
        tier: overrides all of these.
        history: the tiers it went through so far.
    """
    digest = status.inputs_digest(row)
    expected = expected_tier(row, status, choose_tier, placements)
    choice = tier or expected
    found = _publication(
        run,
        row,
        choice,
        redo=status.redo.get(row.key, 0),
        inputs_digest=digest,
        seconds=_seconds(choose_tier, row, status.input_receipts(row)),
        history=history,
    )
    return found if choice == expected else replace(found, placed_for=digest)


def expected_tier(
    row: PlanRow,
    status: RunStatus,
    choose_tier: ChooseTier,
    placements: Mapping[str, Placement] | None,
) -> str | Dead:
    """The tier whose queue has a shard, or will have it: by placement, plan or choice."""
    placed = present(placements, row.key, status.inputs_digest(row)) if placements else None
    if placed is not None:
        return placed.tier
    return row.tier or choose_tier(row, status.input_receipts(row))


def plan_dependent(run: Run, status: ShardStatus, choose_tier: ChooseTier) -> Publication:
    """The publication of a dependent by its own status."""
    choice = status.row.tier or choose_tier(status.row, status.input_receipts)
    return _publication(
        run,
        status.row,
        choice,
        redo=status.redo,
        inputs_digest=status.inputs_digest,
        seconds=_seconds(choose_tier, status.row, status.input_receipts),
    )


def _publication(
    run: Run,
    row: PlanRow,
    choice: str | Dead,
    *,
    redo: int,
    inputs_digest: str,
    seconds: float,
    history: tuple[Hop, ...] = (),
) -> Publication:
    message = ShardMessage(
        run=run.uri,
        key=row.key,
        kind=row.kind,
        redo=redo,
        history=history,
        reason=choice.reason if isinstance(choice, Dead) else None,
        run_token=run.info.token or None,
    )
    tier = DEAD if isinstance(choice, Dead) else choice
    return Publication(
        tier,
        message,
        inputs_digest if row.inputs else None,
        seconds=seconds,
        size=(row.estimated_bytes or 0, row.bytes_in),
    )


def _seconds(choose_tier: ChooseTier, row: PlanRow, receipts: Sequence[ReceiptSummary]) -> float:
    if isinstance(choose_tier, TimedChooser):
        return choose_tier.estimated_seconds(row, receipts)
    return 0.0
