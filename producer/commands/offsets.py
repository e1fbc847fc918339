"""`producer offsets`: indices with byte offsets for exports that lack them."""

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from braid.exceptions import BraidError
from braid.reader import write_index
from producer.export_listing import ExportFile, list_scale
from producer.export_reader import has_offsets, open_shard
from runtime import cli
from runtime.errors import EXIT_FINDINGS
from runtime.storage import Storage, open_storage


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(offsets)


def offsets(
    source: cli.SourceOption,
    scales: cli.ScalesOption = "0",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what lacks them.")] = False,
) -> None:
    """Scan each Arrow shard that has no byte offsets once, and write them beside it.

    Workers then read only the rows that they need. What DVID wrote is left as it is: where there
    is a CSV, the offsets go to NAME-offsets.csv beside it, else to NAME.csv.

    Example: python -m producer offsets --source export --scales 0,1
    """
    store = open_storage(source)
    written, damaged = 0, 0
    for scale in cli.parse_scales(scales):
        lacking = [
            file for file in list_scale(store, scale).files if not has_offsets(store, file.path)
        ]
        typer.echo(f"s{scale}: {len(lacking)} files lack byte offsets")
        for file in [] if dry_run else _tracked(lacking):
            try:
                typer.echo(f"  wrote {_write(store, file)}")
                written += 1
            except BraidError as error:
                typer.echo(f"  {error}")
                damaged += 1
    if not dry_run:
        typer.echo(f"{written} indices written, {damaged} files damaged")
    if damaged:
        raise typer.Exit(EXIT_FINDINGS)


def _tracked(files: list[ExportFile]) -> Iterator[ExportFile]:
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        yield from progress.track(files, description="scanning")


def _write(store: Storage, file: ExportFile) -> str:
    """Scan one shard, check it against the CSV that there is, write its offsets."""
    with open_shard(store, file.path) as reader:
        text = write_index(reader.index)
    ending = "-offsets.csv" if file.index_bytes else ".csv"
    path = file.path.removesuffix(".arrow") + ending
    store.write(path, text.encode())
    return path
