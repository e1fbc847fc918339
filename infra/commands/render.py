"""`infra render`: the same workers as text for other engines."""

from pathlib import Path
from typing import Annotated

import typer

from infra.commands import options
from infra.defaults import IDLE_S, PER_TIER, Engine
from runtime import common_options

EngineArgument = Annotated[
    Engine,
    typer.Argument(
        metavar="kubernetes|slurm|terraform|crema",
        help="Jobs, an array script, or examples for Terraform and CREMA.",
        show_default=False,
    ),
]
SpotOption = Annotated[
    bool,
    typer.Option("--spot/--no-spot", help="Kubernetes: on GKE's Spot nodes only, or on any nodes."),
]
IdleOption = Annotated[
    int,
    typer.Option(
        "--until-idle",
        metavar="SECONDS",
        min=0,
        help="Kubernetes and SLURM: without a message, before a worker ends.",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Write it there instead of stdout."),
]


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(render)


def render(
    engine: EngineArgument,
    target: options.QueueOptions,
    workers: options.WorkerOptions,
    places: options.PlaceOptions,
    *,
    per_tier: options.SomePerTierOption = PER_TIER,
    until_idle: IdleOption = IDLE_S,
    spot: SpotOption = True,
    out: OutOption = None,
    as_json: common_options.JsonOption = False,
) -> None:
    """Print the workers of a queue as text for another engine; nothing is made.

    Example: python -m infra render kubernetes --max-per-tier 50 --out workers.yaml
    """
    from infra.actions.render import render_workers

    render_workers(
        engine,
        target,
        workers,
        places,
        per_tier=per_tier,
        idle_s=until_idle,
        spot=spot,
        out=out,
        as_json=as_json,
    )
