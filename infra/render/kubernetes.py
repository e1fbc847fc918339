"""Kubernetes: a work-queue Job per tier, whose workers end by themselves."""

import re
from typing import Any, Final

from infra.render.workers import Workers
from infra.render.yaml_text import yaml_text
from memmodel.tiers import MIB, Tier
from runtime.errors import EXIT_USAGE, UsageError

ACCOUNT: Final = "shardlift-worker"
GRACE_S: Final = 30
BACKOFF: Final = 100  # pods that fail by themselves, before the Job does
KEPT_S: Final = 7 * 24 * 3600  # after its end
USER: Final = 10001  # of the image
_SPOT: Final = "cloud.google.com/gke-spot"
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

Manifest = dict[str, Any]

_HEAD: Final = """\
# Workers of {url}: a Job per tier, whose pods end when no message came for {idle} s.
# kubectl apply -f THIS_FILE ; once more, after `kubectl delete job -l shardlift-queue={prefix}`.
"""


def render(workers: Workers, *, spot: bool) -> str:
    """Manifests as YAML.

    Args:
        workers: of the queue.
        spot: on GKE's Spot nodes only, which may be taken away at any time.

    Raises:
        UsageError: the queue's prefix cannot name a Job, or there is no image.
    """
    if not workers.image:
        raise UsageError(
            "which image do the pods run?",
            hint="pass --image IMAGE@DIGEST, or set WORKER_IMAGE; the Dockerfile makes one",
        )
    head = _HEAD.format(url=workers.names.url, idle=workers.idle_s, prefix=workers.names.prefix)
    return head + yaml_text(manifests(workers, spot=spot))


def manifests(workers: Workers, *, spot: bool) -> list[Manifest]:
    """The workers' account, then a Job per tier."""
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {
            "name": ACCOUNT,
            "annotations": {"iam.gke.io/gcp-service-account": workers.account},
        },
    }
    return [account, *(_job(workers, tier, spot=spot) for tier in workers.tiers)]


def _job(workers: Workers, tier: Tier, *, spot: bool) -> Manifest:
    name = workers.name(tier)
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a Kubernetes Job: lower-case letters, digits and hyphens, "
            "at most 63 in all",
            hint="choose a queue pubsub://PROJECT_ID/PREFIX with such a prefix",
        )
    labels = workers.labels(tier)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            # Without `completions`: the queue knows what is left, and no pod is replaced once one
            # has found nothing more to do.
            "parallelism": workers.per_tier,
            "backoffLimit": BACKOFF,
            "ttlSecondsAfterFinished": KEPT_S,
            "podFailurePolicy": {"rules": _rules()},
            "template": {"metadata": {"labels": labels}, "spec": _pod(workers, tier, spot=spot)},
        },
    }


def _rules() -> list[Manifest]:
    """A pod that the cluster takes away is no failure; a wrong configuration stays one."""
    wrong = {"containerName": "worker", "operator": "In", "values": [EXIT_USAGE]}
    return [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": wrong},
    ]


def _pod(workers: Workers, tier: Tier, *, spot: bool) -> Manifest:
    placed: Manifest = {}
    if spot:
        tolerated = {"key": _SPOT, "operator": "Equal", "value": "true", "effect": "NoSchedule"}
        placed = {"nodeSelector": {_SPOT: "true"}, "tolerations": [tolerated]}
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_S,
        "serviceAccountName": ACCOUNT,
        **placed,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(workers, tier)],
    }


def _container(workers: Workers, tier: Tier) -> Manifest:
    size = f"{tier.limit_bytes // MIB}Mi"
    return {
        "name": "worker",
        "image": workers.image,
        "args": workers.arguments(tier.name),
        "env": [{"name": n, "value": value} for n, value in workers.variables(tier).items()],
        "resources": {
            "requests": {"cpu": str(tier.vcpus), "memory": size},
            "limits": {"memory": size},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
