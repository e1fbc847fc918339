"""`consumer work`: one worker."""

from typing import Annotated

import typer

from consumer.commands import options

TierOption = Annotated[
    str, typer.Option("--tier", metavar="NAME", help="The tier to serve, such as 4gi or 512mi.")
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads", min=1, metavar="N", help="Threads per shard, at most. Default: all CPUs."
    ),
]
IdleOption = Annotated[
    float | None,
    typer.Option(
        "--until-idle",
        min=0,
        metavar="SECONDS",
        help="End when no message came for so long; for jobs, which are paid until they end.",
    ),
]
OwnerOption = Annotated[
    int | None, typer.Option("--owner", hidden=True, help="Process id of the fleet.")
]


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(work)


def work(
    serving: options.ServingOptions,
    *,
    tier: TierOption,
    threads: ThreadsOption = None,
    until_idle: IdleOption = None,
    owner: OwnerOption = None,
) -> None:
    """Serve one tier; what a container runs. Ctrl-C or SIGTERM releases the shard in work.

    Example: python -m consumer work --tier 4gi --queue pubsub://my-project/brain --state gs://b/v.runs

    Example: python -m consumer work --tier 2gi --dest out --until-drained
    """
    from consumer.actions.work import run_worker

    run_worker(serving, tier=tier, threads=threads, idle_s=until_idle, owner=owner)
