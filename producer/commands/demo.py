"""`producer demo`: make an export, convert, downsample and verify it."""

import contextlib
import itertools
import json
import math
import shlex
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.text import Text

from braid.precomputed.sharding import factors
from braid.precomputed.volume_spec import ScaleSpec, VolumeSpec
from braid.typing import UInt64Array, Vec3
from delivery.broker import absolute_queue_url
from memmodel.tiers import parse_tiers
from producer import launch_output as output
from producer import render
from producer.info import write_info
from producer.launch import create_or_resume, publish_and_wait
from producer.preflight import LaunchConfig, preflight
from producer.run_request import Request
from producer.synthetic_export import SyntheticVolume, sample_spec, write_export
from producer.tensorstore_reader import Volume, halved
from runtime import settings
from runtime.cli import print_line, print_lines, print_stderr
from runtime.errors import EXIT_FINDINGS, ShardliftError, UsageError
from runtime.interpreter import as_typed
from runtime.storage import absolute, open_storage
from runtime.storage.checksum import crc32c
from runtime.text import join_first, printable
from runtime.verbosity import is_quiet

SIZE = (390, 340, 260)  # not multiples of 64, so that every face is clipped
SCALES = 3
_TIERS = "0.5,1,2"  # GiB; fits any machine
_MARKER = "demo.json"  # identifies the folder and the version of its demo
_DONE = "made"  # size and checksum of each file of the export; written after it is complete
_NAMED = 3  # files in a message
_SLAB = 128  # slices compared at a time; even, so that windows of two stay whole


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
        return f"sqlite:{_shown(self.root / 'queue.db')}"


class WrongVoxelsError(ShardliftError):
    """Voxels of the volume differ from the synthetic segmentation: a bug."""


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(demo)


def demo(
    *,
    folder: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Folder of the demo.")
    ] = Path("demo"),
) -> None:
    """Make a small export, convert it with all its scales, verify every voxel, print what to try.

    Example: python -m producer demo --dir demo
    """
    began_s = time.monotonic()
    folders, sample = Folders(folder.absolute()), SyntheticVolume(SIZE)
    spec = sample_spec(sample.size, SCALES)
    volume = VolumeSpec.parse(spec, "the demo's spec")
    _prepare(folders, {"demo": version("shardlift"), "size": SIZE, "spec": spec})
    exported = _export(folders, volume.scales[0], sample)
    print_stderr(f"an export as DVID writes it, {'x'.join(map(str, SIZE))} voxels: {exported}")
    folders.spec.write_text(json.dumps(spec, indent=1), encoding="utf-8")
    _print_command("init", "--spec", _shown(folders.spec), "--dest", _shown(folders.volume))
    write_info(open_storage(str(folders.volume)), volume)
    if not _convert(folders, volume):
        raise typer.Exit(EXIT_FINDINGS)
    voxels = _verify(folders, volume, sample)
    print_stderr(f"every voxel is right: {voxels:,} of {SCALES} scales, as TensorStore reads them")
    _print_summary(folders, volume, time.monotonic() - began_s)


def _prepare(folders: Folders, about: dict[str, object]) -> None:
    """Keep the files of an equal demo, delete those of another version.

    Raises:
        UsageError: the folder holds other files.
    """
    marker, text = folders.root / _MARKER, json.dumps(about)
    if not marker.is_file() and folders.root.is_dir() and any(folders.root.iterdir()):
        raise UsageError(
            f"{_shown(folders.root)} holds files that are not of a demo",
            hint="name a new or empty folder with --dir",
        )
    if marker.is_file() and marker.read_text(encoding="utf-8") != text:
        print_stderr(f"{_shown(folders.root)} holds the demo of another version: made anew")
        for old in (folders.export, folders.volume, folders.runs):
            shutil.rmtree(old, ignore_errors=True)
        for file in folders.root.glob("queue.db*"):
            file.unlink()
    folders.root.mkdir(parents=True, exist_ok=True)
    marker.write_text(text, encoding="utf-8")


def _export(folders: Folders, scale: ScaleSpec, sample: SyntheticVolume) -> str:
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
    return f"{len(files)} files, {render.size(_bytes_below(folders.export))}"


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


