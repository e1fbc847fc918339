"""Storage in a local directory."""

import contextlib
import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from runtime.errors import ObjectNotFound, UnreachableError
from runtime.storage import files
from runtime.storage.base import (
    DAY_S,
    ObjectInfo,
    Pieces,
    Storage,
    checked,
    is_temporary,
    source_stamp,
)
from runtime.storage.checksum import encode
from runtime.storage.stream import ShardStream

_WITHOUT_TARGET: Final = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


class LocalSource:
    """One file read by ranges; if it is replaced, reads keep returning the old bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self.requests = 0
        self._lock = threading.Lock()
        with files.translate_read_errors(path):
            self._file = path.open("rb", buffering=0)  # refuses a directory
        found = os.fstat(self._file.fileno())
        self.size = found.st_size
        self.stamp = source_stamp(_info(self.name, found))

    def changed(self) -> bool:
        """Whether the file was written since it was opened; one that took its place is another."""
        return source_stamp(_info(self.name, os.fstat(self._file.fileno()))) != self.stamp

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`; fewer than `length` only at the file's end."""
        with self._lock:
            self.requests += 1
        fd = self._file.fileno()
        with files.translate_read_errors(self.path):
            data = more = os.pread(fd, length, offset)
            while more and len(data) < length and offset + len(data) < self.size:
                more = os.pread(fd, length - len(data), offset + len(data))  # none: it was cut
                data += more
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class LocalStorage(Storage):
    """Files below one directory, which the first write creates."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)

    def read(self, path: str) -> bytes:
        """The whole file."""
        file = self._file(path)
        with files.translate_read_errors(file):
            return files.with_retry(file.read_bytes)()

    def source(self, path: str) -> LocalSource:
        """The file for reading by ranges."""
        return LocalSource(self._file(path))

    def stat(self, path: str) -> ObjectInfo:
        """Size and time; without a checksum, which would need a read of the file."""
        file = self._file(path)
        with files.translate_read_errors(file):
            found = files.with_retry(file.stat)()
        if stat.S_ISDIR(found.st_mode):
            raise ObjectNotFound(f"not found: {file}")
        return _info(path, found)

    def list(self, prefix: str = "", *, broken_links: bool = False) -> Iterator[ObjectInfo]:
        """All files whose path begins with `prefix`, sorted by path."""
        parent = prefix.rpartition("/")[0]
        for info in self._walk(checked(parent) + "/" if parent else "", prefix):
            if broken_links or not info.broken_link:
                yield info

    def folders(self) -> Sequence[str]:
        """The directories below the root."""
        entries = _sorted_entries(self.root)
        return [name.rstrip("/") for name, _ in entries if name.endswith("/")]

    def _walk(self, inside: str, prefix: str) -> Iterator[ObjectInfo]:
        """Files below `inside`, which is empty or ends with a slash."""
        for name, found in _sorted_entries(self.root / inside):
            path = inside + name
            if is_temporary(path):
                continue
            if name.endswith("/"):
                if path.startswith(prefix) or prefix.startswith(path):
                    yield from self._walk(path, prefix)
            elif path.startswith(prefix):
                yield _broken_link(path) if found is None else _info(path, found)

    def write(self, path: str, data: bytes, metadata: Mapping[str, str] | None = None) -> None:
        """Write a file, replacing any other."""
        del metadata  # a plain file keeps none
        target = self._file(path)
        with files.temporary_for(target) as (temporary, file):
            files.fill(file, target, [data])
            with files.translate_write_errors(target):
                files.with_retry(temporary.replace)(target)

    def create(self, path: str, data: bytes, metadata: Mapping[str, str] | None = None) -> bool:
        """Write a file if there is none."""
        del metadata
        target = self._file(path)
        if target.exists():
            return False
        with files.temporary_for(target) as (temporary, file):
            files.fill(file, target, [data])
            with files.translate_write_errors(target):
                return files.with_retry(files.publish_new)(temporary, target)

    def write_shard(
        self,
        path: str,
        pieces: Pieces,
        head_bytes: int,
        confirm: Callable[[], None],
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """Write the body behind a gap, the head into the gap, then rename."""
        del metadata
        target = self._file(path)
        stream = ShardStream(pieces, head_bytes)
        with files.temporary_for(target) as (temporary, file):
            files.fill_shard(file, target, stream)
            crc = encode(stream.crc)
            confirm()
            with files.translate_write_errors(target):
                files.with_retry(temporary.replace)(target)
                files.flush_directory(
                    target.parent
                )  # the output must be durable before its receipt
            found = os.fstat(file.fileno())
        return replace(_info(path, found), crc32c=crc)

    def delete(self, path: str) -> bool:
        """Remove a file; False if there was none."""
        file = self._file(path)
        try:
            with files.translate_read_errors(file):
                files.with_retry(file.unlink)()
        except ObjectNotFound:
            return False
        return True

    def sweep_temporaries(self, older_than_s: float = DAY_S) -> int:
        """Remove `.tmp-*` files whose last write is older than `older_than_s`."""
        limit = time.time() - older_than_s
        return sum(
            _removed_if_older(Path(directory, name), limit)
            for directory, _, names in os.walk(self.root)
            for name in filter(is_temporary, names)
        )

    def check_readable(self) -> None:
        """Raise UnreachableError unless the directory exists and can be listed."""
        try:
            with files.translate_read_errors(self.root):
                os.scandir(self.root).close()
        except ObjectNotFound as error:
            raise UnreachableError(
                f"no such directory: {self.root}", hint="check the path"
            ) from error

    def check_writable(self) -> None:
        """Raise UnreachableError, which names the root, unless it can be created and written.

        A directory that is not there yet is made and removed again.
        """
        with files.translate_write_errors(self.root):
            missing = [path for path in (self.root, *self.root.parents) if not path.exists()]
        try:
            with files.temporary_for(self.root / "check", named=self.root):
                pass
        finally:
            for path in missing:
                with contextlib.suppress(OSError):  # not made, or not empty any more
                    path.rmdir()

    def _file(self, path: str) -> Path:
        return self.root / checked(path)


def _sorted_entries(directory: Path) -> list[tuple[str, os.stat_result | None]]:
    """Names in the order of whole paths; directories end with a slash.

    Directories and links without a target have stat None.
    """
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
    return sorted(entries, key=lambda entry: entry[0])


def _removed_if_older(file: Path, limit: float) -> bool:
    with contextlib.suppress(ObjectNotFound), files.translate_read_errors(file):
        if file.stat().st_mtime < limit:
            file.unlink()
            return True
    return False


def _info(path: str, found: os.stat_result) -> ObjectInfo:
    modified = datetime.fromtimestamp(found.st_mtime, UTC)
    return ObjectInfo(path, found.st_size, None, modified, None, found.st_mtime_ns)


def _broken_link(path: str) -> ObjectInfo:
    return ObjectInfo(path, 0, None, datetime.fromtimestamp(0, UTC), None, broken_link=True)
