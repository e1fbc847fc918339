"""Publishing shards, and above all the dependents whose inputs are done.

At least once: a shard is published, the broker has confirmed it, then its mark is written; a crash
between costs a duplicate, never a shard. A mark saves duplicates and is no gate: it holds the
inputs_digest it was written for, `replay` and patience pass it over, and workers never look at it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from delivery.broker.base import DEAD, Broker
from delivery.ledger.plan import PlanRow
from delivery.ledger.receipts import ReceiptSummary
from delivery.ledger.run import Run
from delivery.ledger.shard_status import (
    RunStatus,
    ShardStatus,
    State,
    read_shard_status,
    read_status,
)
from delivery.messages import Hop, ShardMessage


@dataclass(frozen=True, slots=True)
class Dead:
    """No tier will do: the shard goes to the dead letters for this reason, both numbers in it."""

    reason: str


ChooseTier = Callable[[PlanRow, Sequence[ReceiptSummary]], str | Dead]
"""The tier for a shard, from its row and its inputs' receipts; those present may have none."""


@dataclass(frozen=True, slots=True)
class Publication:
    """One shard to be published.

    Attributes:
        tier: to which queue.
        message: what travels.
        inputs_digest: for the mark; None for a shard that is nobody's dependent and gets none.
    """

    tier: str
    message: ShardMessage
    inputs_digest: str | None = None


def cascade(run: Run, broker: Broker, key: str, choose_tier: ChooseTier) -> list[str]:
    """Publish the dependents of a finished shard that are ready now; their keys.

    Reads only what these dependents depend on, and at most up to the first missing input.
    """
    standings = [read_shard_status(run, name) for name in run.plan.dependents(key)]
    wanted = [
        _dependent(run, standing, choose_tier)
        for standing in standings
        if standing.state is State.READY and not _marked(run, standing)
    ]
    return publish(run, broker, wanted)


def cascade_all(
    run: Run, broker: Broker, choose_tier: ChooseTier, status: RunStatus | None = None
) -> list[str]:
    """Publish every dependent that is ready and has no mark for it; their keys.

    Makes good what a worker left undone that died between a receipt and its cascade.
    """
    status = status or read_status(run)
    rows = [row for row in run.plan.rows_of(status.keys(State.READY)) if row.inputs]
    if not rows or run.cancelled():
        return []
    marks = run.published()
    wanted = [
        publication(run, row, status, choose_tier)
        for row in rows
        if row.key not in marks or marks[row.key].inputs_digest != status.inputs_digest(row)
    ]
    return publish(run, broker, wanted)


def publication(
    run: Run,
    row: PlanRow,
    status: RunStatus,
    choose_tier: ChooseTier,
    *,
    tier: str | None = None,
    history: tuple[Hop, ...] = (),
) -> Publication:
    """What to publish for a shard, as a whole run's ledger has it.

    Args:
        run: the shard's run.
        row: the shard's row of the plan.
        status: of the run.
        choose_tier: for shards whose tier the plan does not tell.
        tier: wins over both.
        history: the tiers it went through so far.
    """
    choice = tier or row.tier or choose_tier(row, status.input_receipts(row))
    redo, inputs_digest = status.redo.get(row.key, 0), status.inputs_digest(row)
    return _publication(run, row, choice, redo=redo, inputs_digest=inputs_digest, history=history)


def publish(run: Run, broker: Broker, publications: Iterable[Publication]) -> list[str]:
    """Publish in this order, wait for the broker, then write marks; the keys."""
    by_tier: dict[str, list[Publication]] = {}
    for wanted in publications:
        by_tier.setdefault(wanted.tier, []).append(wanted)
    for tier, group in by_tier.items():
        broker.publish(tier, [wanted.message for wanted in group])
        for wanted in group:
            if wanted.inputs_digest is not None:
                run.mark_published(wanted.message.key, tier, wanted.inputs_digest)
    return [wanted.message.key for group in by_tier.values() for wanted in group]


def _dependent(run: Run, standing: ShardStatus, choose_tier: ChooseTier) -> Publication:
    row = standing.row
    choice = row.tier or choose_tier(row, standing.input_receipts)
    return _publication(run, row, choice, redo=standing.asked, inputs_digest=standing.inputs_digest)


def _marked(run: Run, standing: ShardStatus) -> bool:
    mark = run.mark(standing.row.key)
    return mark is not None and mark.inputs_digest == standing.inputs_digest


def _publication(
    run: Run,
    row: PlanRow,
    choice: str | Dead,
    *,
    redo: int,
    inputs_digest: str,
    history: tuple[Hop, ...] = (),
) -> Publication:
    message = ShardMessage(
        run=run.uri,
        key=row.key,
        kind=row.kind,
        redo=redo,
        sources=row.sources or None,
        history=history,
        reason=choice.reason if isinstance(choice, Dead) else None,
    )
    tier = DEAD if isinstance(choice, Dead) else choice
    return Publication(tier, message, inputs_digest if row.inputs else None)
