"""`producer thumb`: write a picture of each scale."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from producer import render
from producer.info import read_volume
from producer.png import encode_png
from producer.segment_colours import colour_labels
from producer.terminal_picture import show_picture
from producer.volume_slice import MOST_PIXELS, VolumeSlice, read_slices
from runtime import cli, common_options
from runtime.errors import UnreachableError
from runtime.storage import open_storage
from runtime.storage.files import translate_write_errors

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
    ] = MOST_PIXELS,
) -> None:
    """Write a PNG of each scale: a slice through the middle of what exists.

    A pixel is a voxel, in the colours that Neuroglancer gives segments. Reads a few hundred chunks
    of each scale at most. On a terminal that can, the coarsest is shown.

    Example: python -m producer thumb --dest out --out pictures
    """
    storage = open_storage(dest)
    volume = read_volume(storage)
    number = 0
    for number, found in enumerate(read_slices(storage, volume, pixels), 1):
        picture = colour_labels(found.labels)
        file = out / f"s{found.scale}.png"
        with translate_write_errors(file):
            out.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode_png(picture))
        if number == 1:
            show_picture(picture, sys.stderr)
        cli.print_line(f"{file}: {describe(found)}")
        for reason in found.damaged:
            cli.print_stderr(f"note: {reason}")
    if not number:
        raise UnreachableError(
            f"{storage.url} has no shard with a segment, so there is nothing to show",
            hint="`status` shows whether the run has made any; `view` shows an empty volume, too",
        )


def describe(found: VolumeSlice) -> str:
    """What a picture shows: `scale 2, 500 x 400 voxels from 0, 64, 120`."""
    height, width = found.labels.shape
    begin = ", ".join(map(str, found.begin))
    return (
        f"scale {found.scale}, {render.count(width)} x {render.count(height)} voxels from {begin}"
    )
