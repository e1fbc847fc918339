"""Scaling policy: instances of each tier's pool, from what there is to do; a pure function.

- Up at about four shards a worker, since a start costs seconds; one each for the last eight.
- Never down while a tier has a ready shard: a scale-in kills whichever instance, busy or not.
- Not down either while its shards only wait for inputs, unless a tier with a ready shard would get
  no instance otherwise: perhaps that shard is what they wait for.
- To 0 as soon as the ledger says that nothing is left. Metrics are minutes late, the ledger is not.
- What is not known changes nothing.
- Within caps: per tier, in all, in dollars per hour, and the region's quota.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from infra.defaults import PER_TIER
from memmodel.capacity import divide
from memmodel.cost import dollars_per_second
from memmodel.tiers import GIB, Tier

SHARDS_PER_WORKER: Final = 4
LAST_SHARDS: Final = 8
HELD_SHARE: Final = 0.1  # of the instances that may escalate shards
_HOUR_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Left:
    """What the ledger says is left for a tier, over all runs of the queue.

    A shard counts for the tier that its worker has, or that it was escalated to, where that is
    known; else for the tier of its plan.

    Attributes:
        ready: unfinished shards whose inputs are done, also those in work.
        waiting: unfinished shards whose inputs are not.
    """

    ready: int = 0
    waiting: int = 0

    @property
    def shards(self) -> int:
        """All of them."""
        return self.ready + self.waiting


@dataclass(frozen=True, slots=True)
class Caps:
    """Upper limits; infinity where there is none.

    Attributes:
        per_tier: instances of each tier.
        total: instances in all.
        dollars_per_hour: of all instances.
        vcpus: of all instances, by the region's quota.
        memory_gib: likewise.
    """

    per_tier: int = PER_TIER
    total: float = math.inf
    dollars_per_hour: float = math.inf
    vcpus: float = math.inf
    memory_gib: float = math.inf

    @property
    def budget(self) -> tuple[float, ...]:
        """The limits of all instances together, in the order of `instance_cost`."""
        return (self.total, self.dollars_per_hour, self.vcpus, self.memory_gib)


def instance_cost(tier: Tier) -> tuple[float, ...]:
    """What one instance takes of a budget: itself, dollars per hour, vCPUs, GiB."""
    return (1, dollars_per_second(tier) * _HOUR_S, tier.vcpus, tier.limit_bytes / GIB)


def workers_for(shards: int) -> int:
    """Number of workers that so many shards are worth."""
    return shards if shards <= LAST_SHARDS else math.ceil(shards / SHARDS_PER_WORKER)


def desired_counts(
    tiers: Sequence[Tier],
    running: Mapping[str, int],
    left: Mapping[str, Left] | None,
    backlog: Mapping[str, int | None],
    caps: Caps,
    *,
    give_way: bool = True,
) -> dict[str, int]:
    """Instances that each tier's pool should have.

    Caps bound what is added: a cap that was lowered below what runs stops no busy instance. Idle
    ones, of tiers without ready shards and messages, give way to the first one of a tier that has.

    Args:
        tiers: smallest first.
        running: instances that the pools have now.
        left: by the ledger; a tier that is absent has nothing left. None if it cannot be read.
        backlog: messages that are not acked, by the metrics; None or absent if unknown.
        caps: upper limits.
        give_way: whether idle instances may be stopped for a tier that would get none; False
            where not all runs of the queue are known.
    """
    now = {tier.name: running.get(tier.name, 0) for tier in tiers}
    if left is None:
        return now
    wanted: dict[str, int | None] = {}
    for place, tier in enumerate(tiers):
        smaller = [one.name for one in tiers[:place] if left.get(one.name, Left()).ready]
        senders = sum(now[name] for name in smaller) if smaller else None
        wanted[tier.name] = _wanted(
            left.get(tier.name, Left()), backlog.get(tier.name) or 0, now[tier.name], senders
        )
    kept = {name: now[name] for name, count in wanted.items() if count is not None}
    idle = [tier.name for tier in reversed(tiers) if give_way and wanted[tier.name] == 0]
    counts = divide(
        {
            tier.name: min(caps.per_tier, wanted[tier.name] or 0)
            for tier in sorted(tiers, key=lambda tier: -tier.limit_bytes)
        },
        {tier.name: instance_cost(tier) for tier in tiers},
        caps.budget,
        kept,
        idle,
    )
    return {tier.name: counts[tier.name] for tier in tiers}


def _wanted(left: Left, messages: int, running: int, senders: int | None) -> int | None:
    """Workers that a tier is worth, 0 to keep those it has; None if it is to have none.

    Args:
        left: for the tier.
        messages: of the tier, perhaps minutes old.
        running: instances of the tier.
        senders: instances of smaller tiers with ready shards, which may escalate some; None if
            there is no such shard.
    """
    if left.shards:
        return workers_for(max(left.ready, messages))
    if senders is None:
        return None  # messages are late metrics or duplicates
    if messages:
        return workers_for(messages)
    # A shard that is escalated while a count is written would be killed. A few idle instances are
    # kept for it; many cost more than that rare second of work.
    return 0 if running <= math.ceil(senders * HELD_SHARE) else None
