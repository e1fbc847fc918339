"""Storage in a local directory."""

import contextlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from runtime.errors import ObjectNotFound, UnreachableError
from runtime.storage import files
from runtime.storage.base import DAY_S, ObjectInfo, Pieces, Storage, checked, is_temporary
from runtime.storage.checksum import encode
from runtime.storage.stream import ShardStream


class LocalSource:
    """One file read by ranges; if it is replaced, reads keep returning the old bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self.requests = 0
        self._lock = threading.Lock()
        with files.translate_read_errors(path):
            self._file = path.open("rb", buffering=0)  # refuses a directory
        self.size = os.fstat(self._file.fileno()).st_size

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`; fewer than `length` only at the file's end."""
        with self._lock:
            self.requests += 1
        fd = self._file.fileno()
        with files.translate_read_errors(self.path):
            data = os.pread(fd, length, offset)
            while 0 < len(data) < length and offset + len(data) < self.size:
                data += os.pread(fd, length - len(data), offset + len(data))
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

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All files whose path begins with `prefix`, sorted by path."""
        parent = prefix.rpartition("/")[0]
        yield from self._walk(checked(parent) + "/" if parent else "", prefix)

    def folders(self) -> Sequence[str]:
        """The directories below the root."""
        entries = _sorted_entries(self.root)
        return [name.rstrip("/") for name, found in entries if found is None]

    def _walk(self, inside: str, prefix: str) -> Iterator[ObjectInfo]:
        """Files below `inside`, which is empty or ends with a slash."""
        for name, found in _sorted_entries(self.root / inside):
            path = inside + name
            if is_temporary(path):
                continue
            if found is None and (path.startswith(prefix) or prefix.startswith(path)):
                yield from self._walk(path, prefix)
            elif found is not None and path.startswith(prefix):
                yield _info(path, found)

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
        return ObjectInfo(path, found.st_size, crc, _modified_at(found), None)

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
        """Raise UnreachableError unless the directory can be created and written."""
        with files.temporary_for(self.root / "check"):
            pass

    def _file(self, path: str) -> Path:
        return self.root / checked(path)


def _sorted_entries(directory: Path) -> list[tuple[str, os.stat_result | None]]:
    """Names in the order of whole paths; directories end with a slash and have stat None."""
    entries: list[tuple[str, os.stat_result | None]] = []
    with (
        contextlib.suppress(ObjectNotFound),
        files.translate_read_errors(directory),
        os.scandir(directory) as it,
    ):
        for entry in it:
            if entry.is_dir():
                entries.append((f"{entry.name}/", None))
            else:
                with contextlib.suppress(FileNotFoundError):  # removed during the listing
                    entries.append((entry.name, entry.stat()))
    return sorted(entries, key=lambda entry: entry[0])


def _removed_if_older(file: Path, limit: float) -> bool:
    with contextlib.suppress(ObjectNotFound), files.translate_read_errors(file):
        if file.stat().st_mtime < limit:
            file.unlink()
            return True
    return False


def _info(path: str, found: os.stat_result) -> ObjectInfo:
    return ObjectInfo(path, found.st_size, None, _modified_at(found), None)


def _modified_at(found: os.stat_result) -> datetime:
    return datetime.fromtimestamp(found.st_mtime, UTC)
