"""`producer verify`: check that a volume is complete and correct."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from producer import run_lookup
from producer.point_check import DEFAULT_POINTS, PointCheck, open_instance
from producer.render import counted, shards, with_progress
from producer.verify import Finding, ValueCheck, Verifier
from runtime import cli
from runtime.errors import EXIT_FINDINGS, UsageError

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
    run: cli.RunOption = None,
    state: cli.StateOption = None,
    dest: cli.OptionalDestOption = None,
    as_json: cli.JsonOption = False,
) -> None:
    """Check the volume against its plan, its receipts and, with --values, the export's voxels.

    Without options it costs one listing per scale. Exit code 1 if there are findings.

    Example: python -m producer verify --dest out --values 100
    """
    server = open_instance(dvid, uuid, instance)
    found = run_lookup.find(run, state, dest)
    chosen = None if scales is None else cli.parse_scales(scales)
    verifier = Verifier(found, chosen)
    if chosen is not None and (unknown := set(chosen) - set(found.plan.scales)):
        raise UsageError(f"run {found.run_id} did not plan scale {min(unknown)}")
    points = None if server is None else PointCheck(verifier, server, chosen, seed)
    findings = list(verifier.completeness())
    checked = {"shards": len(verifier.rows()), "files_read": 0, "values": 0}
    if deep:
        files = verifier.files()
        for row in with_progress("reading files", files):
            findings += verifier.deep(row)
        checked["files_read"] = len(files)
    if points is not None:
        for batch in with_progress("comparing with DVID", points.batches(values or DEFAULT_POINTS)):
            findings += points.check(batch)
        checked["points"] = points.compared
    elif values:
        check = ValueCheck(verifier, seed)
        rows = check.choose(values)
        for row in with_progress("comparing voxels", rows):
            findings += check.check(row)
        checked["values"] = len(rows)
    _print_report(found.uri, verifier.scales, checked, findings, json_report, as_json=as_json)


def _print_report(
    uri: str,
    scales: Sequence[int],
    checked: dict[str, int],
    findings: Sequence[Finding],
    report: Path | None,
    *,
    as_json: bool,
) -> None:
    found = [{"key": finding.key, "what": finding.what} for finding in findings]
    document = json.dumps(
        {"run": uri, "scales": list(scales), "checked": checked, "findings": found}, indent=1
    )
    if report is not None:
        report.write_text(document + "\n", encoding="utf-8")
    if as_json:
        typer.echo(document)
    else:
        _print_findings(checked, findings)
    if findings:
        raise typer.Exit(EXIT_FINDINGS)


def _print_findings(checked: dict[str, int], findings: Sequence[Finding]) -> None:
    for finding in findings[:_MOST_SHOWN]:
        typer.echo(f"{finding.key}: {finding.what}")
    if len(findings) > _MOST_SHOWN:
        typer.echo(f"... and {len(findings) - _MOST_SHOWN} more; --json-report FILE has them all")
    checks = [f"{shards(checked['shards'])} against plan and receipts"]
    if checked["files_read"]:
        checks.append(f"{counted(checked['files_read'], 'file')} read whole")
    if checked["values"]:
        checks.append(f"{counted(checked['values'], 'chunk')} voxel for voxel")
    if "points" in checked:
        checks.append(f"{counted(checked['points'], 'voxel')} as DVID has them")
    found = counted(len(findings), "finding") if findings else "no findings"
    typer.echo(f"{', '.join(checks)}: {found}")
