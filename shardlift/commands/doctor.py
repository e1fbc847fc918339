"""`shardlift doctor`: what is wrong with this machine and the places of a job."""

from typing import Final

import typer

from runtime import cli, common_options, settings
from runtime.errors import EXIT_FINDINGS
from runtime.interpreter import as_typed
from runtime.text import counted
from shardlift.doctor.finding import DoctorDocument, Finding, worst
from shardlift.doctor.machine import check_machine
from shardlift.doctor.places import Places, check_places

_WIDTH: Final = 10


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
