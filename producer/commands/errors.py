"""`producer errors`: failed shards by reason."""

from typing import Annotated

import typer

from producer.commands.options import RunQueueOption
from runtime import common_options


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(errors)


def errors(
    *,
    details: Annotated[
        bool, typer.Option("--details", help="List each dead shard with its reason in full.")
    ] = False,
    run: common_options.RunOption = None,
    state: common_options.StateOption = None,
    dest: common_options.OptionalDestOption = None,
    queue: RunQueueOption = None,
    as_json: common_options.JsonOption = False,
) -> None:
    """Show why shards failed, how many they block, and which were made without bad chunks.

    Exit code 1 if there are any.

    Example: python -m producer errors --dest out --details
    """
    from producer import run_lookup
    from producer.actions.errors import print_errors

    found = run_lookup.find_looked(run, state, dest, queue)
    print_errors(found, details=details, as_json=as_json)
