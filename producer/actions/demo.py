"""The demo: a made-up export, converted, downsampled, and verified voxel by voxel."""

import itertools
import json
import math
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

from braid.precomputed.sharding import factors
from braid.precomputed.volume_spec import VolumeSpec
from braid.typing import UInt64Array, Vec3
from delivery.broker import absolute_queue_url
from delivery.ledger.run import Run
from memmodel.tiers import parse_tiers
from producer import launch_output as output
from producer import render
from producer.demo_folder import (
    Folders,
    bytes_below,
    make_export,
    prepare_folder,
    shown_path,
)
from producer.documents.demo_document import DemoDocument, DemoScalePart
from producer.info import write_info
from producer.launch import PublishReport, create_or_resume, publish_and_wait
from producer.preflight import LaunchConfig, preflight
from producer.run_request import Request
from producer.synthetic_export import SyntheticVolume, sample_spec
from producer.tensorstore_reader import Volume, halved
from runtime import settings
from runtime.cli import print_document, print_line, print_lines, print_stderr
from runtime.errors import EXIT_FINDINGS, ShardliftError
from runtime.interpreter import as_typed
from runtime.storage import absolute, open_storage
from runtime.verbosity import is_quiet

SIZE: Final = (390, 340, 260)  # not multiples of 64, so that every face is clipped
SCALES: Final = 3
_TIERS: Final = "0.5,1,2"  # GiB; fits any machine
_SLAB: Final = 128  # slices compared at a time; even, so that windows of two stay whole


class WrongVoxelsError(ShardliftError):
    """Voxels of the volume differ from the synthetic segmentation: a bug."""


@dataclass(frozen=True)
class _Made:
    """What the demo has made.

    Attributes:
        run: None where an earlier demo had made all shards.
        voxels: compared; None if a shard failed.
    """

    folders: Folders
    volume: VolumeSpec
    run: Run | None
    voxels: int | None
    took_s: float


def run_demo(folder: Path, *, as_json: bool) -> None:
    """Make an export, convert it with all its scales, verify every voxel, print what to try."""
    began_s = time.monotonic()
    folders, sample = Folders(folder.absolute()), SyntheticVolume(SIZE)
    spec = sample_spec(sample.size, SCALES)
    volume = VolumeSpec.parse(spec, "the demo's spec")
    prepare_folder(folders, {"demo": version("shardlift"), "size": SIZE, "spec": spec})
    exported = make_export(folders, volume.scales[0], sample)
    print_stderr(f"an export as DVID writes it, {'x'.join(map(str, SIZE))} voxels: {exported}")
    folders.spec.write_text(json.dumps(spec, indent=1), encoding="utf-8")
    if not as_json:
        where = ("--spec", shown_path(folders.spec), "--dest", shown_path(folders.volume))
        _print_command("init", *where)
    write_info(open_storage(str(folders.volume)), volume)
    run, succeeded = _convert(folders, volume, quiet=as_json)
    voxels = _verify(folders, volume, sample) if succeeded else None
    if voxels is not None:
        text = f"{voxels:,} of {SCALES} scales, as TensorStore reads them"
        print_stderr(f"every voxel is right: {text}")
    made = _Made(folders, volume, run, voxels, time.monotonic() - began_s)
    if as_json:
        print_document(_document(made))
    elif succeeded:
        _print_summary(made)
    if not succeeded:
        raise typer.Exit(EXIT_FINDINGS)


def _convert(folders: Folders, volume: VolumeSpec, *, quiet: bool) -> tuple[Run | None, bool]:
    """Launch a run as `enqueue --scales 0 --downres 1,2 --wait` does; it, and whether all is made.

    Without anything to make there is no run.
    """
    downres = tuple(range(1, len(volume.scales)))
    request = Request(
        volume=volume,
        source=absolute(str(folders.export)),
        dest=absolute(str(folders.volume)),
        scales=(0,),
        downres=downres,
    )
    if not quiet:
        _print_command(
            *("enqueue", "--source", shown_path(folders.export)),
            *("--dest", shown_path(folders.volume), "--spec", shown_path(folders.spec)),
            *("--scales", "0", "--downres", ",".join(map(str, downres)), "--tiers", _TIERS),
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
        return None, True
    run = create_or_resume(found, config)
    if not quiet:
        output.print_started(found, run, config.tiers)
    report = _print_nothing if quiet else partial(output.print_published, run)
    result = publish_and_wait(run, config, wait_for_end=True, on_published=report)
    if not quiet:
        output.print_result(run, result)
    return run, result.succeeded


def _print_nothing(_: PublishReport) -> None: ...


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


def _print_summary(made: _Made) -> None:
    """Print sizes, time and further commands."""
    rows = [("export", "", render.size(bytes_below(made.folders.export)))]
    for part in _scales(made):
        size = "x".join(map(str, part.size))
        rows.append((f"volume, scale {part.scale}", size, render.size(part.bytes)))
    print_lines(f"\n{render.table(('', 'voxels', 'on disk'), rows)}")
    print_lines(f"done in {render.duration(made.took_s)}\n\nlook at it:")
    view, *others = _next(made.folders)
    _print_command(*view)
    print_line("and at how it was made:")
    for words in others:
        _print_command(*words)


def _document(made: _Made) -> DemoDocument:
    folders = made.folders
    return DemoDocument(
        run=made.run.uri if made.run else None,
        run_id=made.run.run_id if made.run else None,
        folder=str(folders.root),
        source=absolute(str(folders.export)),
        dest=absolute(str(folders.volume)),
        spec=str(folders.spec),
        queue=absolute_queue_url(folders.queue),
        export_bytes=bytes_below(folders.export),
        succeeded=made.voxels is not None,
        voxels=made.voxels,
        scales=tuple(_scales(made)),
        took_s=made.took_s,
        next=tuple(_command(*words) for words in _next(folders)),
    )


def _scales(made: _Made) -> Iterator[DemoScalePart]:
    for scale in made.volume.scales:
        own = bytes_below(made.folders.volume / scale.key)
        yield DemoScalePart(scale=scale.index, size=scale.size, bytes=own)


def _next(folders: Folders) -> list[tuple[str, ...]]:
    """Commands to look with, `view` first."""
    dest = ("--dest", shown_path(folders.volume))
    return [
        ("view", *dest),
        ("status", *dest),
        ("verify", *dest, "--deep", "--values", "50"),
        ("dead-letters", "list", *dest),
        ("report", *dest, "--out", shown_path(folders.root / "report.html")),
    ]


def _print_command(*words: str) -> None:
    print_line(f"  $ {_command(*words)}")


def _command(*words: str) -> str:
    """A command line that works as it stands in the working directory."""
    return as_typed(f"python -m producer {shlex.join(words)}")
