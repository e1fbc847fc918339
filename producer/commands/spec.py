"""`producer spec`: design a spec."""

from typing import Annotated

import typer

from braid.precomputed.spec_design import design_volume
from producer import render
from runtime.errors import UsageError


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(spec)


def spec(
    size: Annotated[
        str,
        typer.Option("--size", metavar="X,Y,Z", help="Voxels of scale 0, such as 4096,3000,2000."),
    ],
    resolution: Annotated[
        str, typer.Option("--resolution", metavar="X,Y,Z", help="Nanometres of a voxel.")
    ] = "8,8,8",
    scales: Annotated[
        int | None,
        typer.Option(
            "--scales",
            min=1,
            metavar="N",
            help="Number of scales. Default: until one fits a screen.",
        ),
    ] = None,
) -> None:
    """Design a valid sharded multiscale spec and print it as JSON.

    Example: python -m producer spec --size 94088,78317,134576 --resolution 8,8,8 > spec.json
    """
    voxels = [int(part) for part in _numbers(size, "--size", whole=True)]
    volume = design_volume(voxels, _numbers(resolution, "--resolution"), scales)
    typer.echo(render.document(volume.to_info()))


def _numbers(text: str, option: str, *, whole: bool = False) -> list[float]:
    """Parse three numbers; a single one stands for all axes."""
    try:
        found = [int(part) if whole else float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) == 1:
        found *= 3
    if len(found) != 3:  # noqa: PLR2004 - x, y, z
        kind = "whole numbers" if whole else "numbers"
        raise UsageError(f"{option} {text!r}: expected three {kind}, x,y,z")
    return found
