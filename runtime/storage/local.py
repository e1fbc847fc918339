"""Storage in a local directory."""

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Final, Self

from runtime.errors import ObjectNotFound, UnreachableError
from runtime.storage import files
from runtime.storage.base import (
    DAY_S,
    MOST_REPLACEMENTS,
    OWNER,
    TEMPORARY_PREFIX,
    ObjectInfo,
    Overview,
    Pieces,
    Storage,
    checked,
    is_owned,
    is_temporary,
    replaced_too_often,
    source_stamp,
)
from runtime.storage.checksum import encode
from runtime.storage.file_version import (
    FileVersion,
    replace_version,
    unlink_version,
    version_of,
)
from runtime.storage.remembered_reads import RememberedReads
from runtime.storage.stream import ShardStream

_read_whole = files.with_retry(files.read_whole)
_WITHOUT_TARGET: Final = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


class LocalSource:
    """One file read by ranges; if it is replaced, reads keep returning the old bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self.requests = 0
        self._lock = threading.Lock()
        with files.translate_read_errors(path):
            self._file = files.open_regular(path)
        found = os.fstat(self._file.fileno())
        self.size = found.st_size
        self.stamp = source_stamp(_info(self.name, found))
        self._reads = RememberedReads(self.name, self.size, self._read)

    def changed(self) -> bool:
        """Whether the file was written since it was opened; one that took its place is another."""
        return source_stamp(_info(self.name, os.fstat(self._file.fileno()))) != self.stamp

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`; fewer than `length` only at the file's end."""
        return self._reads.read_at(offset, length)

    def verify(self, *, doubted: bool = False) -> None:
        """Read again what was read, if it is doubted: a file has no checksum to be held against."""
        if not doubted:
            return
        # Else the system gives the bytes that it holds; macOS has no such call.
        with contextlib.suppress(AttributeError, OSError):
            os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        self._reads.verify()

    def _read(self, offset: int, length: int) -> bytes:
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
        self._flushed: set[Path] = set()

    def read(self, path: str) -> bytes:
        """The whole file."""
        file = f"{self.url}/{checked(path)}"  # thousands are read: no Path for each
        try:
            return _read_whole(file)
        except OSError as error:
            raise files.read_error(Path(file), error) from error

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

    def list(
        self, prefix: str = "", *, broken_links: bool = False, first: str = "", last: str = ""
    ) -> Iterator[ObjectInfo]:
        """All files whose path begins with `prefix`, sorted by path."""
        parent = prefix.rpartition("/")[0]
        for info in self._walk(checked(parent) + "/" if parent else "", prefix):
            if info.path < first or (last and info.path > last):
                continue
            if broken_links or not info.broken_link:
                yield info

    def folders(self) -> Sequence[str]:
        """The directories below the root."""
        entries = _sorted_entries(self.root)
        return [name.rstrip("/") for name, _ in entries if name.endswith("/")]

    def overview(self) -> Overview:
        """Files and directories directly below the root."""
        files_here, folders = {}, set()
        for name, found in _sorted_entries(self.root):
            if not is_temporary(name):
                if found is None:
                    folders.add(name.rstrip("/"))
                else:
                    files_here[name] = _info(name, found)
        return Overview(files_here, frozenset(folders))

    def _walk(
        self, inside: str, prefix: str, above: frozenset[tuple[int, int]] = frozenset()
    ) -> Iterator[ObjectInfo]:
        """Files below `inside`, which is empty or ends with a slash.

        A link to a folder above it is not followed: what lies there is listed already.
        """
        identity = _identity(self.root / inside)
        if identity in above:
            return
        within = inside.startswith(prefix)  # then so is all that lies there
        for name, found in _sorted_entries(self.root / inside):
            if name.startswith(TEMPORARY_PREFIX):
                continue
            path = inside + name
            if found is None and name[-1] == "/":
                if within or path.startswith(prefix) or prefix.startswith(path):
                    yield from self._walk(path, prefix, above | {identity})
            elif within or path.startswith(prefix):
                yield _broken_link(path) if found is None else _info(path, found)

    def write(self, path: str, data: bytes, metadata: Mapping[str, str] | None = None) -> None:
        """Write a file, replacing any other."""
        del metadata  # a plain file keeps none
        target = self._file(path)
        with files.temporary_for(target) as (temporary, file):
            files.fill(file, target, [data])
            with files.translate_write_errors(target):
                files.with_retry(temporary.replace)(target)
                self._flush_names(target.parent)

    def create(self, path: str, data: bytes, metadata: Mapping[str, str] | None = None) -> bool:
        """Write a file if there is none."""
        del metadata
        target = self._file(path)
        if target.exists():
            return False
        with files.temporary_for(target) as (temporary, file):
            files.fill(file, target, [data])
            with files.translate_write_errors(target):
                created = files.with_retry(files.publish_new)(temporary, target)
                self._flush_names(target.parent)
        return created

    def write_shard(
        self,
        path: str,
        pieces: Pieces,
        head_bytes: int,
        confirm: Callable[[], None],
        metadata: Mapping[str, str] | None = None,
        *,
        owner: str = OWNER,
        is_new: bool = False,
    ) -> ObjectInfo:
        """Write the body behind a gap, the head into the gap, then rename."""
        del metadata, is_new  # a look costs nothing here
        target = self._file(path)
        seen = self._version(target)
        stream = ShardStream(pieces, head_bytes)
        with files.temporary_for(target, owner=owner) as (temporary, file):
            files.fill_shard(file, target, stream)
            crc = encode(stream.crc)
            for _ in range(MOST_REPLACEMENTS):
                confirm()
                with files.translate_write_errors(target):
                    if files.with_retry(replace_version)(file, temporary, target, seen):
                        break
                seen = self._version(target)
            else:
                raise replaced_too_often(str(target))
            with files.translate_write_errors(target):
                self._flush_names(target.parent)  # durable before its receipt
            found = os.fstat(file.fileno())
        return _info(path, found)._replace(crc32c=crc)

    def delete_shard(self, path: str, confirm: Callable[[], None]) -> bool:
        """Remove the version of a file that was there before `confirm` was called."""
        target = self._file(path)
        for _ in range(MOST_REPLACEMENTS):
            seen = self._version(target)
            confirm()
            if seen is None:
                return False
            with files.translate_write_errors(target):
                if files.with_retry(unlink_version)(target, seen):
                    files.flush_directory(target.parent)  # before its receipt of zeros
                    return True
        raise replaced_too_often(str(target))

    @staticmethod
    def _version(target: Path) -> FileVersion | None:
        with files.translate_write_errors(target):
            return files.with_retry(version_of)(target)

    def delete(self, path: str) -> bool:
        """Remove a file; False if there was none."""
        file = self._file(path)
        try:
            with files.translate_read_errors(file):
                files.with_retry(file.unlink)()
        except ObjectNotFound:
            return False
        with files.translate_write_errors(file):
            files.flush_directory(file.parent)  # a receipt of zeros must not outlive its file
        return True

    def sweep_temporaries(
        self, owners: Container[str] = (OWNER,), older_than_s: float = DAY_S
    ) -> int:
        """Remove temporary files of these owners whose last write is older than `older_than_s`."""
        found = [
            Path(directory, name)
            for directory, _, names in os.walk(self.root)
            for name in names
            if is_owned(name, owners)
        ]
        if not found:
            return 0
        with files.temporary_for(self.root / "clock") as (_, file):  # of a file server, not ours
            limit = os.fstat(file.fileno()).st_mtime - older_than_s
        return sum(_removed_if_older(path, limit) for path in found)

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

    def _flush_names(self, directory: Path) -> None:
        """Flush a directory that has a new name; at first also those above, up to the root's own.

        Another process may have made them a moment ago, and not have flushed them yet.
        """
        files.flush_directory(directory)
        if directory not in self._flushed:
            for above in directory.parents:
                files.flush_directory(above)
                if above == self.root.parent:
                    break
            self._flushed.add(directory)


def _identity(directory: Path) -> tuple[int, int]:
    """Device and number of a folder; of one that is gone, none that a folder has."""
    try:
        found = directory.stat()
    except OSError:  # told where its entries are read
        return -1, -1
    return found.st_dev, found.st_ino


def _sorted_entries(directory: Path) -> list[tuple[str, os.stat_result | None]]:
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
