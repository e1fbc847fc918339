"""`producer cancel`: cancel a run."""

from typing import Annotated

import typer

from delivery.ledger.shard_status import read_status
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

    Its shards stay, and the same enqueue command starts another run for the rest. A run that has
    ended stays as it is.

    Example: python -m producer cancel --dest out
    """
    found = run_lookup.find(run, state, dest)
    note = found.cancelled()
    status = read_status(found)
    if note is None and status.ended:
        how = "done" if status.succeeded else "with shards that are not done"
        cli.print_line(f"run {found.run_id} has ended ({how}): it stays as it is")
    elif note is None and found.cancel(why):
        cli.print_line(f"run {found.run_id} is cancelled")
    else:
        note = found.cancelled()
        cli.print_line(f"run {found.run_id} was cancelled before: {note.why if note else why}")
