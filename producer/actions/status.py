"""The progress of a run, printed once or until its end."""

from contextlib import nullcontext

from delivery.ledger.run import Run
from producer import run_lookup
from producer.documents.run_documents import status_document
from producer.status_look import look_at
from producer.status_text import status_text
from producer.watch import watch
from producer.worker_pools import PoolLooks
from runtime import cli, streams


def watch_status(run: Run, queue: str | None) -> None:
    """Show the progress until the run has ended."""
    broker, why = run_lookup.broker_to_look(run, queue)
    with broker or nullcontext():
        streams.end_with_reader()
        watch(run, broker, why)


def print_status(run: Run, queue: str | None, *, as_json: bool) -> None:
    """Print the progress as it is now."""
    broker, why = run_lookup.broker_to_look(run, queue)
    with broker or nullcontext():
        look = look_at(run, broker, why, PoolLooks(run))
    run_lookup.note_unplanned(look.progress.unplanned)
    if as_json:
        document = status_document(
            run, look.ledger, look.progress, queue_unknown=look.why, pools=look.pools
        )
        cli.print_document(document)
    else:
        cli.print_lines(status_text(run, look))
