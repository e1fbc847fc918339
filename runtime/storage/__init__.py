"""Storage opened by URL: a local directory or a prefix in a GCS bucket."""

from pathlib import Path
from urllib.parse import urlsplit

from runtime.errors import UsageError
from runtime.storage.base import (
    DAY_S,
    OWNER,
    ObjectInfo,
    Pieces,
    Source,
    Storage,
    changed_meanwhile,
    source_stamp,
)
from runtime.storage.local import LocalStorage
from runtime.urls import is_remote, resolve_path

__all__ = [
    "DAY_S",
    "OWNER",
    "ObjectInfo",
    "Pieces",
    "Source",
    "Storage",
    "absolute",
    "changed_meanwhile",
    "join",
    "open_storage",
    "source_stamp",
]


def open_storage(url: str) -> Storage:
    """The storage rooted at `url`: a local directory (which need not exist) or a `gs://` URL."""
    if is_remote(url):
        # Importing Google's client takes about half a second, which local programs need not spend.
        from runtime.storage.gcs import GcsStorage  # noqa: PLC0415

        return GcsStorage(url)
    return LocalStorage(_local(url))


def absolute(url: str) -> str:
    """The one name of a place, as any process can use it: see `resolve_path` for local paths."""
    return url.rstrip("/") if is_remote(url) else str(_local(url))


def join(url: str, path: str) -> str:
    """URL of `path` below the root `url`."""
    return f"{url.rstrip('/')}/{path}"


def _local(url: str) -> Path:
    if "://" in url and not url.startswith("file:///"):
        scheme = urlsplit(url).scheme
        raise UsageError(
            f"no storage speaks {scheme}:// ({url})", hint="use a local directory or gs://..."
        )
    if not url:
        raise UsageError("a path is empty", hint="name a local directory or gs://bucket/prefix")
    return resolve_path(url.removeprefix("file://"))
