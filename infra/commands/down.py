"""`infra down`: delete a queue's resources in the cloud."""

import typer

from infra.commands import options
from infra.defaults import ALL_PARTS
from runtime import common_options


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(down)


def down(
    target: options.QueueOptions,
    *,
    region: options.RegionOption = None,
    state: common_options.StateOption = None,
    only: options.OnlyOption = ALL_PARTS,
    dry_run: options.DryRunOption = False,
    yes: common_options.YesOption = False,
    json: common_options.JsonOption = False,
) -> None:
    """Delete the pools and queues of all tiers; plan, receipts and volume stay.

    Unfinished runs of the queue are named if --state or STATE_PATH tells where runs are.

    Example: python -m infra down --queue pubsub://my-project/brain --dry-run
    """
    from infra.actions.down import delete_resources

    delete_resources(target, region, state, only=only, dry_run=dry_run, yes=yes, json=json)
