"""CREMA, Google's autoscaler for Cloud Run by KEDA's scalers: an example of its configuration."""

from typing import Any, Final

from infra.defaults import Home
from infra.render.workers import Workers
from infra.render.yaml_text import yaml_text
from memmodel.tiers import Tier

POLL_S: Final = 30
_AUTH: Final = "gcp"
_HEAD: Final = """\
# An example: CREMA sets the pools of {url} by the backlog in Cloud Monitoring.
# `infra autoscale`, which this replaces, costs less and stops no busy worker (docs/scaling.md).
# A target above 1 message an instance stops workers that are busy.
"""


def render(workers: Workers, region: str) -> str:
    """The configuration, which CREMA reads from Parameter Manager."""
    head = _HEAD.format(url=workers.names.url)
    return head + yaml_text([configuration(workers, region)])


def configuration(workers: Workers, region: str) -> dict[str, Any]:
    """Its fields; an object per pool."""
    login = {"metadata": {"name": _AUTH}, "spec": {"podIdentity": {"provider": "gcp"}}}
    return {
        "apiVersion": "crema/v1",
        "kind": "CremaConfig",
        "metadata": {"name": workers.names.prefix},
        "spec": {
            "pollingInterval": POLL_S,
            "triggerAuthentications": [login],
            "scaledObjects": [_scaled(workers, tier, region) for tier in workers.tiers],
        },
    }


def _scaled(workers: Workers, tier: Tier, region: str) -> dict[str, Any]:
    names = workers.names
    collection = Home.POOLS.collection.lower()
    pool = f"projects/{names.project}/locations/{region}/{collection}/{workers.name(tier)}"
    trigger = {
        "type": "gcp-pubsub",
        "name": workers.name(tier),
        "metadata": {
            "subscriptionName": names.subscription(tier.name),
            "mode": "NumUndeliveredMessages",
            "value": "1",
        },
        "authenticationRef": {"name": _AUTH},
    }
    return {
        "spec": {
            "scaleTargetRef": {"name": pool},
            "minReplicaCount": 0,
            "maxReplicaCount": workers.per_tier,
            "triggers": [trigger],
        }
    }
