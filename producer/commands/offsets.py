"""`producer offsets`: write byte offsets for exports whose indices lack them."""

from typing import Annotated

import typer

from producer import defaults
from producer.commands.options import WorkersOption
from runtime import common_options


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(offsets)


def offsets(
    source: common_options.SourceOption,
    scales: common_options.ScalesOption = "0",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print how many files lack them.")
    ] = False,
    workers: WorkersOption = defaults.READERS,
    as_json: common_options.JsonOption = False,
) -> None:
    """Scan each Arrow file without byte offsets once, and write its offsets.

    Workers then read only the rows that they need. Files of DVID are not changed: where there is a
    CSV, the offsets go to NAME-offsets.csv next to it, else to NAME.csv.

    Example: python -m producer offsets --source export --scales 0,1
    """
    from producer.actions.offsets import write_offsets

    numbers = common_options.parse_scales(scales)
    write_offsets(source, numbers, workers, dry_run=dry_run, as_json=as_json)
