"""Terraform: an example of a configuration that makes what `infra up` makes for workers.

Topics, subscriptions, worker pools, the workers' account and its rights; not the buckets, whose
data outlives them, nor the image.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from delivery.broker.pubsub_names import PubSubNames
from infra.bucket_findings import Use
from infra.desired import Binding, Queue, queues
from infra.identities import Account, Identities, bindings
from infra.pools import PoolSettings, pool
from infra.render.workers import Workers
from memmodel.tiers import Tier
from runtime.interpreter import as_named
from runtime.text import json_text

NOTE: Final = (
    "An example, made by `python -m infra render terraform`. The counts of the pools belong to "
    "`infra autoscale`: without ignore_changes each apply would undo them. Rights of Pub/Sub's own "
    "account, by which dead letters move, and the autoscaler's: `python -m infra up`."
)

Resource = tuple[str, str, dict[str, Any]]  # type, name, fields


def render(workers: Workers, settings: PoolSettings, buckets: Mapping[Use, str | None]) -> str:
    """The configuration as `main.tf.json`."""
    found: dict[str, dict[str, Any]] = {}
    for kind, name, fields in _resources(workers, settings, buckets):
        found.setdefault(kind, {})[name] = fields
    document = {
        "//": as_named(NOTE),
        "terraform": {"required_providers": {"google": {"source": "hashicorp/google"}}},
        "provider": {"google": {"project": workers.names.project, "region": workers.region}},
        "resource": found,
    }
    return json_text(document, indent=2)


def _resources(
    workers: Workers, settings: PoolSettings, buckets: Mapping[Use, str | None]
) -> Iterator[Resource]:
    names, account = workers.names, Account(workers.account, "shardlift worker")
    tiers = [tier.name for tier in workers.tiers]
    yield "google_service_account", "worker", {"account_id": account.short}
    for queue in queues(names, tiers, workers.lease_s):
        yield from _queue(queue, names)
    for number, binding in enumerate(bindings(Identities(account), names, tiers, buckets)):
        yield _member(binding, number)
    for tier in workers.tiers:
        yield _pool(workers, settings, tier)


def _queue(queue: Queue, names: PubSubNames) -> Iterator[Resource]:
    own = queue.topic.rpartition("/")[2]
    yield "google_pubsub_topic", _identifier(own), {"name": own, "project": names.project}
    fields: dict[str, Any] = {
        "name": queue.subscription.rpartition("/")[2],
        "project": names.project,
        "topic": f"${{google_pubsub_topic.{_identifier(own)}.id}}",
        **_subscription(queue),
    }
    yield "google_pubsub_subscription", _identifier(fields["name"]), fields


def _subscription(queue: Queue) -> dict[str, Any]:
    """The settings in Terraform's words."""
    wanted: dict[str, Any] = queue.settings(emulator=False)
    found: dict[str, Any] = {
        "ack_deadline_seconds": wanted["ack_deadline_seconds"],
        "message_retention_duration": _seconds(wanted["message_retention_duration"]),
        "retain_acked_messages": wanted["retain_acked_messages"],
        "expiration_policy": {"ttl": ""},  # never
        "retry_policy": {name: _seconds(s) for name, s in wanted["retry_policy"].items()},
    }
    if policy := wanted.get("dead_letter_policy"):
        topic = _identifier(policy["dead_letter_topic"].rpartition("/")[2])
        found["dead_letter_policy"] = {
            **policy,
            "dead_letter_topic": f"${{google_pubsub_topic.{topic}.id}}",
        }
    return found


def _member(binding: Binding, number: int) -> Resource:
    """A role of the workers' account on one resource."""
    fields: dict[str, Any] = {"role": binding.role, "member": binding.member}
    kind, _, own = binding.resource.rpartition("/")
    needed = ["google_service_account.worker"]
    if kind.endswith("topics"):
        topic = f"${{google_pubsub_topic.{_identifier(own)}.id}}"
        member = ("google_pubsub_topic_iam_member", {"topic": topic})
    elif kind.endswith("subscriptions"):
        subscription = f"${{google_pubsub_subscription.{_identifier(own)}.id}}"
        member = ("google_pubsub_subscription_iam_member", {"subscription": subscription})
    else:
        member = ("google_storage_bucket_iam_member", {"bucket": own})
    return member[0], f"worker_{number}", {**member[1], **fields, "depends_on": needed}


def _pool(workers: Workers, settings: PoolSettings, tier: Tier) -> Resource:
    wanted = pool(settings, tier)
    template = wanted.fields["template"]
    fields = {
        **{key: wanted.fields[key] for key in ("client", "client_version", "description")},
        "labels": wanted.fields["labels"],
        "name": wanted.pool_id,
        "project": workers.names.project,
        "location": settings.region,
        "deletion_protection": False,  # true by default: `terraform destroy` would fail
        "scaling": {"manual_instance_count": 0},
        "template": template,
        "lifecycle": {"ignore_changes": ["scaling"]},
        "depends_on": ["google_service_account.worker"],
    }
    return "google_cloud_run_v2_worker_pool", _identifier(wanted.pool_id), fields


def _identifier(name: str) -> str:
    """Name of a resource in Terraform: letters, digits, `_` and `-`; ours begin with a letter."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)


def _seconds(duration: Mapping[str, int]) -> str:
    return f"{duration['seconds']}s"
