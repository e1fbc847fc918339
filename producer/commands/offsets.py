"""`producer offsets`: write byte offsets for exports whose indices lack them."""

from typing import Annotated

import typer

from braid.exceptions import BraidError
from braid.reader import write_index
from producer.export_listing import ExportFile, list_scale
from producer.export_reader import has_offsets, open_shard
from producer.render import with_progress
from runtime import cli
from runtime.errors import EXIT_FINDINGS
from runtime.storage import Storage, open_storage


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(offsets)


def offsets(
    source: cli.SourceOption,
    scales: cli.ScalesOption = "0",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print which files lack them.")
    ] = False,
) -> None:
    """Scan each Arrow file without byte offsets once, and write its offsets.

    Workers then read only the rows that they need. Files of DVID are not changed: where there is a
    CSV, the offsets go to NAME-offsets.csv next to it, else to NAME.csv.

    Example: python -m producer offsets --source export --scales 0,1
    """
    store = open_storage(source)
    written, damaged = 0, 0
    for scale in cli.parse_scales(scales):
        lacking = [
            file for file in list_scale(store, scale).files if not has_offsets(store, file.path)
        ]
        typer.echo(f"s{scale}: {len(lacking)} files lack byte offsets")
        for file in [] if dry_run else with_progress("scanning", lacking):
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


def _write(store: Storage, file: ExportFile) -> str:
    """Scan one file, check it against its CSV, write its offsets; returns their path."""
    with open_shard(store, file.path) as reader:
        text = write_index(reader.index)
    ending = "-offsets.csv" if file.index_bytes else ".csv"
    path = file.path.removesuffix(".arrow") + ending
    store.write(path, text.encode())
    return path
