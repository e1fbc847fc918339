"""`infra check --canary`: which pools get a canary, one after another."""

from collections.abc import Callable, Mapping
from contextlib import closing

from delivery.broker.pubsub_names import PubSubNames
from infra.bucket_findings import Use
from infra.canary import KIND, Canary
from infra.changes import Action, Change
from infra.defaults import CANARY_S
from infra.pool_client import PoolClient
from infra.pool_configuration import STATE_HINT, state_root
from infra.queue_pools import QueuePools, dollars_per_hour, read_pools
from runtime.errors import UsageError
from runtime.text import counted


def check_pools(
    names: PubSubNames,
    region: str,
    places: Mapping[Use, str | None],
    say: Callable[[str], None],
    *,
    each: bool,
    most_s: float = CANARY_S,
) -> list[Change]:
    """A canary in the smallest pool of a queue, or in each, one after another.

    Args:
        names: of the queue.
        region: of the pools.
        places: of the runs.
        say: prints a line for people.
        each: in each pool.
        most_s: for each.

    Raises:
        UsageError: no state root is known, by which workers answer.
    """
    if state_root(places[Use.STATE]) is None:
        raise UsageError(
            "a canary answers through the state root, and none is given",
            hint=STATE_HINT,
        )
    with closing(PoolClient(f"projects/{names.project}/locations/{region}")) as client:
        pools = read_pools(client, names)
        if reason := _reason_for_none(pools):
            return [Change(Action.SKIP, KIND, "all", reason)]
        canaries = Canary(client, names, region, places, most_s=most_s)
        changes = []
        for tier in pools.tiers if each else pools.tiers[:1]:
            pool = pools.by_tier[tier.name]
            price = dollars_per_hour({tier.name: 1})
            say(f"canary: 1 instance of {pool.pool_id}, ${price:.2f}/h, for {most_s:.0f} s at most")
            changes.append(canaries.check(tier.name, pool))
        return changes


def _reason_for_none(pools: QueuePools) -> str:
    """Why no instance is started."""
    if not pools.tiers:
        return "there are no worker pools; `python -m infra up` makes them"
    if pools.own is not None and pools.own.count:
        return "the autoscaler runs, and sets the counts"
    running = sum(one.count for one in pools.by_tier.values() if not one.left_by_canary)
    return f"workers run already: {counted(running, 'instance')}" if running else ""
