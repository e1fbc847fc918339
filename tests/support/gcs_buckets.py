"""Metadata of buckets as Google Cloud Storage keeps them: defaults, rules, policies."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

Properties = dict[str, Any]

WEEK_S: Final = 7 * 24 * 3600  # of soft delete, by default
MOST_S: Final = 90 * 24 * 3600
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_REGION: Final = re.compile(r"[A-Z]+-[A-Z]+\d+")
_MULTI: Final = frozenset({"US", "EU", "ASIA"})
_DUAL: Final = frozenset({"NAM4", "EUR4", "EUR5", "EUR7", "EUR8", "ASIA1"})
_CLASSES: Final = frozenset({"STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"})
_ONLY_AT_CREATION: Final = frozenset({"location", "hierarchicalNamespace", "name"})


def problems(name: object, document: Mapping[str, Any]) -> Iterator[str]:
    """What Google refuses in a new or changed bucket."""
    # Google's documents, which a server without buckets to make does not need.
    from tests.support.google_api.discovery import Document  # noqa: PLC0415
    from tests.support.google_api.schemas import problems as schema_problems  # noqa: PLC0415

    found = Document.load("storage.v1").find("POST", "/b")
    assert found is not None
    yield from schema_problems(found[0].schemas, "Bucket", _texts(document), output_allowed=True)
    if not _NAME.fullmatch(str(name)):
        yield f"Invalid bucket name: {name!r}"
    location = str(document.get("location", "US")).upper()
    if not (location in _MULTI | _DUAL or _REGION.fullmatch(location)):
        yield f"The specified location constraint is not valid: {location}"
    seconds = document.get("softDeletePolicy", {}).get("retentionDurationSeconds", 0)
    if int(seconds) and not WEEK_S <= int(seconds) <= MOST_S:
        yield f"softDeletePolicy.retentionDurationSeconds: {seconds} is neither 0 nor 7 to 90 days"
    if document.get("storageClass", "STANDARD") not in _CLASSES:
        yield f"Invalid argument: storageClass {document['storageClass']}"
    uniform = document.get("iamConfiguration", {}).get("uniformBucketLevelAccess", {})
    if document.get("hierarchicalNamespace", {}).get("enabled") and not uniform.get("enabled"):
        yield "Hierarchical namespace buckets must use uniform bucket-level access"


def change_problems(document: Mapping[str, Any], before: Properties) -> Iterator[str]:
    """What Google refuses in a change: among others, what is chosen at creation."""
    for key in sorted(_ONLY_AT_CREATION & document.keys()):
        if document[key] != before.get(key):
            yield f"{key} cannot be changed"


def settled(given: Mapping[str, Any]) -> Properties:
    """Properties of a new bucket, with Google's defaults."""
    moment = now()
    seconds = given.get("softDeletePolicy", {}).get("retentionDurationSeconds", WEEK_S)
    return {
        "storageClass": "STANDARD",
        "timeCreated": moment,
        "updated": moment,
        "metageneration": "1",
        **given,
        "location": str(given.get("location", "US")).upper(),
        "iamConfiguration": {
            "publicAccessPrevention": "inherited",
            "uniformBucketLevelAccess": {"enabled": False},
            **given.get("iamConfiguration", {}),
        },
        "softDeletePolicy": soft_delete(seconds, moment),
    }


def soft_delete(seconds: object, moment: str) -> Properties:
    """A soft delete policy; 0 seconds are off."""
    return {"retentionDurationSeconds": str(seconds), "effectiveTime": moment}


def location_type(location: str) -> str:
    """`region`, `dual-region` or `multi-region`."""
    if location in _MULTI:
        return "multi-region"
    return "dual-region" if location in _DUAL else "region"


def now() -> str:
    """The present time as JSON has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _texts(document: Mapping[str, Any]) -> Properties:
    """The document with its 64-bit numbers as text; Google takes both."""
    found = dict(document)
    for outer, inner in (
        ("softDeletePolicy", "retentionDurationSeconds"),
        ("retentionPolicy", "retentionPeriod"),
    ):
        part = found.get(outer)
        if isinstance(part, dict) and isinstance(part.get(inner), int):
            found[outer] = {**part, inner: str(part[inner])}
    return {key: value for key, value in found.items() if value is not None}
