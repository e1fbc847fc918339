"""Picture of the volume for the report: a slice through its middle, small enough for a page."""

import base64
from dataclasses import dataclass
from typing import Final

from braid.exceptions import BraidError
from delivery.ledger.run import Run
from memmodel.run_context import RunContext
from producer.png import encode_png
from producer.render import count
from producer.report.elements import escaped
from producer.segment_colours import colour_labels
from producer.volume_slice import read_overview
from runtime.errors import ShardliftError
from runtime.storage import open_storage

_MOST_PIXELS: Final = 512  # of an edge
_MOST_BYTES: Final = 256 << 10  # a page stays below 1 MiB


@dataclass(frozen=True)
class Picture:
    """A slice as a PNG.

    Attributes:
        png: the file; empty if there is none.
        width: in pixels.
        text: what it shows, or why there is none.
    """

    png: bytes
    width: int
    text: str


def read_picture(run: Run) -> Picture:
    """Picture of what a run has made; one that cannot be made is no reason against a report."""
    try:
        volume = RunContext(run).volume
        found = read_overview(open_storage(run.info.dest), volume, _MOST_PIXELS)
    except (ShardliftError, BraidError, OSError) as error:
        return Picture(b"", 0, f"no picture: {error}")
    if found is None:
        return Picture(b"", 0, "no picture: no shard with a segment exists yet")
    height, width = found.labels.shape
    pixels, step = colour_labels(found.labels), 1
    png = encode_png(pixels)
    while len(png) > _MOST_BYTES:
        step *= 2
        png = encode_png(pixels[::step, ::step])
    text = (
        f"Slice at z {count(found.begin[2])} of scale {found.scale}: {count(width)} x "
        f"{count(height)} voxels, in the colours of Neuroglancer"
    )
    return Picture(png, -(-width // step), text)


def picture_figure(picture: Picture) -> str:
    """The picture as HTML, or why there is none; the page needs no other file."""
    if not picture.png:
        return f"<p>{escaped(picture.text)}</p>"
    data = base64.b64encode(picture.png).decode()
    text = escaped(picture.text)
    return (
        f'<figure><img class="slice" alt="{text}" src="data:image/png;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )
