"""`producer cancel`: cancel a run."""

from typing import Annotated

import typer

from delivery.ledger.run import Run
from delivery.ledger.shard_status import ShardState, read_status
from producer import render, run_lookup
from producer.documents.run_documents import CancelDocument
from runtime import cli, common_options


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(cancel)


def cancel(
    *,
    why: Annotated[
        str, typer.Option("--why", metavar="TEXT", help="Reason, stored with the run.")
    ] = "cancelled by hand",
    run: common_options.RunOption = None,
    state: common_options.StateOption = None,
    dest: common_options.OptionalDestOption = None,
    yes: common_options.YesOption = False,
    as_json: common_options.JsonOption = False,
) -> None:
    """Cancel a run: workers ack its messages and publish no further outputs of it.

    Its shards stay, and the same enqueue command starts another run for the rest. A run that has
    ended stays as it is. Asks on a terminal; scripts need no --yes.

    Example: python -m producer cancel --dest out
    """
    found = run_lookup.find(run, state, dest)
    if not yes and cli.can_ask() and found.cancelled() is None:
        _confirm(found)
    document, text = cancel_run(found, why)
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


def cancel_run(run: Run, why: str) -> tuple[CancelDocument, str]:
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
