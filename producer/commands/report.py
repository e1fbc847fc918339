"""`producer report`: write a run as one HTML page."""

from pathlib import Path
from typing import Annotated

import typer

from delivery.ledger.shard_status import read_status
from delivery.messages import now
from producer import run_lookup
from producer.documents.run_documents import ReportDocument
from producer.report.facts import read_facts
from producer.report.page import page
from runtime import cli, common_options
from runtime.storage.files import translate_write_errors


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(report)


def report(
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FILE.html", help="The page.")],
    run: common_options.RunOption = None,
    state: common_options.StateOption = None,
    dest: common_options.OptionalDestOption = None,
    as_json: common_options.JsonOption = False,
) -> None:
    """Write a run as one HTML page: counts, map, picture, rates, memory, cost, failures.

    Changes nothing. The page needs no other file and no network.

    Example: python -m producer report --dest out --out report.html
    """
    found = run_lookup.find(run, state, dest)
    status = read_status(found)
    run_lookup.note_unplanned(status.unplanned)
    text = page(read_facts(found, status, now()))
    with translate_write_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    number = len(text.encode())
    if as_json:
        document = ReportDocument(run=found.uri, run_id=found.run_id, out=str(out), bytes=number)
        cli.print_document(document)
    else:
        cli.print_line(f"wrote {out} ({number >> 10} KiB)")
