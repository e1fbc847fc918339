"""Capacity: number of workers per tier, for a fleet on one machine and for the cloud."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from memmodel.tiers import Tier


@dataclass(frozen=True, slots=True)
class Budget:
    """Memory and CPUs that one machine may spend on workers."""

    memory_bytes: int
    cpus: int


@dataclass(frozen=True, slots=True)
class Allocation:
    """Workers per tier, and tiers with work that get none."""

    workers: Mapping[str, int]
    waiting: tuple[str, ...]  # the budget is used up by other tiers
    too_large: tuple[str, ...]  # one worker of these is more than the whole budget


def allocate(
    backlog: Mapping[str, int | None], tiers: Sequence[Tier], budget: Budget
) -> Allocation:
    """Divide a machine among the tiers that have work.

    Each worker may use its tier's whole limit and keeps about one CPU busy. The largest tier with
    work comes first, one worker each, since its shards take longest; what is left goes where most
    shards wait per worker.

    Args:
        backlog: shards waiting or leased, by tier; None is unknown and worth one worker.
        tiers: all tiers.
        budget: memory and CPUs of this machine.
    """
    wanted = {tier.name: _wanted(backlog.get(tier.name, 0)) for tier in tiers}
    fitting = [tier for tier in tiers if tier.limit_bytes <= budget.memory_bytes]
    workers = {tier.name: 0 for tier in tiers}
    left = budget
    for tier in sorted(fitting, key=lambda tier: -tier.limit_bytes):
        if wanted[tier.name] and _fits(tier, left):
            workers[tier.name], left = 1, _spend(left, tier)
    while (needy := _neediest(fitting, wanted, workers, left)) is not None:
        workers[needy.name], left = workers[needy.name] + 1, _spend(left, needy)
    idle = [tier for tier in tiers if wanted[tier.name] and not workers[tier.name]]
    return Allocation(
        workers=workers,
        waiting=tuple(tier.name for tier in idle if tier in fitting),
        too_large=tuple(tier.name for tier in idle if tier not in fitting),
    )


@dataclass(frozen=True, slots=True)
class CloudRule:
    """Scaling rule: how a tier's worker pool follows its backlog."""

    most: int = 100
    shards_per_worker: float = 4.0  # fewer starts than shards: a start costs seconds
    idle_s: float = 300.0  # scale-in kills any instance, so only after this long without work


def cloud_workers(
    unfinished: int | None, running: int, idle_for_s: float, rule: CloudRule | None = None
) -> int:
    """Number of instances that a tier's worker pool should have.

    Never fewer than now while a message is waiting or in flight, because a scale-in kills any
    worker; none after a while without work; unchanged while the backlog is unknown.

    Args:
        unfinished: messages not yet acked, waiting or in flight; None when unknown.
        running: instances now.
        idle_for_s: how long `unfinished` has been 0.
        rule: limits; the defaults if None.
    """
    rule = rule or CloudRule()
    if unfinished is None:
        return running
    if unfinished == 0:
        return 0 if idle_for_s >= rule.idle_s else running
    return max(running, min(rule.most, math.ceil(unfinished / rule.shards_per_worker)))


def _wanted(waiting: int | None) -> int:
    return 1 if waiting is None else waiting


def _fits(tier: Tier, left: Budget) -> bool:
    return left.cpus >= 1 and tier.limit_bytes <= left.memory_bytes


def _spend(left: Budget, tier: Tier) -> Budget:
    return Budget(left.memory_bytes - tier.limit_bytes, left.cpus - 1)


def _neediest(
    tiers: Sequence[Tier], wanted: Mapping[str, int], workers: Mapping[str, int], left: Budget
) -> Tier | None:
    """Tier with most shards per worker that still fits; the smaller one on a tie."""
    able = [t for t in tiers if wanted[t.name] > workers[t.name] > 0 and _fits(t, left)]
    return max(able, key=lambda t: (wanted[t.name] / workers[t.name], -t.limit_bytes), default=None)
