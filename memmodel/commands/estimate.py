"""`memmodel estimate`: memory that one output shard will need."""

from typing import Annotated

import typer

from memmodel.commands.options import CoefficientsOption
from runtime import common_options, settings

FilesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE...",
        help="The files that one output shard is made from: .arrow of an export, or .shard.",
    ),
]
ScaleOption = Annotated[int, typer.Option("--scale", min=0, help="Of the output shard.")]
ThreadsOption = Annotated[int, typer.Option("--threads", min=1, help="Of the work process.")]
DecimateOption = Annotated[int, typer.Option("--z-compress", min=0, help="As for enqueue.")]


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(estimate)


def estimate(
    files: FilesArgument,
    *,
    spec: common_options.SpecOption,
    scale: ScaleOption = 0,
    tiers: common_options.TiersOption = settings.DEFAULT_TIERS,
    threads: ThreadsOption = 1,
    z_compress: DecimateOption = 0,
    coefficients: CoefficientsOption = None,
    as_json: common_options.JsonOption = False,
) -> None:
    """Print the memory that one output shard will need, term by term, and its tier.

    Example: python -m memmodel estimate export/s0/*.arrow --spec spec.json
    """
    from memmodel.actions.estimate import estimate_shard, scale_of, work_of

    work = work_of(files, scale_of(spec, scale), threads, z_compress)
    estimate_shard(work, tiers, coefficients, as_json=as_json)
