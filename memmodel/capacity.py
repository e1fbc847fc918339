"""Capacity: number of workers per tier within a budget, on one machine and in the cloud."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from memmodel.tiers import Tier

_ROUNDING: Final = 1e-9  # of sums of dollars


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
    workers = {tier.name: 0 for tier in tiers} | divide(
        {tier.name: wanted[tier.name] for tier in _largest_first(fitting)},
        {tier.name: (tier.limit_bytes, 1) for tier in fitting},
        (budget.memory_bytes, budget.cpus),
    )
    idle = [tier for tier in tiers if wanted[tier.name] and not workers[tier.name]]
    return Allocation(
        workers=workers,
        waiting=tuple(tier.name for tier in idle if tier in fitting),
        too_large=tuple(tier.name for tier in idle if tier not in fitting),
    )


def divide(
    wanted: Mapping[str, int],
    costs: Mapping[str, Sequence[float]],
    budget: Sequence[float],
    running: Mapping[str, int] | None = None,
    giving_way: Sequence[str] = (),
) -> dict[str, int]:
    """Divide a budget among those who want workers: one each, then where most is wanted per worker.

    Args:
        wanted: workers by name; the first come first where one each is too much.
        costs: of one worker, by name: an amount of each resource.
        budget: the same resources; infinity where one has no limit.
        running: workers that are kept, even beyond the budget.
        giving_way: names whose running workers are not kept where a name would get none, the most
            costly first, so that as few as needed go.
    """
    workers = {name: (running or {}).get(name, 0) for name in wanted}
    left = list(budget)
    for name, count in workers.items():
        _spend(left, costs[name], count)
    for name in wanted:
        if (
            wanted[name]
            and not workers[name]
            and _made_room(name, workers, costs, left, giving_way)
        ):
            workers[name] = 1
            _spend(left, costs[name])
    while (neediest := _neediest(wanted, workers, costs, left)) is not None:
        workers[neediest] += 1
        _spend(left, costs[neediest])
    return workers


def _largest_first(tiers: Sequence[Tier]) -> list[Tier]:
    """Tiers in the order in which they get their first worker: large shards take longest."""
    return sorted(tiers, key=lambda tier: -tier.limit_bytes)


def _wanted(waiting: int | None) -> int:
    return 1 if waiting is None else waiting


def _fits(cost: Sequence[float], left: Sequence[float]) -> bool:
    return all(one <= rest + _ROUNDING for one, rest in zip(cost, left, strict=True))


def _made_room(
    name: str,
    workers: dict[str, int],
    costs: Mapping[str, Sequence[float]],
    left: list[float],
    giving_way: Sequence[str],
) -> bool:
    """Whether one worker fits, perhaps after others gave way; if it cannot, none does."""
    kept, room = dict(workers), list(left)
    for other in giving_way:
        while kept[other] and not _fits(costs[name], room):
            kept[other] -= 1
            _spend(room, costs[other], -1)
    if not _fits(costs[name], room):
        return False
    workers.update(kept)
    left[:] = room
    return True


def _spend(left: list[float], cost: Sequence[float], count: int = 1) -> None:
    left[:] = [rest - count * one for one, rest in zip(cost, left, strict=True)]


def _neediest(
    wanted: Mapping[str, int],
    workers: Mapping[str, int],
    costs: Mapping[str, Sequence[float]],
    left: Sequence[float],
) -> str | None:
    """Name with most wanted per worker that still fits; the last, which is small, on a tie."""
    last_first = reversed(list(wanted))
    able = [n for n in last_first if wanted[n] > workers[n] > 0 and _fits(costs[n], left)]
    return max(able, key=lambda name: wanted[name] / workers[name], default=None)
