"""Files and folders below a directory, listed as objects of a bucket would be."""

import contextlib
import errno
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Final

from runtime.errors import ObjectNotFound, UnreachableError
from runtime.storage import files
from runtime.storage.base import TEMPORARY_PREFIX, ObjectInfo

_WITHOUT_TARGET: Final = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


def walk(
    root: Path, inside: str, prefix: str, above: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[ObjectInfo]:
    """List files below a folder, in the order of their paths.

    A link to a folder above it is not followed: what lies there is listed already.

    Args:
        root: that paths are relative to.
        inside: the folder, relative to the root; empty, or ends with a slash.
        prefix: of the paths wanted.
        above: folders that lie above it.
    """
    identity = _identity(root / inside)
    if identity in above:
        return
    within = inside.startswith(prefix)  # then so is all that lies there
    for name, found in sorted_entries(root / inside):
        if name.startswith(TEMPORARY_PREFIX):
            continue
        path = inside + name
        if found is None and name[-1] == "/":
            if within or path.startswith(prefix) or prefix.startswith(path):
                yield from walk(root, path, prefix, above | {identity})
        elif within or path.startswith(prefix):
            yield _broken_link(path) if found is None else file_info(path, found)


def _identity(directory: Path) -> tuple[int, int]:
    """Device and number of a folder; of one that is gone, none that a folder has."""
    try:
        found = directory.stat()
    except OSError:  # told where its entries are read
        return -1, -1
    return found.st_dev, found.st_ino


def sorted_entries(directory: Path) -> list[tuple[str, os.stat_result | None]]:
    """Names in the order of whole paths; directories end with a slash.

    Directories and links without a target have stat None.

    Raises:
        UnreachableError: the directory itself is such a link; what it leads to is not nothing.
    """
    if directory.is_symlink() and not directory.exists():
        raise UnreachableError(
            f"{directory} is a symbolic link without a target", hint="is its disk mounted?"
        )
    entries: list[tuple[str, os.stat_result | None]] = []
    with (
        contextlib.suppress(ObjectNotFound),
        files.translate_read_errors(directory),
        os.scandir(directory) as it,
    ):
        for entry in it:
            try:
                directory_found = entry.is_dir()
                found = None if directory_found else entry.stat()
            except OSError as error:
                if error.errno not in _WITHOUT_TARGET:
                    raise
                if entry.is_symlink():  # else removed during the listing
                    entries.append((entry.name, None))
            else:
                entries.append((f"{entry.name}/" if directory_found else entry.name, found))
    return sorted(entries, key=itemgetter(0))


def file_info(path: str, found: os.stat_result) -> ObjectInfo:
    """Size and time of a file, without a checksum."""
    modified = datetime.fromtimestamp(found.st_mtime, UTC)
    return ObjectInfo(path, found.st_size, None, modified, None, found.st_mtime_ns)


def _broken_link(path: str) -> ObjectInfo:
    return ObjectInfo(path, 0, None, datetime.fromtimestamp(0, UTC), None, broken_link=True)
