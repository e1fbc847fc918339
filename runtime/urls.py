"""URLs of storage: local paths and `gs://bucket/prefix`."""

from typing import Final

GS: Final = "gs://"


def is_remote(url: str) -> bool:
    """Whether a URL names an object or prefix in a bucket, not a local path."""
    return url.startswith(GS)


def split_bucket(url: str) -> tuple[str, str]:
    """Bucket and the rest of a `gs://` URL, which may be empty."""
    bucket, _, rest = url.removeprefix(GS).partition("/")
    return bucket, rest
