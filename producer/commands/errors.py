"""`producer errors`: failed shards by reason."""

from typing import Annotated

import typer

from delivery.ledger.shard_status import ShardState, read_status
from producer import render, run_lookup
from runtime import cli
from runtime.errors import EXIT_FINDINGS


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(errors)


def errors(
    *,
    details: Annotated[
        bool, typer.Option("--details", help="Print the whole record of each dead shard.")
    ] = False,
    run: cli.RunOption = None,
    state: cli.StateOption = None,
    dest: cli.OptionalDestOption = None,
    queue: run_lookup.RunQueueOption = None,
    as_json: cli.JsonOption = False,
) -> None:
    """Show why shards failed, and how many they block. Exit code 1 if there are any.

    Example: python -m producer errors --dest out --details
    """
    found = run_lookup.find_drained(run, state, dest, queue)
    status = read_status(found)
    dead = [*status.keys(ShardState.FAILED), *status.keys(ShardState.GIVEN_UP)]
    blocked = status.keys(ShardState.BLOCKED)
    records = [record for key in dead if (record := found.failures.get(key))]
    if as_json:
        shown = [record.model_dump(mode="json") for record in records]
        typer.echo(render.document({"run": found.uri, "failed": shown, "blocked": blocked}))
    elif not records:
        typer.echo("no errors")
    elif details:
        typer.echo("\n".join(record.model_dump_json(indent=1) for record in records))
    else:
        typer.echo(render.reasons((record.key, record.reason) for record in records))
    if not as_json and blocked:
        typer.echo(f"{render.of_shards(len(blocked), 'is', 'are')} blocked by these")
    if records:
        raise typer.Exit(EXIT_FINDINGS)
