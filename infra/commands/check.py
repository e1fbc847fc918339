"""`infra check`: compare the cloud with what a queue needs."""

from typing import Annotated

import typer

from infra.commands import options
from infra.defaults import ALL_PARTS, CANARY_S
from runtime import common_options

CanaryOption = Annotated[
    bool,
    typer.Option(
        "--canary",
        help="Also start one instance of the smallest pool, with `--only pools` of each, for a "
        "sign of life.",
    ),
]
CanaryTimeoutOption = Annotated[
    float,
    typer.Option(
        "--canary-timeout",
        metavar="SECONDS",
        min=1,
        help="In which --canary waits for a sign of life.",
    ),
]


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(check)


def check(
    target: options.QueueOptions,
    resources: options.ResourceOptions,
    places: options.PlaceOptions,
    *,
    only: options.OnlyOption = ALL_PARTS,
    canary: CanaryOption = False,
    canary_timeout: CanaryTimeoutOption = CANARY_S,
    json: common_options.JsonOption = False,
) -> None:
    """Compare; exit code 1 if something is missing or differs.

    Example: python -m infra check --queue pubsub://my-project/brain

    Example: python -m infra check --canary --only pools
    """
    from infra.actions.check import check_resources

    canary_s = canary_timeout if canary else None
    check_resources(target, resources, places, only=only, canary_s=canary_s, json=json)
