"""`producer verify`: check that a volume is complete and correct."""

from pathlib import Path
from typing import Annotated

import typer

from producer import defaults
from runtime import common_options


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
            help=f"Compare random voxels (--values, else {defaults.POINTS:,}) with a DVID server.",
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
    from producer.actions.verify import VerifyTarget, verify_target
    from producer.point_check import open_instance
    from producer.verification import Checks

    server = open_instance(dvid, uuid, instance)
    chosen = None if scales is None else common_options.parse_scales(scales)
    target = VerifyTarget(run, state, dest, source, spec, label_type, z_compress)
    checks = Checks(chosen, values, deep, seed, server)
    verify_target(target, checks, json_report, as_json=as_json)
