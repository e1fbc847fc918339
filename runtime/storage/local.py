"""Storage in a local directory."""

import contextlib
import os
import stat
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path

from runtime.errors import ObjectNotFound, UnreachableError
from runtime.storage import files
from runtime.storage.base import (
    DAY_S,
    MOST_REPLACEMENTS,
    OWNER,
    ObjectInfo,
    Overview,
    Pieces,
    Storage,
    checked,
    is_owned,
    is_temporary,
    replaced_too_often,
)
from runtime.storage.checksum import encode
from runtime.storage.file_version import (
    FileVersion,
    replace_version,
    unlink_version,
    version_of,
)
from runtime.storage.local_listing import file_info, sorted_entries, walk
from runtime.storage.local_source import LocalSource
from runtime.storage.stream import ShardStream

_read_whole = files.with_retry(files.read_whole)


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
        return file_info(path, found)

    def list(
        self, prefix: str = "", *, broken_links: bool = False, first: str = "", last: str = ""
    ) -> Iterator[ObjectInfo]:
        """All files whose path begins with `prefix`, sorted by path."""
        parent = prefix.rpartition("/")[0]
        for info in walk(self.root, checked(parent) + "/" if parent else "", prefix):
            if info.path < first or (last and info.path > last):
                continue
            if broken_links or not info.broken_link:
                yield info

    def folders(self) -> Sequence[str]:
        """The directories below the root."""
        entries = sorted_entries(self.root)
        return [name.rstrip("/") for name, _ in entries if name.endswith("/")]

    def overview(self) -> Overview:
        """Files and directories directly below the root."""
        files_here, folders = {}, set()
        for name, found in sorted_entries(self.root):
            if not is_temporary(name):
                if found is None:
                    folders.add(name.rstrip("/"))
                else:
                    files_here[name] = file_info(name, found)
        return Overview(files_here, frozenset(folders))

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
        return file_info(path, found)._replace(crc32c=crc)

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


def _removed_if_older(file: Path, limit: float) -> bool:
    with contextlib.suppress(ObjectNotFound), files.translate_read_errors(file):
        if file.stat().st_mtime < limit:
            file.unlink()
            return True
    return False
