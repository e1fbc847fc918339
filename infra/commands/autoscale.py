"""`infra autoscale`: set the instances of worker pools by what the ledgers say is left."""

from typing import Annotated

import typer

from infra.commands import options
from infra.defaults import POLL_S
from runtime import common_options, settings

StatesOption = Annotated[
    list[str] | None, common_options.states("State root of the queue's runs. May be repeated.")
]
OnceOption = Annotated[
    bool, typer.Option("--once", help="Look once, as from cron, instead of until the end.")
]
StartOption = Annotated[
    bool,
    typer.Option("--start", help="Also start the autoscaler's own pool; `enqueue` does this."),
]
StoppedOption = Annotated[
    bool,
    typer.Option(
        "--until-stopped", help="Look until SIGTERM, also after the end: for a pool of its own."
    ),
]
PollOption = Annotated[
    float, typer.Option("--poll", metavar="SECONDS", min=0.05, help="Between two looks.")
]


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(autoscale)


def autoscale(
    target: options.QueueOptions,
    *,
    region: options.RegionOption = None,
    state: StatesOption = None,
    tiers: common_options.TiersOption = settings.DEFAULT_TIERS,
    lease: common_options.LeaseOption = settings.DEFAULT_LEASE_S,
    once: OnceOption = False,
    start: StartOption = False,
    until_stopped: StoppedOption = False,
    poll: PollOption = POLL_S,
    caps: options.CapOptions,
    json: common_options.JsonOption = False,
) -> None:
    """Set the instances of a queue's worker pools by what the ledgers of its runs say is left.

    Up at about four shards an instance, never down while a tier has work, to 0 as soon as nothing
    is left. The command ends when all runs have ended and all pools are at 0; its own pool, too.

    Example: python -m infra autoscale --once
    """
    from infra.actions.autoscale import Watch, watch_queue

    watch = Watch(poll_s=poll, once=once, start=start, until_stopped=until_stopped)
    watch_queue(target, region, state, caps, watch, tiers=tiers, lease_s=lease, json=json)
