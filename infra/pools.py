"""Desired worker pools as data, one per tier; makes no requests.

A pool is made with an explicit 0 instances, for one without a count runs an instance at once. Its
count belongs to the scaling policy: it is not compared, and no update of a pool touches it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from delivery.broker.pubsub_names import PubSubNames
from memmodel.tiers import GIB, MIB, Tier
from runtime.errors import UsageError

LEAST_BYTES: Final = 512 * MIB
MOST_BYTES: Final = 32 * GIB
MOST_ID: Final = 49
APP: Final = "shardlift"
_ID: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")

Fields = Mapping[str, Any]  # of Cloud Run's WorkerPool, by the names of Google's client


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """What all pools of a queue have in common.

    Attributes:
        names: of the queue.
        region: of the pools.
        image: with its digest, so that a pool's workers are all of one version.
        service_account: address of the workers' account.
        environment: variables of the workers.
        version: of this package.
    """

    names: PubSubNames
    region: str
    image: str
    service_account: str
    environment: Mapping[str, str]
    version: str

    @property
    def parent(self) -> str:
        """Project and region, as resource names begin."""
        return f"projects/{self.names.project}/locations/{self.region}"


@dataclass(frozen=True, slots=True)
class Pool:
    """Desired pool of a tier.

    Attributes:
        pool_id: within project and region.
        name: full.
        tier: that its workers serve.
        fields: of the resource, without its count.
    """

    pool_id: str
    name: str
    tier: Tier
    fields: Fields

    @property
    def new(self) -> Fields:
        """Fields of a pool that is made: with no instance."""
        return {**self.fields, "scaling": {"manual_instance_count": 0}}


def pools(settings: PoolSettings, tiers: Sequence[Tier]) -> tuple[Pool, ...]:
    """Desired pools.

    Raises:
        UsageError: a tier or the queue's prefix cannot have a pool.
    """
    return tuple(_pool(settings, tier) for tier in tiers)


def differences(wanted: object, found: object, path: str = "") -> Iterator[str]:
    """Paths of fields that were set otherwise; fields that the service fills in are passed over."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        for key, value in wanted.items():
            yield from differences(value, found.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from differences(one, other, f"{path}[{number}]")
    elif wanted != found:
        yield path


def _pool(settings: PoolSettings, tier: Tier) -> Pool:
    pool_id = f"{settings.names.prefix}-{tier.name}"
    _check(pool_id, tier)
    labels = {
        "app": APP,
        "shardlift-queue": settings.names.prefix,
        "shardlift-tier": tier.name,
    }
    variables = {**settings.environment, "WORKER_MEMORY": f"{tier.limit_bytes // MIB}MiB"}
    container = {
        "name": "worker",
        "image": settings.image,
        "args": ["consumer", "work", "--tier", tier.name],
        "env": [{"name": name, "value": variables[name]} for name in sorted(variables)],
        "resources": {"limits": {"cpu": str(tier.vcpus), "memory": _memory(tier)}},
    }
    fields = {
        "description": f"{APP}, tier {tier.name} of {settings.names.url}",
        "client": APP,
        "client_version": settings.version,
        "labels": labels,
        "template": {
            "service_account": settings.service_account,
            "labels": labels,
            "containers": [container],
        },
    }
    return Pool(pool_id, f"{settings.parent}/workerPools/{pool_id}", tier, fields)


def _check(pool_id: str, tier: Tier) -> None:
    if not LEAST_BYTES <= tier.limit_bytes <= MOST_BYTES:
        raise UsageError(
            f"tier {tier.name} cannot be a worker pool: Cloud Run gives 512 MiB to 32 GiB",
            hint="name other sizes with --tiers or TIERS, in GiB: 0.5,2,4",
        )
    if not _ID.fullmatch(pool_id) or len(pool_id) > MOST_ID:
        raise UsageError(
            f"{pool_id!r} cannot name a worker pool: lower-case letters, digits and hyphens, "
            f"a letter first, at most {MOST_ID} in all",
            hint="choose a queue pubsub://PROJECT_ID/PREFIX with such a prefix",
        )


def _memory(tier: Tier) -> str:
    if tier.limit_bytes % GIB == 0:
        return f"{tier.limit_bytes // GIB}Gi"
    return f"{tier.limit_bytes // MIB}Mi"
