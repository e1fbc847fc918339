"""Documents about a volume: `spec`, `thumb`, `view`."""

from typing import Any, Self

from braid.precomputed.volume_spec import ScaleSpec
from runtime.document import Document, DocumentPart


class ScalePathPart(DocumentPart):
    """One scale of a spec.

    Attributes:
        key: folder of the scale.
        size: voxels, x first; `grid` in chunks.
        code_path: how its chunks are made; null where the scale cannot be made.
        why_not: why it cannot.
    """

    scale: int
    key: str
    size: tuple[int, int, int]
    grid: tuple[int, int, int]
    code_path: str | None
    why_not: str | None = None

    @classmethod
    def of(cls, scale: ScaleSpec) -> Self:
        """The object of a scale."""
        return cls(
            scale=scale.index,
            key=scale.key,
            size=scale.size,
            grid=scale.grid,
            code_path=None if scale.unserved else scale.code_path(),
            why_not=scale.unserved,
        )


class SpecDocument(Document):
    """The design of `spec --json`; without `--json` the spec alone is printed, as a file.

    Attributes:
        spec: what `--spec` takes, as the command prints it without `--json`.
        notes: what to know of the spec.
    """

    spec: dict[str, Any]
    scales: tuple[ScalePathPart, ...]
    notes: tuple[str, ...]


class PicturePart(DocumentPart):
    """Picture of one scale.

    Attributes:
        file: path of the PNG.
        begin: its first voxel (x, y, z), of this scale.
        width: pixels, as `height`; each is a voxel.
        damaged: what could not be read, by shard.
    """

    scale: int
    file: str
    begin: tuple[int, int, int]
    width: int
    height: int
    damaged: tuple[str, ...]


class ThumbDocument(Document):
    """Pictures that `thumb` wrote, that of the coarsest scale first.

    Attributes:
        dest: URL of the volume.
    """

    dest: str
    pictures: tuple[PicturePart, ...]


class ViewDocument(Document):
    """A viewer; printed before `view` serves it, and all that `view --link` does.

    Attributes:
        url: address for a browser.
        dest: URL of the volume.
        layer: name of the layer and of the window.
        position: voxel of scale 0 (x, y, z) in the middle of the window; null: the viewer chooses.
        scales: those that hold anything; null where the volume was not read.
        of_scales: number of scales of its `info`; null likewise.
        summary: which scales exist and what is shown first, in words.
        served: the command goes on until Ctrl-C, and the address leads nowhere after it.
        notes: what other viewers would not read or show, and what could not be read.
    """

    url: str
    dest: str
    layer: str
    position: tuple[float, float, float] | None
    scales: tuple[int, ...] | None
    of_scales: int | None
    summary: str
    served: bool
    notes: tuple[str, ...]
