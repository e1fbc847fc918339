"""Pictures of a volume's scales, written as files."""

import sys
from pathlib import Path

from producer import render
from producer.documents.volume_documents import PicturePart, ThumbDocument
from producer.info import read_volume
from producer.png import encode_png
from producer.segment_colours import colour_labels
from producer.terminal_picture import show_picture
from producer.volume_slice import VolumeSlice, read_slices
from runtime import cli
from runtime.errors import UnreachableError
from runtime.storage import open_storage
from runtime.storage.files import translate_write_errors


def write_pictures(dest: str, out: Path, pixels: int, *, as_json: bool) -> None:
    """Write a PNG of each scale that has a shard with a segment.

    Args:
        dest: the volume.
        out: folder of the pictures.
        pixels: most of an edge.
        as_json: print one document instead of a line each.

    Raises:
        UnreachableError: there is nothing to show.
    """
    storage = open_storage(dest)
    volume = read_volume(storage)
    written: list[PicturePart] = []
    for found in read_slices(storage, volume, pixels):
        picture = colour_labels(found.labels)
        file = out / f"s{found.scale}.png"
        with translate_write_errors(file):
            out.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode_png(picture))
        if not written:
            show_picture(picture, sys.stderr)
        written.append(_part(found, file))
        if not as_json:
            cli.print_line(f"{file}: {describe(found)}")
        for reason in found.damaged:
            cli.print_stderr(f"note: {reason}")
    if not written:
        raise UnreachableError(
            f"{storage.url} has no shard with a segment, so there is nothing to show",
            hint="`status` shows whether the run has made any; `view` shows an empty volume, too",
        )
    if as_json:
        cli.print_document(ThumbDocument(dest=storage.url, pictures=tuple(written)))


def _part(found: VolumeSlice, file: Path) -> PicturePart:
    height, width = found.labels.shape
    return PicturePart(
        scale=found.scale,
        file=str(file),
        begin=found.begin,
        width=width,
        height=height,
        damaged=tuple(found.damaged),
    )


def describe(found: VolumeSlice) -> str:
    """What a picture shows: `scale 2, 500 x 400 voxels from 0, 64, 120`."""
    height, width = found.labels.shape
    begin = ", ".join(map(str, found.begin))
    return (
        f"scale {found.scale}, {render.count(width)} x {render.count(height)} voxels from {begin}"
    )
