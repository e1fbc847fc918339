"""`memmodel labels`: labels of a scale's inputs, and the tiers that its shards will need."""

from typing import Annotated

import typer

from runtime import common_options

TargetOption = Annotated[int, typer.Option("--target-scale", min=1, help="The scale to be made.")]


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(labels)


def labels(
    *,
    target_scale: TargetOption,
    run: common_options.RunOption = None,
    state: common_options.StateOption = None,
    dest: common_options.OptionalDestOption = None,
    as_json: common_options.JsonOption = False,
) -> None:
    """Print how many labels the inputs of a scale hold, and the tiers its shards will need.

    Example: python -m memmodel labels --target-scale 1 --dest out
    """
    from memmodel.actions.labels import count_labels

    count_labels(target_scale, run, state, dest, as_json=as_json)
