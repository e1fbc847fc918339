"""Replay: publish again what is missing, what failed, what came since a time, or shards by name.

Idempotent: a worker acks what is done already. Publish markers are not consulted.
"""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from delivery.broker.base import Broker
from delivery.ledger.damage import LedgerDamaged
from delivery.ledger.failures import Failure
from delivery.ledger.plan import PlanRow
from delivery.ledger.run import Run, list_runs, log_damage
from delivery.ledger.shard_status import RunStatus, ShardState, read_status
from delivery.publishing import ChooseTier, Publication, plan_publication, publish
from runtime.errors import UsageError

CLOCK_MARGIN: Final = timedelta(minutes=1)  # between our clock and the broker's


@dataclass
class ReplayResult:
    """Outcome of a replay by name.

    Attributes:
        published: keys.
        left: key → why it was not published.
    """

    published: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)


def missing(
    run: Run,
    broker: Broker,
    choose_tier: ChooseTier,
    *,
    tier: str | None = None,
    status: RunStatus | None = None,
) -> list[str]:
    """Publish every ready shard, the longest work first; their keys.

    Args:
        run: of the shards.
        broker: of its queues.
        choose_tier: for shards whose row names no tier.
        tier: overrides both.
        status: of the run, if it was read a moment ago.
    """
    _refuse_cancelled(run)
    status = status or read_status(run)
    rows = run.plan.rows_of(status.keys(ShardState.READY))
    placements = run.placements.list() if rows else {}
    publications = [
        plan_publication(run, row, status, choose_tier, placements=placements, tier=tier)
        for row in rows
    ]
    return _publish(run, broker, publications)


def failed(
    run: Run,
    broker: Broker,
    choose_tier: ChooseTier,
    *,
    keys: Iterable[str] | None = None,
    tier: str | None = None,
) -> list[str]:
    """Requeue dead shards: publish each, then remove exactly the record that was read.

    Args:
        run: of the shards.
        broker: of its queues.
        choose_tier: for shards that died on no tier.
        keys: of the shards; None: all that failed, but not those given up.
        tier: to publish to; None: where each died.

    Raises:
        UsageError: one of the keys is not a dead letter.
    """
    _refuse_cancelled(run)
    status = read_status(run)
    wanted = status.keys(ShardState.FAILED) if keys is None else list(keys)
    records = [_record(run, key) for key in wanted]
    placements = run.placements.list() if records else {}
    publications = [
        plan_publication(
            run,
            run.plan.row(record.key),
            status,
            choose_tier,
            placements=placements,
            tier=tier or _last_tier(record, broker),
            history=record.history,
        )
        for record in records
    ]
    done = _publish(run, broker, publications)
    for record in records:
        run.failures.remove(record)
    return done


def since(
    run: Run,
    broker: Broker,
    choose_tier: ChooseTier,
    time: datetime,
    *,
    redo: bool = False,
    tier: str | None = None,
) -> list[str]:
    """Deliver again what was published from `time` on, then publish what is missing.

    With `redo` nothing is delivered again: all that is to be made is published or follows.

    Args:
        run: whose missing shards are published.
        broker: whose tiers go back.
        choose_tier: for shards whose row names no tier.
        time: aware, any zone.
        redo: make again what was finished from `time` on.
        tier: of the missing ones.
    """
    # A seek also drops everything published before its time, for every run in these queues. So it
    # goes back to the creation of the oldest unfinished run, and nothing that waits is lost.
    _refuse_cancelled(run)
    if redo:
        done = read_status(run).receipts.values()
        run.raise_redo(receipt.key for receipt in done if receipt.finished >= time)
        return missing(run, broker, choose_tier, tier=tier)
    to = min([time, *(found.info.created - CLOCK_MARGIN for found in unfinished(run.state_url))])
    for name in broker.tiers:
        broker.seek(name, to)
    return missing(run, broker, choose_tier, tier=tier)


def shards(
    run: Run,
    broker: Broker,
    choose_tier: ChooseTier,
    keys: Sequence[str],
    *,
    redo: bool = False,
    tier: str | None = None,
) -> ReplayResult:
    """Publish these shards, where their inputs allow it.

    Args:
        run: of the shards.
        broker: of its queues.
        choose_tier: for shards whose row names no tier.
        keys: of the shards.
        redo: make them again; else a done shard's message only runs its cascade again.
        tier: overrides the choice for all of them.

    Raises:
        UsageError: the plan has no such shard.
    """
    _refuse_cancelled(run)
    rows = [run.plan.row(key) for key in dict.fromkeys(keys)]
    if redo:
        run.raise_redo(row.key for row in rows if row.state != "empty")
    status = read_status(run)
    result = ReplayResult(left={row.key: why for row in rows if (why := _why_not(row, status))})
    dead = [row.key for row in rows if _is_dead(row, status)]
    result.published += failed(run, broker, choose_tier, keys=dead, tier=tier) if dead else []
    rest = [row for row in rows if row.key not in result.left and row.key not in dead]
    placements = run.placements.list() if rest else {}
    publications = [
        plan_publication(run, row, status, choose_tier, placements=placements, tier=tier)
        for row in rest
    ]
    result.published += _publish(run, broker, publications)
    return result


def unfinished(state_url: str) -> list[Run]:
    """Runs that have not ended and were not cancelled, oldest first."""
    return [run for run in list_runs(state_url) if _is_unfinished(run)]


def _is_unfinished(run: Run) -> bool:
    try:
        return not (run.cancelled() or read_status(run).ended)
    except LedgerDamaged as error:  # no message of it can be worked on
        log_damage(run, error)
        return False


def _publish(run: Run, broker: Broker, publications: Iterable[Publication]) -> list[str]:
    return [publication.key for publication in publish(run, broker, publications)]


def _refuse_cancelled(run: Run) -> None:
    note = run.cancelled()
    if note is not None:
        raise UsageError(
            f"run {run.run_id} was cancelled ({note.why})",
            hint="start another: `python -m producer enqueue --new-run ...`",
        )


def _record(run: Run, key: str) -> Failure:
    record = run.failures.get(key)
    if record is None:
        raise UsageError(
            f"{key} is not a dead letter of run {run.run_id}",
            hint=f"`python -m producer dead-letters list --run {shlex.quote(run.uri)}` shows them",
        )
    return record


def _last_tier(record: Failure, broker: Broker) -> str | None:
    return record.tier if record.tier in broker.tiers else None


def _is_dead(row: PlanRow, status: RunStatus) -> bool:
    return status.states[row.key] in {ShardState.FAILED, ShardState.GIVEN_UP}


def _why_not(row: PlanRow, status: RunStatus) -> str | None:
    """Why a shard cannot be published now, if so."""
    if row.state == "empty":
        return "it is empty: the plan knows that it holds only zeros"
    state = status.states[row.key]
    if state is ShardState.BLOCKED:
        return f"blocked by {', '.join(status.causes(row.key))}"
    if state is ShardState.WAITING:
        return "it waits for its inputs and is published when they are done"
    return None
