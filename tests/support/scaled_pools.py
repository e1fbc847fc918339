"""Pools of a queue on the strict Google server, and an autoscaler beside them, for tests."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from delivery.broker import open_broker
from delivery.broker.base import Broker
from delivery.broker.pubsub_names import PubSubNames
from infra.autoscaler import Autoscaler
from infra.pool_client import PoolClient
from infra.queue_pools import AUTOSCALER
from infra.queue_runs import QueueRuns
from infra.scaling_policy import Caps

REGION = "us-central1"
IMAGE = f"{REGION}-docker.pkg.dev/some-project/shardlift/shardlift@sha256:{'0' * 64}"


def parent(queue: str) -> str:
    """Project and region of a queue's pools."""
    return f"projects/{PubSubNames.parse(queue).project}/locations/{REGION}"


def pool_name(queue: str, which: str) -> str:
    """Full name of the pool of a tier, or of the autoscaler."""
    return f"{parent(queue)}/workerPools/{PubSubNames.parse(queue).prefix}-{which}"


def make_pools(
    queue: str, tiers: Sequence[str], *, poll_s: float = 30.0, **environment: str
) -> None:
    """Pools of these tiers with no instance, and one for the autoscaler, with more variables."""
    client = PoolClient(parent(queue))
    for which in (*tiers, AUTOSCALER):
        pool_id = pool_name(queue, which).rpartition("/")[2]
        autoscale = ["infra", "autoscale", "--until-stopped", "--poll", str(poll_s)]
        args = autoscale if which == AUTOSCALER else ["consumer", "work", "--tier", which]
        own = {"QUEUE_URL": queue, "REGION": REGION, **environment} if which == AUTOSCALER else {}
        env = [{"name": name, "value": value} for name, value in own.items()]
        container = {"image": IMAGE, "args": args, "env": env}
        fields = {
            "template": {"containers": [container]},
            "scaling": {"manual_instance_count": 0},
        }
        client.run.wait([client.create(pool_id, fields)])
    client.close()


def make_autoscaler(
    queue: str,
    folder: Path,
    tiers: Sequence[str],
    caps: Caps | None = None,
    clock: Callable[[], float] = time.monotonic,
    *,
    in_own_pool: bool = False,
) -> Autoscaler:
    """An autoscaler of runs below `folder/dest.runs`; its queue is a file there."""

    def open_with(more: Sequence[str]) -> Broker:
        return open_broker(f"sqlite:{folder}/queue.db", list(dict.fromkeys([*tiers, *more])), 5)

    return Autoscaler(
        PoolClient(parent(queue)),
        PubSubNames.parse(queue),
        QueueRuns(queue, [f"{folder}/dest.runs"]),
        open_with,
        caps=caps or Caps(),
        region=REGION,
        in_own_pool=in_own_pool,
        clock=clock,
    )
