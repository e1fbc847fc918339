"""`infra start`: run tasks of worker jobs."""

import typer

from infra.commands import options
from infra.defaults import PER_TIER
from runtime import common_options


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(start)


def start(
    target: options.QueueOptions,
    *,
    region: options.RegionOption = None,
    state: common_options.StateOption = None,
    per_tier: options.PerTierOption = PER_TIER,
    dry_run: options.DryRunOption = False,
    json: common_options.JsonOption = False,
) -> None:
    """Run tasks of the jobs of `up --home jobs`, as many as the ledgers say are worth it.

    Example: python -m infra start --queue pubsub://my-project/brain --state gs://bucket/volume.runs
    """
    from infra.actions.workers import start_workers

    start_workers(target, region, state, per_tier, dry_run=dry_run, json=json)
