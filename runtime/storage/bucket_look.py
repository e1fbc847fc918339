"""Properties of a bucket, as its owner sees them: where it is, and what happens to deletions."""

import re
from dataclasses import dataclass
from typing import Final

from runtime import settings
from runtime.urls import GS, split_bucket

_REGION: Final = re.compile(r"[a-z]+-[a-z]+\d+")  # several regions are one word, such as us


@dataclass(frozen=True, slots=True)
class BucketProperties:
    """Properties of a bucket that cost time or money.

    Attributes:
        name: of the bucket.
        location: such as `us-central1`, or `us` for several regions.
        regional: whether it is in one region.
        soft_delete_s: for which deleted objects are kept, and billed.
    """

    name: str
    location: str
    regional: bool
    soft_delete_s: int


def look_at_bucket(url: str) -> BucketProperties:
    """Properties of the bucket of a `gs://` place; a right that no role on objects has.

    Raises:
        ShardliftError: it cannot be seen: no such bucket, no permission, no connection.
    """
    # Google's libraries take a second to import, and places on this machine need none.
    from runtime.storage.gcs_client import client  # noqa: PLC0415 - see above
    from runtime.storage.gcs_errors import call_with_retry, translate_errors  # noqa: PLC0415

    name, _ = split_bucket(url)
    payer = settings.get(settings.USER_PROJECT)
    bucket = client().bucket(name, user_project=payer)
    with translate_errors(f"{GS}{name}"):
        call_with_retry(lambda: bucket.reload(retry=None))
    location = str(bucket.location or "").lower()
    kept_s = bucket.soft_delete_policy.retention_duration_seconds
    return BucketProperties(
        name, location, _REGION.fullmatch(location) is not None, int(kept_s or 0)
    )
