"""Facts of a bucket that decide what it costs and whether runs can use it."""

from dataclasses import dataclass, field
from typing import Any, Final

DAY_S: Final = 24 * 3600

Untyped = Any  # Google publishes no types


@dataclass(frozen=True, slots=True)
class BucketFacts:
    """Facts of a bucket, as its owner sees them.

    Attributes:
        name: of the bucket.
        location: such as `us-central1`, or `us` for several regions.
        regional: whether it is in one region.
        soft_delete_s: for which deleted objects are kept and billed; 0 is off.
        storage_class: of new objects.
        versioning: whether replaced objects are kept, and billed.
        retention_s: for which objects can be neither replaced nor deleted; 0 is off.
        held: whether new objects are held, so that they can be neither.
        autoclass: whether Google moves objects between classes, for a fee.
        requester_pays: whether readers name a project that pays.
        public_is_prevented: whether no object can be made public.
        readers: origins of web pages whose scripts may read objects.
    """

    name: str
    location: str
    regional: bool = True
    soft_delete_s: int = 0
    storage_class: str = "STANDARD"
    versioning: bool = False
    retention_s: int = 0
    held: bool = False
    autoclass: bool = False
    requester_pays: bool = False
    public_is_prevented: bool = False
    readers: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, bucket: Untyped) -> "BucketFacts":
        """Facts of a bucket of Google's client that was read."""
        return cls(
            name=bucket.name,
            location=str(bucket.location or "").lower(),
            regional=bucket.location_type in {"region", "zone"},
            soft_delete_s=int(bucket.soft_delete_policy.retention_duration_seconds or 0),
            storage_class=bucket.storage_class or "STANDARD",
            versioning=bool(bucket.versioning_enabled),
            retention_s=int(bucket.retention_period or 0),
            held=bool(bucket.default_event_based_hold),
            autoclass=bool(bucket.autoclass_enabled),
            requester_pays=bool(bucket.requester_pays),
            public_is_prevented=bucket.iam_configuration.public_access_prevention == "enforced",
            readers=tuple(
                origin
                for rule in bucket.cors
                if {"GET", "*"} & set(rule.get("method", ()))
                for origin in rule.get("origin", ())
            ),
        )
