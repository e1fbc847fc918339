"""`producer validate`: check an export before it is converted."""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from memmodel.spec_file import read_spec
from producer.render import with_progress
from producer.validation import ScaleReport, validate_scale
from runtime import cli
from runtime.errors import EXIT_FINDINGS, UsageError
from runtime.storage import open_storage


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
    """Open every Arrow file, check its index against it, and decode a sample of its rows.

    Example: python -m producer validate --source export --spec spec.json --scales 0 --sample 16
    """
    store = open_storage(source)
    volume = read_spec(spec)
    numbers = cli.parse_scales(scales)
    if numbers[-1] >= len(volume.scales):
        raise UsageError(f"{spec} has scales 0 to {len(volume.scales) - 1}, not {numbers[-1]}")
    chooser = random.Random(seed)  # noqa: S311 - a sample, no secret
    track = partial(with_progress, "reading")
    reports = [validate_scale(store, volume.scales[n], sample, chooser, track) for n in numbers]
    if as_json:
        typer.echo(json.dumps({"source": store.url, "scales": [asdict(one) for one in reports]}))
    else:
        _print_reports(reports)
    if any(report.findings for report in reports):
        raise typer.Exit(EXIT_FINDINGS)


def _print_reports(reports: Sequence[ScaleReport]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("scale", "files", "MiB", "rows", "outside", "decoded", "no index", "findings"):
        table.add_column(column, justify="right")
    for one in reports:
        counts = (one.rows, one.outside, one.sampled, one.without_index, len(one.findings))
        size = f"{one.bytes / (1 << 20):,.1f}"
        table.add_row(f"s{one.scale}", f"{one.files:,}", size, *(f"{n:,}" for n in counts))
    Console(highlight=False, markup=False).print(table)
    for one in reports:
        for finding in one.findings:
            typer.echo(finding)
