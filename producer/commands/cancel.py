"""`producer cancel`: cancel a run."""

from typing import Annotated

import typer

from runtime import common_options


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(cancel)


def cancel(
    *,
    why: Annotated[
        str, typer.Option("--why", metavar="TEXT", help="Reason, stored with the run.")
    ] = "cancelled by hand",
    run: common_options.RunOption = None,
    state: common_options.StateOption = None,
    dest: common_options.OptionalDestOption = None,
    yes: common_options.YesOption = False,
    as_json: common_options.JsonOption = False,
) -> None:
    """Cancel a run: workers ack its messages and publish no further outputs of it.

    Its shards stay, and the same enqueue command starts another run for the rest. A run that has
    ended stays as it is. Asks on a terminal; scripts need no --yes.

    Example: python -m producer cancel --dest out
    """
    from producer import run_lookup
    from producer.actions.cancel import cancel_run

    cancel_run(run_lookup.find(run, state, dest), why, yes=yes, as_json=as_json)