def _convert(folders: Folders, volume: VolumeSpec) -> bool:
    """Launch a run as `enqueue --scales 0 --downres 1,2 --wait` does; False if it failed."""
    downres = tuple(range(1, len(volume.scales)))
    request = Request(
        volume=volume,
        source=absolute(str(folders.export)),
        dest=absolute(str(folders.volume)),
        scales=(0,),
        downres=downres,
    )
    _print_command(
        *("enqueue", "--source", _shown(folders.export), "--dest", _shown(folders.volume)),
        *("--spec", _shown(folders.spec), "--scales", "0"),
        *("--downres", ",".join(map(str, downres)), "--tiers", _TIERS),
        *("--queue", folders.queue, "--wait"),
    )
    config = LaunchConfig(
        state=str(folders.runs),
        queue=absolute_queue_url(folders.queue),
        tiers=parse_tiers(_TIERS),
        lease_s=settings.lease_s(),
    )
    found = preflight(request, config)
    output.print_notes(found.notes)
    if found.idle:  # no second run that makes nothing
        print_stderr("all shards are there, from an earlier demo")
        return True
    run = create_or_resume(found, config)
    output.print_started(found, run, config.tiers)
    report = partial(output.print_published, run)
    result = publish_and_wait(run, config, wait_for_end=True, on_published=report)
    output.print_result(run, result)
    return result.succeeded


def _verify(folders: Folders, volume: VolumeSpec, sample: SyntheticVolume) -> int:
    """Compare every voxel of every scale with the expected one; returns the number of voxels.

    Scale 0 is expected to equal the sample's formula, each further scale TensorStore's vote over
    the expected voxels of the one before.
    """
    found = Volume(str(folders.volume))
    halves = []
    for first, last in _slabs(sample.size):
        truth = sample.labels(first, last)
        _compare(found.read(0, first, last), truth, 0)
        halves.append(halved(truth, factors(*volume.scales[:2])))
    count = math.prod(sample.size)
    truth = np.concatenate(halves)
    for fine, coarse in itertools.pairwise(volume.scales):
        truth = truth if coarse.index == 1 else halved(truth, factors(fine, coarse))
        _compare(found.read(coarse.index, (0, 0, 0), coarse.size), truth, coarse.index)
        count += math.prod(coarse.size)
    return count


def _slabs(size: Vec3) -> Iterator[tuple[Vec3, Vec3]]:
    """Boxes of whole slices, with a progress bar on a terminal."""
    x, y, z = size
    console = Console(stderr=True, quiet=is_quiet())
    starts = range(0, z, _SLAB)
    for start in track(
        starts, "comparing voxels", console=console, disable=not console.is_terminal
    ):
        yield (0, 0, start), (x, y, min(start + _SLAB, z))


def _compare(found: UInt64Array, truth: UInt64Array, scale: int) -> None:
    wrong = int((found != truth).sum())
    if wrong:
        raise WrongVoxelsError(f"scale {scale}: {wrong:,} voxels differ from the truth")


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


def _print_summary(folders: Folders, volume: VolumeSpec, seconds: float) -> None:
    """Print sizes, time and further commands."""
    rows = [("export", "", render.size(_bytes_below(folders.export)))]
    for scale in volume.scales:
        made = folders.volume / scale.key
        size = "x".join(map(str, scale.size))
        rows.append((f"volume, scale {scale.index}", size, render.size(_bytes_below(made))))
    print_lines(f"\n{render.table(('', 'voxels', 'on disk'), rows)}")
    print_lines(f"done in {render.duration(seconds)}\n\nlook at it:")
    dest = ("--dest", _shown(folders.volume))
    _print_command("view", *dest)
    print_line("and at how it was made:")
    _print_command("status", *dest)
    _print_command("verify", *dest, "--deep", "--values", "50")
    _print_command("dead-letters", "list", *dest)
    _print_command("report", *dest, "--out", _shown(folders.root / "report.html"))


def _print_command(*words: str) -> None:
    """Print a command line that works as it stands in the working directory."""
    print_line(as_typed(f"  $ python -m producer {shlex.join(words)}"))


def _bytes_below(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _shown(path: Path) -> str:
    """The path relative to the working directory, if it is below it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
