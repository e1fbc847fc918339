"""`producer report`: write a run as one HTML page."""

from pathlib import Path
from typing import Annotated

import typer

from runtime import common_options


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(report)


def report(
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FILE.html", help="The page.")],
    run: common_options.RunOption = None,
    state: common_options.StateOption = None,
    dest: common_options.OptionalDestOption = None,
    as_json: common_options.JsonOption = False,
) -> None:
    """Write a run as one HTML page: counts, map, picture, rates, memory, cost, failures.

    Changes nothing. The page needs no other file and no network.

    Example: python -m producer report --dest out --out report.html
    """
    from producer import run_lookup
    from producer.actions.report import write_report

    write_report(run_lookup.find(run, state, dest), out, as_json=as_json)
