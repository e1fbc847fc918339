"""A volume checked for completeness and correctness."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import typer

from braid.reader import LabelType
from delivery.ledger.run import list_runs
from delivery.ledger.selection import describe_left_out
from memmodel.spec_file import read_spec
from producer import run_lookup
from producer.documents.check_documents import VerifyDocument
from producer.expected_volume import (
    ExpectedVolume,
    expected_of_export,
    expected_of_runs,
    finest_of_both,
)
from producer.info import read_volume
from producer.launch_output import empty_scales_notes, print_notes
from producer.missing_runs import note_missing
from producer.planner import has_shards
from producer.render import counted, of_shards, shards, with_progress
from producer.run_request import Request
from producer.verification import Checks, Verification, verify_volume
from producer.verify import Finding
from runtime import cli
from runtime.errors import EXIT_FINDINGS, UsageError
from runtime.storage import absolute, open_storage
from runtime.storage.files import translate_write_errors

_MOST_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class VerifyTarget:
    """The volume to verify, and what it is compared with, as options name them.

    Attributes:
        run: id or URI of one of its runs; None: all below the state root.
        state: root of the runs.
        dest: the volume.
        source: the export, where it is not the runs' own or there are no runs.
        spec: file of the spec, as the following two where there are no runs.
        label_type: of the volume.
        z_compress: slices left out of scale 0.
    """

    run: str | None
    state: str | None
    dest: str | None
    source: str | None
    spec: str | None
    label_type: str
    z_compress: int


def verify_target(
    target: VerifyTarget, checks: Checks, report: Path | None, *, as_json: bool
) -> None:
    """Print what is wrong with a volume.

    Args:
        target: the volume.
        checks: what to compare.
        report: file for the findings as JSON.
        as_json: print a JSON document.

    Raises:
        typer.Exit: there are findings.
    """
    uri, expected = _expected(target, checks.scales)
    print_notes(expected.notes)
    run_lookup.note_unplanned(expected.history.provenance.unplanned)
    found = verify_volume(expected, checks, with_progress)
    print_notes(_empty_scales(expected))
    if left_out := found.verifier.left_out:
        print_notes([f"a selection was made of the volume: {describe_left_out(left_out)}"])
    _print_report(found, found.document(uri), report, as_json=as_json)


def _expected(
    target: VerifyTarget, scales: Sequence[int] | None
) -> tuple[str | None, ExpectedVolume]:
    """What the volume should be, by the newest run, whose URI it is, or by the export alone."""
    where = run_lookup.state_root(target.state, target.dest) if target.run is None else None
    if where is not None and not list_runs(where):
        if target.source is None:
            note_missing(where, target.state, target.dest)
        return None, expected_of_export(_request_without_runs(target, scales, where), where)
    newest = run_lookup.find(target.run, target.state, target.dest)
    given = None if target.source is None else absolute(target.source)
    named = newest if target.run is not None else None
    return newest.uri, expected_of_runs(newest.state_url, newest.info.dest, named, given)


def _request_without_runs(
    target: VerifyTarget, scales: Sequence[int] | None, where: str
) -> Request:
    """The request that would make a volume whose runs are not known.

    Raises:
        UsageError: the export is not named.
    """
    source, dest = target.source, target.dest
    if source is None or dest is None:
        raise UsageError(
            f"no run below {where}, so there is no ledger to compare with",
            hint="name --dest or --state of a run; or --source and --dest (and --spec) to compare "
            "a volume with its export alone",
        )
    export, place = absolute(source), absolute(dest)
    volume = read_spec(target.spec) if target.spec else read_volume(open_storage(place))
    chosen = tuple(scales) if scales else (finest_of_both(export, place, volume),)
    kind = LabelType(target.label_type)
    return Request(volume, export, place, chosen, label_type=kind, z_compress=target.z_compress)


def _empty_scales(expected: ExpectedVolume) -> list[str]:
    """Notes on scales of info that hold nothing and that no run makes."""
    request, dest = expected.request, open_storage(expected.request.dest)
    return empty_scales_notes(
        [
            scale
            for scale in request.volume.scales
            if scale.index not in request.made and not has_shards(dest, scale)
        ],
        min(request.made),
    )


def _print_report(
    found: Verification, document: VerifyDocument, report: Path | None, *, as_json: bool
) -> None:
    if report is not None:
        with translate_write_errors(report):
            report.write_text(document.text() + "\n", encoding="utf-8")
    if as_json:
        cli.print_document(document)
    else:
        _print_findings(found.checked, found.findings)
        if left_out := found.verifier.left_out:
            number = sum(left_out.values())
            cli.print_line(f"of a selection: {of_shards(number, 'is', 'are')} not made yet")
    if found.findings:
        raise typer.Exit(EXIT_FINDINGS)


def _print_findings(checked: dict[str, int], findings: Sequence[Finding]) -> None:
    for finding in findings[:_MOST_SHOWN]:
        cli.print_line(f"{finding.key}: {finding.what}")
    if len(findings) > _MOST_SHOWN:
        cli.print_line(
            f"... and {len(findings) - _MOST_SHOWN} more; --json-report FILE has them all"
        )
    checks = [f"{shards(checked['shards'])} against receipts and source"]
    if checked["files_read"]:
        checks.append(f"{counted(checked['files_read'], 'file')} read whole")
    if checked["values"]:
        checks.append(f"{counted(checked['values'], 'chunk')} voxel for voxel")
    if "points" in checked:
        checks.append(f"{counted(checked['points'], 'voxel')} as DVID has them")
    found = counted(len(findings), "finding") if findings else "no findings"
    cli.print_line(f"{', '.join(checks)}: {found}")
    if findings:
        cli.print_line(
            "the same `enqueue` makes them again, where they are missing, cut or old; "
            "`replay --redo --shards KEY,...` makes any others"
        )
