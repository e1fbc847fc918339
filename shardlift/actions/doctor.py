"""Checks of this machine and the places of a job, printed."""

from typing import Final

import typer

from runtime import cli, settings
from runtime.errors import EXIT_FINDINGS
from runtime.interpreter import as_typed
from runtime.text import counted
from shardlift.doctor.finding import DoctorDocument, Finding, worst
from shardlift.doctor.machine import check_machine
from shardlift.doctor.places import Places, check_places

_WIDTH: Final = 10


def check_all(
    source: str | None, dest: str | None, state: str | None, queue: str | None, *, as_json: bool
) -> None:
    """Print what is wrong with the machine and the places, and the fix.

    Raises:
        typer.Exit: there is a problem.
    """
    places = Places(source, dest, state, queue or settings.default_queue_url())
    findings = (*check_machine(), *check_places(places))
    document = DoctorDocument(state=worst(findings), findings=findings)
    if as_json:
        cli.print_document(document)
    else:
        for finding in findings:
            _print(finding)
        cli.print_line(_summary(findings))
    if document.state == "problem":
        raise typer.Exit(EXIT_FINDINGS)


def _print(finding: Finding) -> None:
    cli.print_line(f"{finding.state:<{_WIDTH}}{finding.check}: {finding.text}")
    if finding.fix:
        cli.print_line(f"{'':<{_WIDTH}}fix: {as_typed(finding.fix)}")


def _summary(findings: tuple[Finding, ...]) -> str:
    kinds = ("problem", "warning")
    numbers = {kind: sum(finding.state == kind for finding in findings) for kind in kinds}
    found = [counted(number, kind) for kind, number in numbers.items() if number]
    return f"{' and '.join(found) or 'all is well'}; {counted(len(findings), 'check')}"
