"""Failed shards of a run by reason, printed."""

from collections.abc import Sequence

import typer

from delivery.ledger.failures import Failure, FailureSummary
from delivery.ledger.receipts import BadChunk
from delivery.ledger.run import Run
from delivery.ledger.shard_status import ShardState, read_status
from producer import render, run_lookup
from producer.documents.failure_documents import ErrorsDocument, FailureGroupPart
from producer.failure_groups import failures_of, group_failures
from producer.trouble_note import describe, last_trouble
from runtime import cli
from runtime.errors import EXIT_FINDINGS


def print_errors(run: Run, *, details: bool, as_json: bool) -> None:
    """Print why shards of a run failed, and which were made without bad chunks.

    Raises:
        typer.Exit: there are any.
    """
    status = read_status(run)
    run_lookup.note_unplanned(status.unplanned)
    dead, trouble = failures_of(status), last_trouble(run, status)
    records = _records(run, dead) if details or as_json else []
    lacking = {key: _bad_chunks(run, key) for key in status.incomplete}
    if as_json:
        document = ErrorsDocument(
            run=run.uri,
            run_id=run.run_id,
            groups=tuple(map(FailureGroupPart.of, group_failures(records))),
            failed=tuple(records),
            blocked=tuple(status.keys(ShardState.BLOCKED)),
            incomplete=lacking,
            trouble=trouble,
        )
        cli.print_document(document)
    elif not dead and not lacking:
        cli.print_line("no shard failed" if trouble else "no errors")
    elif dead:
        if details:
            cli.print_lines(f"{render.failure_details(records)}\n")
        cli.print_lines(render.failure_report(run, status, details=details))
    if not as_json:
        for key, bads in lacking.items():
            _print_bad_chunks(key, status.incomplete[key], bads, details=details)
    if trouble and not as_json:
        cli.print_line(describe(trouble))
    if dead or lacking:
        raise typer.Exit(EXIT_FINDINGS)


def _records(run: Run, dead: Sequence[FailureSummary]) -> list[Failure]:
    """The whole records; one that was removed since is left out."""
    found = (run.failures.get(failure.key) for failure in dead)
    return [record for record in found if record is not None]


def _bad_chunks(run: Run, key: str) -> tuple[BadChunk, ...]:
    receipt = run.receipts.get(key)
    return receipt.bad_chunks if receipt else ()


def _print_bad_chunks(key: str, number: int, bads: Sequence[BadChunk], *, details: bool) -> None:
    """A line for a shard that lacks chunks, and one for each of them on request."""
    example = f": {bads[0].text}" if bads else ""
    cli.print_line(f"{key}: made without {render.counted(number, 'chunk')}{example}")
    for bad in bads if details else ():
        cli.print_line(f"  {bad.text}")
