"""`producer status`: progress of a run."""

from contextlib import nullcontext
from typing import Annotated

import typer

from producer import run_lookup
from producer.documents.run_documents import status_document
from producer.status_look import look_at
from producer.status_text import status_text
from producer.watch import watch as watch_run
from producer.worker_pools import PoolLooks
from runtime import cli, streams


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(status)


def status(
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Refresh until the run has ended.")
    ] = False,
    run: cli.RunOption = None,
    state: cli.StateOption = None,
    dest: cli.OptionalDestOption = None,
    queue: run_lookup.RunQueueOption = None,
    as_json: cli.JsonOption = False,
) -> None:
    """Show the progress of a run: shards by state, queues, work in flight, rate, time left.

    Counts are exact: plan minus receipts. A backlog that the queue does not report is unknown,
    never 0; without the queue the ledger is shown. The command also drains dead letters and
    publishes dependents that became ready.

    Example: python -m producer status --dest out --watch
    """
    found = run_lookup.find(run, state, dest)
    broker, why = run_lookup.broker_to_look(found, queue)
    with broker or nullcontext():
        if watch and not as_json:
            streams.end_with_reader()
            watch_run(found, broker, why)
            return
        look = look_at(found, broker, why, PoolLooks(found))
    run_lookup.note_unplanned(look.progress.unplanned)
    if as_json:
        document = status_document(
            found, look.ledger, look.progress, queue_unknown=look.why, pools=look.pools
        )
        cli.print_document(document)
    else:
        cli.print_lines(status_text(found, look))
