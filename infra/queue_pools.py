"""Worker pools of one queue among all pools of a region: one per tier, and the autoscaler's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from delivery.broker.pubsub_names import PubSubNames
from infra.pool_client import FoundPool, PoolClient
from infra.scaling_policy import instance_cost
from memmodel.tiers import Tier, tier_of
from runtime.errors import UsageError

AUTOSCALER: Final = "autoscaler"
_DOLLARS: Final = 1  # place among the costs of an instance


@dataclass(frozen=True)
class QueuePools:
    """The pools of a queue as they were read, all at once.

    Attributes:
        tiers: that have a pool, smallest first.
        by_tier: pools by the tier's name.
        own: of the autoscaler; None if there is none.
    """

    tiers: Sequence[Tier]
    by_tier: Mapping[str, FoundPool]
    own: FoundPool | None

    @property
    def counts(self) -> dict[str, int]:
        """Instances that each tier's pool is to have."""
        return {name: pool.count for name, pool in self.by_tier.items()}


def autoscaler_id(names: PubSubNames) -> str:
    """Id of the pool that the autoscaler of a queue runs in."""
    return f"{names.prefix}-{AUTOSCALER}"


def read_pools(client: PoolClient, names: PubSubNames) -> QueuePools:
    """Read the pools of a queue."""
    found: dict[Tier, FoundPool] = {}
    own = None
    for pool in client.list():
        if pool.pool_id == autoscaler_id(names):
            own = pool
        elif (tier := _tier(pool, names)) is not None:
            found[tier] = pool
    tiers = sorted(found, key=lambda tier: tier.limit_bytes)
    return QueuePools(tiers, {tier.name: found[tier] for tier in tiers}, own)


def dollars_per_hour(counts: Mapping[str, int]) -> float:
    """Price of so many instances by tier, at list prices."""
    return sum(count * instance_cost(tier_of(name))[_DOLLARS] for name, count in counts.items())


def _tier(pool: FoundPool, names: PubSubNames) -> Tier | None:
    name = pool.pool_id.removeprefix(f"{names.prefix}-")
    if name == pool.pool_id:
        return None
    try:
        return tier_of(name)
    except UsageError:
        return None  # of another queue, whose prefix is longer
