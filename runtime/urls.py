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
        UsageError: there is no such home directory, links lead in a circle, or it holds a NUL
            or a name that is not UTF-8.
    """
    try:
        found = Path(path).expanduser().resolve()
    except (RuntimeError, OSError, ValueError) as error:  # as pathlib reports them
        raise UsageError(
            f"{path} is not a path on this machine: {error}", hint="write the path out"
        ) from None
    try:
        str(found).encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{path} is not a path that the ledger can hold: a name in it is not UTF-8",
            hint="rename that file or folder, for instance with convmv",
        ) from None
    # POSIX leaves two leading slashes to each system; on ours they are one.
    return Path(f"/{str(found).lstrip('/')}") if str(found).startswith("//") else found
