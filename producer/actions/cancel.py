"""A run cancelled, after a question on a terminal."""

from delivery.ledger.run import Run
from delivery.ledger.shard_status import ShardState, read_status
from producer import render
from producer.documents.run_documents import CancelDocument
from runtime import cli


def cancel_run(run: Run, why: str, *, yes: bool, as_json: bool) -> None:
    """Cancel a run unless it has ended, and print the outcome.

    Args:
        run: what to cancel.
        why: stored with the run.
        yes: do not ask.
        as_json: print a JSON document.
    """
    if not yes and cli.can_ask() and run.cancelled() is None:
        _confirm(run)
    document, text = _cancel(run, why)
    if as_json:
        cli.print_document(document)
    else:
        cli.print_line(text)


def _confirm(run: Run) -> None:
    """Ask before an unfinished run is cancelled."""
    status = read_status(run)
    if not status.ended:
        states = list(status.states.values())
        done = f"{states.count(ShardState.DONE):,} of {render.shards(len(states))}"
        cli.confirm(f"cancel run {run.run_id}, of which {done} are done", yes=False)


def _cancel(run: Run, why: str) -> tuple[CancelDocument, str]:
    """Cancel a run unless it has ended; the outcome, also in words."""
    note, status = run.cancelled(), read_status(run)
    if note is None and status.ended:
        how = "done" if status.succeeded else "with shards that are not done"
        text = f"run {run.run_id} has ended ({how}): it stays as it is"
        return CancelDocument(run=run.uri, run_id=run.run_id, outcome="ended", why=None), text
    cancelled = note is None and run.cancel(why)
    note = run.cancelled()
    document = CancelDocument(
        run=run.uri,
        run_id=run.run_id,
        outcome="cancelled" if cancelled else "cancelled before",
        why=note.why if note else why,
    )
    before = "" if cancelled else f" before: {document.why}"
    return document, f"run {run.run_id} {'is' if cancelled else 'was'} cancelled{before}"
