"""A run written as one HTML page."""

from pathlib import Path

from delivery.ledger.run import Run
from delivery.ledger.shard_status import read_status
from delivery.messages import now
from producer import run_lookup
from producer.documents.run_documents import ReportDocument
from producer.report.facts import read_facts
from producer.report.page import page
from runtime import cli
from runtime.storage.files import translate_write_errors


def write_report(run: Run, out: Path, *, as_json: bool) -> None:
    """Write the page of a run."""
    status = read_status(run)
    run_lookup.note_unplanned(status.unplanned)
    text = page(read_facts(run, status, now()))
    with translate_write_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    number = len(text.encode())
    if as_json:
        document = ReportDocument(run=run.uri, run_id=run.run_id, out=str(out), bytes=number)
        cli.print_document(document)
    else:
        cli.print_line(f"wrote {out} ({number >> 10} KiB)")
