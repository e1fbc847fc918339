"""What options name, checked: the queue, the region, the state root, the resources."""

from typing import Final

from delivery.broker.pubsub_names import PubSubNames
from infra.commands.options import PlaceOptions, QueueOptions, ResourceOptions
from infra.pool_configuration import STATE_HINT, state_root
from infra.request import REGION_HINT, InfraRequest
from runtime.errors import UsageError

NO_QUEUE: Final = "which queue? An embedded one needs no infra"


def queue_names(target: QueueOptions, without: str = NO_QUEUE) -> PubSubNames:
    """Names of the queue.

    Args:
        target: as options name it.
        without: what is said where they do not.

    Raises:
        UsageError: no option and no setting names one.
    """
    if target.queue is None and target.project is None:
        raise UsageError(without, hint="pass --queue pubsub://PROJECT_ID/PREFIX, or set PROJECT_ID")
    return PubSubNames.parse(target.queue or f"pubsub://{target.project}/{target.base_name}")


def needed_region(region: str | None) -> str:
    """Region of the worker pools.

    Raises:
        UsageError: none is named.
    """
    if region is None:
        raise UsageError("in which region are the worker pools?", hint=REGION_HINT)
    return region


def needed_root(state: str | None, without: str) -> str:
    """Root of the runs.

    Args:
        state: as options name it.
        without: what is said where neither option nor setting names one.

    Raises:
        UsageError: none is named, or workers in the cloud could not read it.
    """
    root = state_root(state)
    if root is None:
        raise UsageError(without, hint=STATE_HINT)
    return root


def infra_request(
    names: PubSubNames, parts: frozenset[str], resources: ResourceOptions, places: PlaceOptions
) -> InfraRequest:
    """Request of resources for a queue."""
    return InfraRequest(
        names,
        parts,
        resources.tiers,
        resources.lease,
        project_number=resources.project_number,
        region=resources.region,
        image=resources.image,
        account=resources.worker_account,
        home=resources.home,
        state=places.state,
        source=places.source,
        dest=places.dest,
        autoscaler=resources.autoscaler_account,
        builder=resources.build_account,
    )
