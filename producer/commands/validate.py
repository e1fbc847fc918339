"""`producer validate`: is the export sound, before anything is spent on it?"""

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from braid.exceptions import BraidError
from braid.precomputed.volume_spec import ScaleSpec
from braid.reader import ShardRangeReader
from braid.transcode.block_assignment import block_extent
from braid.transcode.file_extent import check_rows
from memmodel.spec_file import read_spec
from producer.export_listing import ExportFile, list_scale
from producer.export_reader import open_shard
from runtime import cli
from runtime.errors import EXIT_FINDINGS, UsageError
from runtime.storage import Storage, open_storage

Coords = npt.NDArray[np.int32]


@dataclass
class Soundness:
    """What was found in one scale of an export.

    Attributes:
        rows: listed by the indices; `outside` of them lie wholly outside the volume.
        sampled: rows decoded.
        findings: what is wrong, each naming its file.
    """

    scale: int
    files: int = 0
    bytes: int = 0
    rows: int = 0
    outside: int = 0
    sampled: int = 0
    without_index: int = 0
    findings: list[str] = field(default_factory=list)


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(validate)


def validate(
    source: cli.SourceOption,
    spec: cli.SpecOption,
    scales: cli.ScalesOption = "0",
    sample: Annotated[
        int, typer.Option("--sample", min=0, metavar="N", help="Rows to decode in each file.")
    ] = 4,
    seed: Annotated[int, typer.Option("--seed", help="Of the random choice of rows.")] = 0,
    as_json: cli.JsonOption = False,
) -> None:
    """Open every Arrow shard, hold its index to it, and decode a sample of its rows.

    Example: python -m producer validate --source export --spec spec.json --scales 0 --sample 16
    """
    store = open_storage(source)
    volume = read_spec(spec)
    numbers = cli.parse_scales(scales)
    if numbers[-1] >= len(volume.scales):
        raise UsageError(f"{spec} has scales 0 to {len(volume.scales) - 1}, not {numbers[-1]}")
    chooser = random.Random(seed)  # noqa: S311 - a sample, no secret
    found = [_look(store, volume.scales[number], sample, chooser) for number in numbers]
    if as_json:
        typer.echo(json.dumps({"source": store.url, "scales": [asdict(one) for one in found]}))
    else:
        _print(found)
    if any(one.findings for one in found):
        raise typer.Exit(EXIT_FINDINGS)


def _look(store: Storage, scale: ScaleSpec, sample: int, chooser: random.Random) -> Soundness:
    listed = list_scale(store, scale.index)
    found = Soundness(scale.index, len(listed.files), listed.size_bytes)
    found.without_index = len(listed.without_index)
    boxes = _Boxes()
    for file in _tracked(listed.files):
        try:
            with open_shard(store, file.path) as reader:
                _rows(reader, scale, found)
                found.findings += boxes.repeated(store, file.path, reader)
                _decode(reader, min(sample, len(reader)), chooser, found)
                check_rows(reader.index.coords, file.path, scale)
        except BraidError as error:
            found.findings.append(str(error))
    return found


class _Boxes:
    """The chunks' bounds of every file so far; files that keep apart cannot share a chunk."""

    def __init__(self) -> None:
        self._known: list[tuple[str, Coords, Coords]] = []

    def repeated(self, store: Storage, path: str, reader: ShardRangeReader) -> Iterator[str]:
        """Say which chunks of a file stand in an earlier one too."""
        if not len(reader):
            return
        low, high = reader.index.coords.min(axis=0), reader.index.coords.max(axis=0)
        for other, first, last in self._known:
            if (low <= last).all() and (first <= high).all():
                with open_shard(store, other) as earlier:
                    shared = set(reader.available_chunks) & set(earlier.available_chunks)
                if shared:
                    yield f"{path}: {len(shared)} chunks are in {other} too, such as {min(shared)}"
        self._known.append((path, low, high))


def _rows(reader: ShardRangeReader, scale: ScaleSpec, found: Soundness) -> None:
    coords = reader.index.coords.astype(np.int64)
    inside = ((coords >= 0) & (coords * block_extent() < scale.size)).all(axis=1)
    found.rows += len(coords)
    found.outside += int(len(coords) - inside.sum())


def _decode(reader: ShardRangeReader, count: int, chooser: random.Random, found: Soundness) -> None:
    for row in chooser.sample(range(len(reader)), count):
        x, y, z = reader.index.coords[row].tolist()
        reader.read_chunk(x, y, z)
        found.sampled += 1


def _tracked(files: tuple[ExportFile, ...]) -> Iterator[ExportFile]:
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        yield from progress.track(files, description="reading")


def _print(found: list[Soundness]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("scale", "files", "MiB", "rows", "outside", "decoded", "no index", "findings"):
        table.add_column(column, justify="right")
    for one in found:
        counts = (one.rows, one.outside, one.sampled, one.without_index, len(one.findings))
        size = f"{one.bytes / (1 << 20):,.1f}"
        table.add_row(f"s{one.scale}", f"{one.files:,}", size, *(f"{n:,}" for n in counts))
    Console(highlight=False, markup=False).print(table)
    for one in found:
        for finding in one.findings:
            typer.echo(finding)
