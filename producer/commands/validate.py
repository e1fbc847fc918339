"""`producer validate`: check an export before it is converted."""

from collections.abc import Sequence
from typing import Annotated

import typer

from braid.precomputed.volume_spec import VolumeSpec
from braid.transcode.block_assignment import check_z_step
from memmodel.spec_file import read_spec
from producer.documents.check_documents import ScaleReportPart, ValidateDocument
from producer.export_log import NO_LOG, read_log
from producer.file_pool import DEFAULT_WORKERS, WorkersOption
from producer.spec_notes import spec_notes
from producer.validation import ScaleReport, ValidationConfig, validate_scale
from runtime import cli, common_options
from runtime.errors import EXIT_FINDINGS, UsageError
from runtime.storage import open_storage
from runtime.table import format_table


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(validate)


def validate(
    source: common_options.SourceOption,
    spec: common_options.SpecOption,
    scales: common_options.ScalesOption = "0",
    sample: Annotated[
        int,
        typer.Option(
            "--sample",
            min=0,
            max=common_options.MOST_SAMPLES,
            metavar="N",
            help="Rows to decode in each file.",
        ),
    ] = 4,
    files: Annotated[
        int | None,
        typer.Option(
            "--files", min=1, metavar="N", help="Read N files at random. Default: all of them."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", help="Of the random choice of rows and files.")
    ] = 0,
    z_compress: Annotated[
        int,
        typer.Option(
            "--z-compress", min=0, metavar="N", help="As of `enqueue`: scale 0 leaves out N slices."
        ),
    ] = 0,
    workers: WorkersOption = DEFAULT_WORKERS,
    as_json: common_options.JsonOption = False,
) -> None:
    """Find what conversion would refuse: read every index, check its Arrow file, decode a sample.

    Names, sizes and export.log are compared too. Blocks and label lists are decoded for --sample
    rows of a file alone; give it more rows than a file has to decode all.

    Example: python -m producer validate --source export --spec spec.json --scales 0 --sample 16
    """
    store = open_storage(source)
    volume = read_spec(spec)
    numbers = common_options.parse_scales(scales)
    _check_scales(volume, numbers, spec)
    check_z_step(z_compress + 1)
    for note in spec_notes(volume, numbers, numbers, z_compress):
        cli.print_stderr(f"note: {note}")
    store.check_readable()
    if read_log(store) is None:
        cli.print_stderr(f"note: {NO_LOG}")
    reports = [
        validate_scale(
            store,
            volume.scales[number],
            ValidationConfig(sample, files, seed, z_compress if number == 0 else 0, workers),
        )
        for number in numbers
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
