"""Instances of a queue's worker pools, and their price."""

from collections.abc import Mapping
from contextlib import closing

from infra import queue_pools
from infra.actions.inputs import needed_region, queue_names
from infra.commands.options import QueueOptions
from infra.documents import InstancesDocument
from infra.pool_client import PoolClient
from runtime import cli
from runtime.text import counted


def show_instances(target: QueueOptions, region: str | None, *, json: bool) -> None:
    """Print the instances that there are now, and dollars per hour.

    Args:
        target: the queue.
        region: of its pools.
        json: print one document.
    """
    names = queue_names(target)
    parent = f"projects/{names.project}/locations/{needed_region(region)}"
    with closing(PoolClient(parent)) as client:
        pools = queue_pools.read_pools(client, names)
    if json:
        document = InstancesDocument(
            queue=names.url,
            counts=dict(pools.counts),
            dollars_per_hour=queue_pools.dollars_per_hour(pools.counts),
            autoscaler=pools.own.count if pools.own else None,
        )
        cli.print_document(document)
        return
    watching = pools.own is not None and pools.own.count > 0
    cli.print_line(f"{counts_text(pools.counts)}{', the autoscaler runs' if watching else ''}")


def counts_text(counts: Mapping[str, int]) -> str:
    """Counts by tier, with their price: `3 instances (2gi 1, 4gi 2), $0.20/h`."""
    running = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    whole = counted(sum(counts.values()), "instance")
    return f"{whole}{running and f' ({running})'}, ${queue_pools.dollars_per_hour(counts):.2f}/h"
