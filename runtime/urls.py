"""URLs of storage: local paths and `gs://bucket/prefix`."""

from pathlib import Path
from typing import Final

from runtime.errors import UsageError

GS: Final = "gs://"


def is_remote(url: str) -> bool:
    """Whether a URL names an object or prefix in a bucket, not a local path."""
    return url.startswith(GS)


def split_bucket(url: str) -> tuple[str, str]:
    """Bucket and the rest of a `gs://` URL, which may be empty."""
    bucket, _, rest = url.removeprefix(GS).partition("/")
    return bucket, rest


def resolve_path(path: str) -> Path:
    """The one name of a local path: absolute, `~` expanded, `..` and symbolic links resolved.

    What does not exist yet is resolved as far as its parents exist.

    Raises:
        UsageError: there is no such home directory, or links lead in a circle.
    """
    try:
        return Path(path).expanduser().resolve()
    except (RuntimeError, OSError) as error:  # as pathlib reports them
        raise UsageError(
            f"{path} is not a path on this machine: {error}", hint="write the path out"
        ) from None
