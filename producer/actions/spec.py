"""Design of a spec, printed as the file that other commands take or as a document."""

from collections.abc import Sequence

from braid.precomputed.spec_design import design_volume
from producer import render
from producer.documents.volume_documents import ScalePathPart, SpecDocument
from producer.spec_notes import spec_notes
from runtime import cli


def print_design(
    voxels: Sequence[int], spacing: Sequence[float], scales: int | None, *, as_json: bool
) -> None:
    """Design a spec and print it.

    Args:
        voxels: of scale 0, x first.
        spacing: nanometres of a voxel.
        scales: their number; None: until one fits a screen.
        as_json: print a document that holds the spec, instead of the spec's file.
    """
    volume = design_volume(voxels, spacing, scales)
    notes = spec_notes(volume)
    for note in notes:
        cli.print_stderr(f"note: {note}")
    info = volume.to_info()
    if as_json:
        parts = tuple(map(ScalePathPart.of, volume.scales))
        cli.print_document(SpecDocument(spec=info, scales=parts, notes=tuple(notes)))
    else:
        cli.print_lines(render.document(info))
