"""`infra instances`: the instances of a queue's worker pools."""

import typer

from infra.commands import options
from runtime import common_options


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(instances)


def instances(
    target: options.QueueOptions,
    *,
    region: options.RegionOption = None,
    json: common_options.JsonOption = False,
) -> None:
    """Show the instances that the worker pools of a queue have now, and dollars per hour.

    Example: python -m infra instances --queue pubsub://my-project/brain --region us-central1
    """
    from infra.actions.instances import show_instances

    show_instances(target, region, json=json)
