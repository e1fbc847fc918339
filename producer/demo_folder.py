"""Folder of the demo: a made-up export, and where volume, spec and runs go."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from braid.precomputed.volume_spec import ScaleSpec
from producer import render
from producer.synthetic_export import SyntheticVolume, write_export
from runtime.cli import print_stderr
from runtime.errors import UsageError
from runtime.storage.checksum import crc32c
from runtime.text import join_first, printable
from runtime.verbosity import is_quiet

_MARKER: Final = "demo.json"  # identifies the folder and the version of its demo
_DONE: Final = "made"  # size and checksum of each file of the export; written when it is complete
_NAMED: Final = 3  # files in a message


@dataclass(frozen=True)
class Folders:
    """Files and folders of the demo."""

    root: Path

    @property
    def export(self) -> Path:
        """The synthetic DVID export."""
        return self.root / "export"

    @property
    def volume(self) -> Path:
        """The Neuroglancer volume."""
        return self.root / "volume"

    @property
    def spec(self) -> Path:
        """The volume's spec."""
        return self.root / "spec.json"

    @property
    def runs(self) -> Path:
        """Plans and receipts."""
        return self.root / "volume.runs"

    @property
    def queue(self) -> str:
        """The queue's URL."""
        return f"sqlite:{shown_path(self.root / 'queue.db')}"


def prepare_folder(folders: Folders, about: dict[str, object]) -> None:
    """Keep the files of an equal demo, delete those of another version.

    Raises:
        UsageError: the folder holds other files.
    """
    marker, text = folders.root / _MARKER, json.dumps(about)
    if not marker.is_file() and folders.root.is_dir() and any(folders.root.iterdir()):
        raise UsageError(
            f"{shown_path(folders.root)} holds files that are not of a demo",
            hint="name a new or empty folder with --dir",
        )
    if marker.is_file() and marker.read_text(encoding="utf-8") != text:
        print_stderr(f"{shown_path(folders.root)} holds the demo of another version: made anew")
        for old in (folders.export, folders.volume, folders.runs):
            shutil.rmtree(old, ignore_errors=True)
        for file in folders.root.glob("queue.db*"):
            file.unlink()
    folders.root.mkdir(parents=True, exist_ok=True)
    marker.write_text(text, encoding="utf-8")


def make_export(folders: Folders, scale: ScaleSpec, sample: SyntheticVolume) -> str:
    """Write the export, or those of its files that are missing or damaged; returns what it is."""
    damaged = _damaged(folders.export)
    if damaged is None:
        shutil.rmtree(folders.export, ignore_errors=True)
        with _spinner("making an export"):
            write_export(folders.export, scale, sample)
        (folders.export / _DONE).write_text(json.dumps(_checksums(folders.export)))
    elif damaged:
        with _spinner(f"missing or damaged, made anew: {join_first(damaged, _NAMED)}"):
            _mend(folders, damaged, scale, sample)
    files = sorted((folders.export / "s0").glob("*.arrow"))
    return f"{len(files)} files, {render.size(bytes_below(folders.export))}"


def _damaged(export: Path) -> list[str] | None:
    """Files of a complete export that are not as they were written; None if it is not complete."""
    try:
        written = json.loads((export / _DONE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(written, dict):  # by an earlier version
        return None
    found = _checksums(export)
    return sorted(name for name, checksum in written.items() if found.get(name) != checksum)


def _mend(folders: Folders, damaged: list[str], scale: ScaleSpec, sample: SyntheticVolume) -> None:
    """Replace damaged files; the others stay untouched, so that only their shards are made anew."""
    fresh = folders.root / "export.new"
    shutil.rmtree(fresh, ignore_errors=True)
    write_export(fresh, scale, sample)
    for name in damaged:
        (folders.export / name).parent.mkdir(exist_ok=True)
        (fresh / name).replace(folders.export / name)
    shutil.rmtree(fresh)


def _checksums(export: Path) -> dict[str, list[int]]:
    """Size and crc32c of each file, by its path in the export."""
    files = (path for path in sorted(export.glob("s*/*")) if path.is_file())
    contents = ((path.relative_to(export).as_posix(), path.read_bytes()) for path in files)
    return {name: [len(data), crc32c(data)] for name, data in contents}


@contextlib.contextmanager
def _spinner(text: str) -> Iterator[None]:
    """Show an activity while the block runs."""
    console = Console(stderr=True, quiet=is_quiet())
    if not console.is_terminal:
        print_stderr(text)
        yield
        return
    with console.status(Text(printable(text))):
        yield


def bytes_below(folder: Path) -> int:
    """Sizes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def shown_path(path: Path) -> str:
    """The path relative to the working directory, if it is below it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
