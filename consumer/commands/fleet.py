"""`consumer fleet`: workers for every tier within one machine's budget."""

from typing import Annotated

import typer

from consumer.commands import options

CpusOption = Annotated[
    int | None,
    typer.Option("--cpus", min=1, metavar="N", help="Workers at once. Default: all CPUs."),
]


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(fleet)


def fleet(serving: options.ServingOptions, *, cpus: CpusOption = None) -> None:
    """Run workers for every tier within one machine's budget.

    On a terminal it shows how far the run is, as `enqueue --wait` does; with -v its log instead.

    Example: python -m consumer fleet --dest out --until-drained

    Example: python -m consumer fleet --dest out --memory 16GiB --cpus 4
    """
    from consumer.actions.fleet import run_fleet

    run_fleet(serving, cpus_wanted=cpus)
