"""Ways in which a file gets damaged: power cuts, disks, editors, programs of other versions."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

Damage = Callable[[Path], None]


def _write(data: bytes) -> Damage:
    def damage(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return damage


def _cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _nul_filled(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size or 100))


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _full_directory(path: Path) -> None:
    _directory(path)
    (path / "inside").write_bytes(b"x")


def _changed(change: Callable[[Any], Any]) -> Damage:
    """Change every value of a JSON document at once."""

    def damage(path: Path) -> None:
        document = json.loads(path.read_bytes() or b"{}")
        changed = _map(document, change)
        # Where there is no value of this type, the file holds another document at least.
        path.write_text(json.dumps(["none"] if changed == document else changed))

    return damage


def _map(value: Any, change: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return {key: _map(one, change) for key, one in value.items()}
    return [_map(one, change) for one in value] if isinstance(value, list) else change(value)


def _newer(path: Path) -> None:
    document = json.loads(path.read_bytes() or b"{}")
    path.write_text(json.dumps({"schema": 99, "settings": document}))


DAMAGES: Final[Mapping[str, Damage]] = {
    "empty": _write(b""),
    "cut": _cut,
    "garbage": _write(bytes(range(256)) * 3),
    "NUL": _nul_filled,
    "directory": _directory,
    "full directory": _full_directory,
    "pipe": _pipe,
}
"""Of any file."""

JSON_DAMAGES: Final[Mapping[str, Damage]] = {
    "list": _write(b"[]"),
    "null": _write(b"null"),
    "object": _write(b"{}"),
    "nested": _write(b"[" * 100_000),
    "long number": _write(b'{"s0/0": 1' + b"0" * 5_000 + b"}"),
    "newer": _newer,
    "texts for numbers": _changed(lambda value: value if isinstance(value, str) else "x"),
    "numbers for texts": _changed(lambda value: 7 if isinstance(value, str) else value),
    "negative": _changed(lambda value: -value - 1 if isinstance(value, int | float) else value),
    "huge": _changed(lambda value: 10**30 if isinstance(value, int | float) else value),
    "not finite": _changed(lambda value: float("nan") if isinstance(value, int | float) else value),
    "NUL inside": _changed(lambda value: f"a\0{value}" if isinstance(value, str) else value),
    "climbing": _changed(lambda value: "../../x" if isinstance(value, str) else value),
    "naive times": _changed(
        lambda value: value.removesuffix("Z") if isinstance(value, str) else value
    ),
}
"""Of a file that holds JSON."""


class Snapshot:
    """Files below a folder, put back after each damage.

    Args:
        folder: the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = dict(self._read())
        self._folders = {path for path in folder.rglob("*") if path.is_dir()}

    def _read(self) -> Iterator[tuple[Path, bytes]]:
        for path in sorted(self._folder.rglob("*")):
            if path.is_file():
                yield path, path.read_bytes()

    def restore(self) -> None:
        """Put every file back, remove those that came."""
        for path in sorted(self._folder.rglob("*"), reverse=True):
            if path.is_dir() and path not in self._folders:
                shutil.rmtree(path)
            elif path.is_fifo() or (path.is_file() and path not in self._files):
                path.unlink()
        for path, data in self._files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_bytes() != data:
                path.write_bytes(data)
