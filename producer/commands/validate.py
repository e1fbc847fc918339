"""`producer validate`: check an export before it is converted."""

from typing import Annotated

import typer

from producer import defaults
from producer.commands.options import WorkersOption
from runtime import common_options


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
    workers: WorkersOption = defaults.READERS,
    as_json: common_options.JsonOption = False,
) -> None:
    """Find what conversion would refuse: read every index, check its Arrow file, decode a sample.

    Names, sizes and export.log are compared too. Blocks and label lists are decoded for --sample
    rows of a file alone; give it more rows than a file has to decode all.

    Example: python -m producer validate --source export --spec spec.json --scales 0 --sample 16
    """
    from producer.actions.validate import validate_export
    from producer.validation import ValidationConfig

    config = ValidationConfig(sample, files, seed, z_compress, workers)
    numbers = common_options.parse_scales(scales)
    validate_export(source, spec, numbers, config, as_json=as_json)
