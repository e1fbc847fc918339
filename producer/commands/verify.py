"""`producer verify`: check that a volume is complete and correct."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

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
from producer.point_check import DEFAULT_POINTS, open_instance
from producer.render import counted, of_shards, shards, with_progress
from producer.run_request import Request
from producer.verification import Checks, Verification, verify_volume
from producer.verify import Finding
from runtime import cli, common_options
from runtime.errors import EXIT_FINDINGS, UsageError
from runtime.storage import absolute, open_storage
from runtime.storage.files import translate_write_errors

_MOST_SHOWN = 20


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(verify)


def verify(
    scales: Annotated[
        str | None, typer.Option("--scales", metavar="N,N,...", help="Default: all of the run.")
    ] = None,
    values: Annotated[
        int,
        typer.Option(
            "--values",
            min=0,
            max=common_options.MOST_SAMPLES,
            metavar="N",
            help="Compare N random chunks, every voxel, with their source; with --dvid, N voxels.",
        ),
    ] = 0,
    dvid: Annotated[
        str | None,
        typer.Option(
            "--dvid",
            metavar="URL",
            help=f"Compare random voxels (--values, else {DEFAULT_POINTS:,}) with a DVID server.",
        ),
    ] = None,
    uuid: Annotated[
        str | None,
        typer.Option("--uuid", metavar="UUID", help="With --dvid: the version that was exported."),
    ] = None,
    instance: Annotated[
        str | None,
        typer.Option("--instance", metavar="NAME", help="With --dvid: its labelmap instance."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the random choice.")] = 0,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every byte of every shard file.")
    ] = False,
    json_report: Annotated[
        Path | None, typer.Option("--json-report", metavar="FILE", help="Write findings as JSON.")
    ] = None,
    source: common_options.OptionalSourceOption = None,
    spec: common_options.OptionalSpecOption = None,
    label_type: common_options.LabelTypeOption = "labels",
    z_compress: Annotated[
        int,
        typer.Option(
            "--z-compress",
            min=0,
            max=common_options.MOST_SAMPLES,
            metavar="N",
            help="As it was, without a ledger.",
        ),
    ] = 0,
    run: common_options.RunOption = None,
    state: common_options.StateOption = None,
    dest: common_options.OptionalDestOption = None,
    as_json: common_options.JsonOption = False,
) -> None:
    """Check a volume against the receipts of all its runs and against its export as it is now.

    Shards that are missing, damaged or older than what they are made from are findings, and so is
    what the export lacks; with --values voxels are compared, too. Without options it costs one
    listing per scale of volume and export. Without a ledger (runs) it needs --source, and compares
    with that alone. Exit code 1 if there are findings.

    Example: python -m producer verify --dest out --values 100
    """
    server = open_instance(dvid, uuid, instance)
    chosen = None if scales is None else common_options.parse_scales(scales)
    where = run_lookup.state_root(state, dest) if run is None else None
    if where is not None and not list_runs(where):
        if source is None:
            note_missing(where, state, dest)
        request = _request_without_runs(source, dest, spec, chosen, where)
        request = replace(request, label_type=LabelType(label_type), z_compress=z_compress)
        uri, expected = None, expected_of_export(request, where)
    else:
        newest = run_lookup.find(run, state, dest)
        given = None if source is None else absolute(source)
        uri = newest.uri
        named = newest if run is not None else None
        expected = expected_of_runs(newest.state_url, newest.info.dest, named, given)
    print_notes(expected.notes)
    run_lookup.note_unplanned(expected.history.provenance.unplanned)
    checks = Checks(chosen, values, deep, seed, server)
    found = verify_volume(expected, checks, with_progress)
    print_notes(_empty_scales(expected))
    if left_out := found.verifier.left_out:
        print_notes([f"a selection was made of the volume: {describe_left_out(left_out)}"])
    _print_report(found, found.document(uri), json_report, as_json=as_json)


def _request_without_runs(
    source: str | None, dest: str | None, spec: str | None, scales: Sequence[int] | None, where: str
) -> Request:
    """The request that would make a volume whose runs are not known.

    Raises:
        UsageError: the export is not named.
    """
    if source is None or dest is None:
        raise UsageError(
            f"no run below {where}, so there is no ledger to compare with",
            hint="name --dest or --state of a run; or --source and --dest (and --spec) to compare "
            "a volume with its export alone",
        )
    export, place = absolute(source), absolute(dest)
    volume = read_spec(spec) if spec else read_volume(open_storage(place))
    chosen = tuple(scales) if scales else (finest_of_both(export, place, volume),)
    return Request(volume, export, place, chosen)


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
