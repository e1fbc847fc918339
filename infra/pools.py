"""Desired homes of workers as data, one per tier: worker pools, or jobs; makes no requests.

A pool is made with an explicit 0 instances, for one without a count runs an instance at once. Its
count belongs to the scaling policy: it is not compared, and no update of a pool touches it.
A job's workers end by themselves when they are idle, so that nobody is paid for waiting.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from delivery.broker.pubsub_names import PubSubNames
from infra.defaults import IDLE_S, Home
from memmodel.tiers import GIB, MIB, Tier
from runtime.errors import UsageError

LEAST_BYTES: Final = 512 * MIB
MOST_BYTES: Final = 32 * GIB
MOST_ID: Final = 49
APP: Final = "shardlift"
APP_LABEL: Final = "app"
QUEUE_LABEL: Final = "shardlift-queue"
TIER_LABEL: Final = "shardlift-tier"
TASK_S: Final = 7 * 24 * 3600  # the longest that Cloud Run lets a task run
RETRIES: Final = 3  # of a task whose worker ended with an error
_ID: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")

Fields = Mapping[str, Any]  # of Cloud Run's WorkerPool or Job, by the names of Google's client


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
        home: pools, or jobs.
    """

    names: PubSubNames
    region: str
    image: str
    service_account: str
    environment: Mapping[str, str]
    version: str
    home: Home = Home.POOLS

    @property
    def parent(self) -> str:
        """Project and region, as resource names begin."""
        return f"projects/{self.names.project}/locations/{self.region}"


@dataclass(frozen=True, slots=True)
class Pool:
    """Desired pool, or job, of a tier.

    Attributes:
        pool_id: within project and region.
        name: full.
        tier: that its workers serve.
        fields: of the resource, without its count.
        home: which of the two it is.
    """

    pool_id: str
    name: str
    tier: Tier
    fields: Fields
    home: Home = Home.POOLS

    @property
    def new(self) -> Fields:
        """Fields of a pool that is made: with no instance."""
        if self.home is Home.JOBS:
            return self.fields
        return {**self.fields, "scaling": {"manual_instance_count": 0}}


def pools(settings: PoolSettings, tiers: Sequence[Tier]) -> tuple[Pool, ...]:
    """Desired pools, or jobs.

    Raises:
        UsageError: a tier or the queue's prefix cannot have a pool.
    """
    return tuple(pool(settings, tier) for tier in tiers)


def pool(settings: PoolSettings, tier: Tier) -> Pool:
    """Desired pool, or job, of a tier.

    Raises:
        UsageError: the tier or the queue's prefix cannot have one.
    """
    wanted_id = pool_id(settings.names, tier)
    _check(wanted_id, tier)
    labels = {APP_LABEL: APP, QUEUE_LABEL: settings.names.prefix, TIER_LABEL: tier.name}
    fields = {
        "client": APP,
        "client_version": settings.version,
        "labels": labels,
        "template": _template(settings, tier, labels),
    }
    if settings.home is Home.POOLS:
        fields["description"] = f"{APP}, tier {tier.name} of {settings.names.url}"
    name = f"{settings.parent}/{settings.home.collection}/{wanted_id}"
    return Pool(wanted_id, name, tier, fields, settings.home)


def pool_id(names: PubSubNames, tier: Tier) -> str:
    """Name of a tier's pool or job within project and region."""
    return f"{names.prefix}-{tier.name}"


def _template(settings: PoolSettings, tier: Tier, labels: Mapping[str, str]) -> Fields:
    tasks = {
        "service_account": settings.service_account,
        "containers": [_container(settings, tier)],
    }
    if settings.home is Home.POOLS:
        return {"labels": labels, **tasks}
    limits = {"max_retries": RETRIES, "timeout": f"{TASK_S}s"}
    return {"labels": labels, "task_count": 1, "template": {**tasks, **limits}}


def _container(settings: PoolSettings, tier: Tier) -> Fields:
    variables = {**settings.environment, "WORKER_MEMORY": f"{tier.limit_bytes // MIB}MiB"}
    leave = ["--until-idle", str(IDLE_S)] if settings.home is Home.JOBS else []
    return {
        "name": "worker",
        "image": settings.image,
        "args": ["consumer", "work", "--tier", tier.name, *leave],
        "env": [{"name": name, "value": variables[name]} for name in sorted(variables)],
        "resources": {"limits": {"cpu": str(tier.vcpus), "memory": _memory(tier)}},
    }


def _check(wanted_id: str, tier: Tier) -> None:
    if not LEAST_BYTES <= tier.limit_bytes <= MOST_BYTES:
        raise UsageError(
            f"tier {tier.name} cannot be a worker pool: Cloud Run gives 512 MiB to 32 GiB",
            hint="name other sizes with --tiers or TIERS, in GiB: 0.5,2,4",
        )
    if not _ID.fullmatch(wanted_id) or len(wanted_id) > MOST_ID:
        raise UsageError(
            f"{wanted_id!r} cannot name a worker pool: lower-case letters, digits and hyphens, "
            f"a letter first, at most {MOST_ID} in all",
            hint="choose a queue pubsub://PROJECT_ID/PREFIX with such a prefix",
        )


def _memory(tier: Tier) -> str:
    if tier.limit_bytes % GIB == 0:
        return f"{tier.limit_bytes // GIB}Gi"
    return f"{tier.limit_bytes // MIB}Mi"
