"""`producer runs`: list the runs of a destination."""

import typer

from runtime import common_options


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(runs)


def runs(
    *,
    state: common_options.StateOption = None,
    dest: common_options.OptionalDestOption = None,
    as_json: common_options.JsonOption = False,
) -> None:
    """List runs, oldest first: state, scales, shards done and lost.

    Example: python -m producer runs --dest out
    """
    from producer.actions.runs import print_runs

    print_runs(state, dest, as_json=as_json)
