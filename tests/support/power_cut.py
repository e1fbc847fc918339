"""States of the disk that a power cut may leave, built from a journal of changes.

A file keeps what was flushed; what was written since may be there or not, each write for itself. A
name (new, renamed, linked or removed) is certain once its directory was flushed; until then it may
be there or not, each for itself, and with it all that lies below. No file system keeps less.
"""

import random
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.support.machine_faults import Change, Entry

Loss = Literal["all", "names", "bytes", "some"]
"""What is lost of all that was not flushed: everything, only names, only bytes, or at random."""


@dataclass
class _File:
    """A file's flushed bytes and what was done since."""

    flushed: bytes = b""
    since: list[tuple[int, bytes | None]] = field(default_factory=list)  # None: cut to the offset

    def flush(self) -> None:
        self.flushed, self.since = self.bytes_with(lambda: True), []

    def bytes_with(self, kept: Callable[[], bool]) -> bytes:
        """The bytes if of the last changes those remain that are `kept`."""
        data = bytearray(self.flushed)
        for offset, written in self.since:
            if not kept():
                continue
            if written is None:
                data = data[:offset].ljust(offset, b"\0")
            else:
                data = data.ljust(offset, b"\0")
                data[offset : offset + len(written)] = written
        return bytes(data)


@dataclass
class _Directory:
    """A directory's flushed names and what was done since: a name gets a new target, or none."""

    flushed: dict[str, "_Node"] = field(default_factory=dict)
    since: list[dict[str, "_Node | None"]] = field(default_factory=list)  # each whole or not at all

    def flush(self) -> None:
        self.flushed, self.since = self.names_with(lambda: True), []

    def names_with(self, kept: Callable[[], bool]) -> dict[str, "_Node"]:
        """The names if of the last changes those remain that are `kept`."""
        names = dict(self.flushed)
        for change in self.since:
            if kept():
                for name, node in change.items():
                    if node is None:
                        names.pop(name, None)
                    else:
                        names[name] = node
        return names


_Node = _File | _Directory


class Disk:
    """One folder's disk: takes changes in order, and can be cut off at any moment.

    Args:
        root: the folder, which is certain to be there, and empty at first.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._top = _Directory()
        self._files: dict[int, _File] = {}

    def apply(self, entry: Entry) -> None:
        """Take a change."""
        kind, path = entry.kind, Path(entry.path)
        if kind in {Change.RENAME, Change.LINK}:
            self._move(path, Path(entry.other), linked=kind is Change.LINK)
        elif kind in {Change.UNLINK, Change.RMDIR}:
            self._folder(path.parent).since.append({path.name: None})
        elif kind is Change.MKDIR:
            self._folder(path.parent).since.append({path.name: _Directory()})
        elif kind is Change.FLUSH_DIRECTORY:
            self._folder(path).flush()
        elif kind is Change.CREATE:
            self._create(path, entry)
        else:
            self._change(self._files[entry.inode], entry)

    def _create(self, path: Path, entry: Entry) -> None:
        folder = self._folder(path.parent)
        node = folder.names_with(lambda: True).get(path.name)
        if node is None:
            node = _File()
            folder.since.append({path.name: node})
        assert isinstance(node, _File)
        self._files[entry.inode] = node
        if entry.offset:
            node.since.append((0, None))

    @staticmethod
    def _change(file: _File, entry: Entry) -> None:
        if entry.kind is Change.FLUSH:
            file.flush()
        else:
            written = entry.data if entry.kind is Change.WRITE else None
            file.since.append((entry.offset, written))

    def _move(self, old: Path, new: Path, *, linked: bool) -> None:
        folder, target = self._folder(old.parent), self._folder(new.parent)
        assert folder is target, "nothing moves files between directories"
        node = folder.names_with(lambda: True)[old.name]
        folder.since.append({new.name: node} if linked else {old.name: None, new.name: node})

    def _folder(self, path: Path) -> _Directory:
        found: _Node = self._top
        for part in path.relative_to(self._root).parts:
            assert isinstance(found, _Directory)
            found = found.names_with(lambda: True)[part]
        assert isinstance(found, _Directory)
        return found

    def write_state(self, loss: Loss, seed: int) -> None:
        """Replace what is in the folder by a state that a cut may leave now."""
        generator = random.Random(seed)

        def some() -> bool:
            return generator.random() < 0.5

        keeps: dict[Loss, tuple[Callable[[], bool], Callable[[], bool]]] = {
            "all": (lambda: False, lambda: False),
            "names": (lambda: False, lambda: True),
            "bytes": (lambda: True, lambda: False),
            "some": (some, some),
        }
        names, data = keeps[loss]
        for path in self._root.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._write(self._top, self._root, names, data)

    def _write(
        self, node: _Node, path: Path, names: Callable[[], bool], data: Callable[[], bool]
    ) -> None:
        if isinstance(node, _File):
            path.write_bytes(node.bytes_with(data))
            return
        path.mkdir(exist_ok=True)
        for name, below in node.names_with(names).items():
            self._write(below, path / name, names, data)


def apply_all(disk: Disk, entries: Iterable[Entry]) -> None:
    """Take all changes."""
    for entry in entries:
        disk.apply(entry)
