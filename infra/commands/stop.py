"""`infra stop`: stop a queue's workers."""

import typer

from infra.commands import options
from runtime import common_options


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(stop)


def stop(
    target: options.QueueOptions,
    *,
    region: options.RegionOption = None,
    dry_run: options.DryRunOption = False,
    json: common_options.JsonOption = False,
) -> None:
    """Set all worker pools to 0 instances and cancel running jobs; workers release their shards.

    Example: python -m infra stop --queue pubsub://my-project/brain --region us-central1
    """
    from infra.actions.workers import stop_workers

    stop_workers(target, region, dry_run=dry_run, json=json)
