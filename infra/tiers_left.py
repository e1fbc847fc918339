"""What the ledgers say is left for each tier, for the scaling policy."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final

from delivery.broker.base import DEAD
from delivery.ledger.placements import Placement
from delivery.ledger.shard_status import ShardState
from delivery.progress import STALE
from delivery.publishing import Dead, expected_tier
from infra.queue_runs import OpenRun
from infra.scaling_policy import Left
from memmodel.run_context import tier_chooser

_OPEN: Final = (ShardState.READY, ShardState.WAITING)


def left_by_tier(runs: Iterable[OpenRun], now: datetime) -> dict[str, Left]:
    """Shards that are left, by the tier whose workers are to make them.

    A shard counts for the tier of the worker that has it, else for the tier it was moved to, else
    for that of its plan or inputs.

    Args:
        runs: unfinished ones.
        now: the present.
    """
    ready: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    for opened in runs:
        for state, tier in _tiers(opened, now):
            (ready if state is ShardState.READY else waiting)[tier] += 1
    return {tier: Left(ready[tier], waiting[tier]) for tier in ready.keys() | waiting.keys()}


def _tiers(opened: OpenRun, now: datetime) -> Iterator[tuple[ShardState, str]]:
    """State and tier of every open shard that a tier holds."""
    run, status = opened.run, opened.status
    placements = run.placements.list()
    working = _working(opened, placements, now)
    choose = tier_chooser(run)
    for row in run.plan.rows_of(status.keys(*_OPEN)):
        tier: str | Dead | None = working.get(row.key)
        if tier is None:
            tier = expected_tier(row, status, choose, placements)
        if isinstance(tier, str) and tier != DEAD:
            yield status.states[row.key], tier


def _working(opened: OpenRun, placements: Mapping[str, Placement], now: datetime) -> dict[str, str]:
    """The tier of the worker that has a shard, by key; of several the one heard of last."""
    found = {}
    for beat in reversed(opened.heartbeats):  # newest first
        for shard in beat.all_shards:
            moved = placements.get(shard.key)
            if now - beat.at < STALE and (moved is None or moved.at < beat.at):
                found[shard.key] = beat.tier
    return found
