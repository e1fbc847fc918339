"""An export checked before it is converted."""

from collections.abc import Sequence
from dataclasses import replace

import typer

from braid.precomputed.volume_spec import VolumeSpec
from braid.transcode.block_assignment import check_z_step
from memmodel.spec_file import read_spec
from producer.documents.check_documents import ScaleReportPart, ValidateDocument
from producer.export_log import NO_LOG, read_log
from producer.spec_notes import spec_notes
from producer.validation import ScaleReport, ValidationConfig, validate_scale
from runtime import cli
from runtime.errors import EXIT_FINDINGS, UsageError
from runtime.storage import open_storage
from runtime.table import format_table


def validate_export(
    source: str, spec: str, scales: Sequence[int], config: ValidationConfig, *, as_json: bool
) -> None:
    """Print what conversion would refuse.

    Args:
        source: the export.
        spec: file of the volume's spec.
        scales: those of the export's scales, ascending.
        config: how thoroughly; slices are left out of scale 0 alone.
        as_json: print a JSON document.

    Raises:
        typer.Exit: there are findings.
    """
    store = open_storage(source)
    volume = read_spec(spec)
    _check_scales(volume, scales, spec)
    check_z_step(config.z_compress + 1)
    for note in spec_notes(volume, scales, scales, config.z_compress):
        cli.print_stderr(f"note: {note}")
    store.check_readable()
    if read_log(store) is None:
        cli.print_stderr(f"note: {NO_LOG}")
    reports = [
        validate_scale(
            store,
            volume.scales[number],
            config if number == 0 else replace(config, z_compress=0),
        )
        for number in scales
    ]
    if as_json:
        scales_found = tuple(map(ScaleReportPart.of, reports))
        cli.print_document(ValidateDocument(source=store.url, scales=scales_found))
    else:
        _print_reports(reports)
    if any(report.findings for report in reports):
        raise typer.Exit(EXIT_FINDINGS)


def _check_scales(volume: VolumeSpec, numbers: Sequence[int], spec: str) -> None:
    if numbers[-1] >= len(volume.scales):
        raise UsageError(f"{spec} has scales 0 to {len(volume.scales) - 1}, not {numbers[-1]}")
    for number in numbers:
        volume.scales[number].check_served()


def _print_reports(reports: Sequence[ScaleReport]) -> None:
    headers = ("scale", "files", "read", "MiB", "rows", "outside", "decoded", "findings")
    cli.print_lines(format_table(headers, map(_row, reports), left=0))
    for one in reports:
        _print_counts(one)
        for finding in one.findings:
            cli.print_line(finding)


def _row(one: ScaleReport) -> list[str]:
    counts = (one.rows, one.outside, one.sampled, len(one.findings))
    size = f"{one.bytes / (1 << 20):,.1f}"
    return [f"s{one.scale}", f"{one.files:,}", f"{one.read:,}", size, *(f"{n:,}" for n in counts)]


def _print_counts(report: ScaleReport) -> None:
    """What is worth a line where it is not zero."""
    if report.without_index:
        cli.print_line(f"s{report.scale}: files without an index: {report.without_index:,}")
    if report.without_rows:
        cli.print_line(f"s{report.scale}: files without rows: {report.without_rows:,}")
