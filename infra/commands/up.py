"""`infra up`: make what a queue needs in the cloud."""

import typer

from infra.commands import options
from infra.defaults import ALL_PARTS
from runtime import common_options


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(up)


def up(
    target: options.QueueOptions,
    resources: options.ResourceOptions,
    places: options.PlaceOptions,
    first_run: options.FirstRunOptions,
    *,
    only: options.OnlyOption = ALL_PARTS,
    dry_run: options.DryRunOption = False,
    yes: common_options.YesOption = False,
    json: common_options.JsonOption = False,
) -> None:
    """Create what is missing and update what differs; idempotent.

    On a terminal it asks for what no setting has, shows what it will make, and asks once. With
    --yes it asks nothing, and keeps what options gave in .env, as answers are.

    Example: python -m infra up

    Example: python -m infra up --queue pubsub://my-project/brain --dry-run

    Example: python -m infra up --queue pubsub://my-project/brain --region us-central1
    """
    from infra.actions.up import make_resources

    make_resources(
        target, resources, places, first_run, only=only, dry_run=dry_run, yes=yes, json=json
    )
