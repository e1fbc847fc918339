"""`producer cancel`: cancel a run."""

from typing import Annotated

import typer

from producer import run_lookup
from runtime import cli


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(cancel)


def cancel(
    *,
    why: Annotated[
        str, typer.Option("--why", metavar="TEXT", help="Reason, stored with the run.")
    ] = "cancelled by hand",
    run: cli.RunOption = None,
    state: cli.StateOption = None,
    dest: cli.OptionalDestOption = None,
) -> None:
    """Cancel a run: workers ack its messages and publish no further outputs of it.

    Its shards stay. The same enqueue command then starts another run for the rest.

    Example: python -m producer cancel --dest out
    """
    found = run_lookup.find(run, state, dest)
    if found.cancel(why):
        typer.echo(f"run {found.run_id} is cancelled")
    else:
        note = found.cancelled()
        typer.echo(f"run {found.run_id} was cancelled before: {note.why if note else why}")
