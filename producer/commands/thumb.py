"""`producer thumb`: write a picture of each scale."""

from pathlib import Path
from typing import Annotated

import typer

from producer import defaults
from runtime import common_options

_LEAST_PIXELS = 16
_MOST_PIXELS = 4096


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(thumb)


def thumb(
    *,
    dest: common_options.DestOption,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="Folder of the pictures: s0.png, s1.png ..."),
    ],
    pixels: Annotated[
        int,
        typer.Option(
            "--pixels",
            min=_LEAST_PIXELS,
            max=_MOST_PIXELS,
            metavar="N",
            help="Most pixels of an edge; of a larger slice the part in the middle is shown.",
        ),
    ] = defaults.PICTURE_PIXELS,
    as_json: common_options.JsonOption = False,
) -> None:
    """Write a PNG of each scale: a slice through the middle of what exists.

    A pixel is a voxel, in the colours that Neuroglancer gives segments. Reads a few hundred chunks
    of each scale at most. On a terminal that can, the coarsest is shown.

    Example: python -m producer thumb --dest out --out pictures
    """
    from producer.actions.thumb import write_pictures

    write_pictures(dest, out, pixels, as_json=as_json)
