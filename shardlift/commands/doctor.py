"""`shardlift doctor`: what is wrong with this machine and the places of a job."""

import typer

from runtime import common_options


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(doctor)


def doctor(
    *,
    source: common_options.OptionalSourceOption = None,
    dest: common_options.OptionalDestOption = None,
    state: common_options.StateOption = None,
    queue: common_options.QueueOption = None,
    as_json: common_options.JsonOption = False,
) -> None:
    """Check this machine and the places of a job: what is wrong, and the fix.

    Python, kernels, processors, memory, browser; disks, the queue's file system, credentials and
    buckets of the places that options and settings name. Exit code 1 if there is a problem.
    Writable places are tried with an empty file, which is removed again; nothing else is made.

    Example: python -m shardlift doctor

    Example: python -m shardlift doctor --source gs://lab/export --dest gs://lab/volume --json
    """
    from shardlift.actions.doctor import check_all

    check_all(source, dest, state, queue, as_json=as_json)
