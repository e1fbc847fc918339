"""Pool that the autoscaler of a queue runs in: made, and kept at one version, from a worker's pool.

It is made by the first command that publishes work, so that `infra up` need not be run again.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

from google.api_core import exceptions as api

from delivery.broker.pubsub_names import PubSubNames
from infra.identities import autoscaler_account
from infra.pool_client import FoundPool, PoolClient
from infra.pools import APP, APP_LABEL, QUEUE_LABEL
from infra.queue_pools import QueuePools, autoscaler_id
from runtime import settings

_CAPS: Final = (
    settings.MAX_INSTANCES_PER_TIER,
    settings.MAX_INSTANCES,
    settings.MAX_DOLLARS_PER_HOUR,
    settings.MAX_VCPUS,
    settings.MAX_MEMORY_GIB,
)

Fields = dict[str, Any]


def keep_pool(
    client: PoolClient, names: PubSubNames, region: str, pools: QueuePools
) -> FoundPool | None:
    """The autoscaler's pool, made if it is missing and updated if its workers' image differs.

    Args:
        client: of the pools' project and region.
        names: of the queue.
        region: of the pools.
        pools: of the queue; there is one at least.

    Raises:
        UsageError: this account may not do so, or the prefix of the queue is too long.
    """
    model = next(iter(pools.by_tier.values()))
    fields = _fields(names, region, model)
    if pools.own is None:
        new = {**fields, "scaling": {"manual_instance_count": 0}}
        try:
            operation = client.create(autoscaler_id(names), new)
        except api.Conflict:  # by another command meanwhile
            pass
        else:
            client.run.wait([operation])
        return client.get(_name(client, names))
    if _version(pools.own.container) == _version(fields["template"]["containers"][0]):
        return pools.own
    client.run.wait([client.update(pools.own, fields, ["template"])])
    return client.get(pools.own.name)


def _name(client: PoolClient, names: PubSubNames) -> str:
    return f"{client.run.parent}/workerPools/{autoscaler_id(names)}"


def _fields(names: PubSubNames, region: str, model: FoundPool) -> Fields:
    labels = {APP_LABEL: APP, QUEUE_LABEL: names.prefix}
    environment = {
        **_environment(model.container),
        settings.QUEUE_URL: names.url,
        settings.REGION: region,
        **{name: value for name in _CAPS if (value := settings.get(name))},
    }
    environment.pop(settings.WORKER_MEMORY, None)
    container = {
        "name": "autoscaler",
        "image": model.container["image"],
        "args": ["infra", "autoscale", "--until-stopped"],
        "env": [{"name": name, "value": environment[name]} for name in sorted(environment)],
        "resources": {"limits": {"cpu": "1", "memory": "512Mi"}},
    }
    template: Fields = {
        "labels": labels,
        "containers": [container],
        "service_account": autoscaler_account(names.project).email,
    }
    return {
        "description": f"{APP}, autoscaler of {names.url}",
        "client": APP,
        "client_version": version("shardlift"),
        "labels": labels,
        "template": template,
    }


def _environment(container: Mapping[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container.get("env", ()) if "value" in one}


def _version(container: Mapping[str, Any]) -> tuple[object, dict[str, str]]:
    """What an older autoscaler has otherwise: image, and variables."""
    return container.get("image"), _environment(container)
