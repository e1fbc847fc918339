"""`producer spec`: design a spec."""

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from runtime.errors import UsageError

T = TypeVar("T", int, float)


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
            max=64,  # a voxel of the last holds more than any volume
            metavar="N",
            help="Number of scales. Default: until one fits a screen.",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print the spec inside a document, with the notes; not for --spec."
        ),
    ] = False,
) -> None:
    """Design a valid sharded multiscale spec and print it as JSON.

    Shards are such that DVID writes each into an export file of its own.

    Example: python -m producer spec --size 94088,78317,134576 --resolution 8,8,8 > spec.json
    """
    from producer.actions.spec import print_design

    voxels = _numbers(size, int, "--size", "three whole numbers X,Y,Z, such as 4096,3000,2000")
    spacing = _numbers(resolution, float, "--resolution", "three numbers X,Y,Z, such as 8,8,8")
    print_design(voxels, spacing, scales, as_json=as_json)


def _numbers(text: str, parse: Callable[[str], T], option: str, expected: str) -> list[T]:
    """Parse a number for each axis; a single one could be a slip, so it stands for none."""
    try:
        found = [parse(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != 3:  # noqa: PLR2004 - x, y, z
        raise UsageError(f"{option} {text!r}: expected {expected}")
    return found
