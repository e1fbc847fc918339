"""`producer status`: progress of a run."""

from typing import Annotated

import typer

from producer.commands.options import RunQueueOption
from runtime import common_options


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(status)


def status(
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Refresh until the run has ended.")
    ] = False,
    run: common_options.RunOption = None,
    state: common_options.StateOption = None,
    dest: common_options.OptionalDestOption = None,
    queue: RunQueueOption = None,
    as_json: common_options.JsonOption = False,
) -> None:
    """Show the progress of a run: shards by state, queues, work in flight, rate, time left.

    Counts are exact: plan minus receipts. A backlog that the queue does not report is unknown,
    never 0; without the queue the ledger is shown. The command also drains dead letters and
    publishes dependents that became ready.

    Example: python -m producer status --dest out --watch
    """
    from producer import run_lookup
    from producer.actions.status import print_status, watch_status

    found = run_lookup.find(run, state, dest)
    if watch and not as_json:
        watch_status(found, queue)
    else:
        print_status(found, queue, as_json=as_json)
