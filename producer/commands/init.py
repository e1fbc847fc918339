"""`producer init`: check a spec and write the volume's `info`."""

from typing import Annotated

import typer

from braid.precomputed.volume_spec import ScaleSpec
from memmodel.spec_file import read_spec
from producer import render
from producer.documents.check_documents import InitDocument, ScalePathPart
from producer.info import INFO, write_info
from producer.spec_notes import spec_notes, unserved_notes
from runtime import cli, common_options
from runtime.storage import open_storage


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(init)


def init(
    *,
    spec: common_options.SpecOption,
    dest: common_options.DestOption,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace an info that differs. Foreign keys are kept."),
    ] = False,
    as_json: common_options.JsonOption = False,
) -> None:
    """Check the spec, write info, and show the code path of each scale.

    Scales that cannot be made, such as unsharded ones, are kept as the spec has them, and so are
    keys that others added to an existing info (mesh, skeletons, segment_properties).

    Example: python -m producer init --spec spec.json --dest gs://bucket/volume
    """
    volume = read_spec(spec)
    notes = [*unserved_notes(volume), *spec_notes(volume)]
    for note in notes:
        cli.print_stderr(f"note: {note}")
    storage = open_storage(dest)
    written = write_info(storage, volume, force=force)
    if as_json:
        document = InitDocument(
            info=f"{storage.url}/{INFO}",
            written=written,
            scales=tuple(map(_part, volume.scales)),
            notes=tuple(notes),
        )
        cli.print_document(document)
        return
    headers = ["scale", "key", "size", "chunks", "path"]
    cli.print_lines(render.table(headers, map(_row, volume.scales)))
    cli.print_line(f"{'wrote' if written else 'kept'} {storage.url}/{INFO}")


def _part(scale: ScaleSpec) -> ScalePathPart:
    return ScalePathPart(
        scale=scale.index,
        key=scale.key,
        size=scale.size,
        grid=scale.grid,
        code_path=None if scale.unserved else scale.code_path(),
        why_not=scale.unserved,
    )


def _row(scale: ScaleSpec) -> list[str]:
    x, y, z = scale.grid
    return [
        str(scale.index),
        scale.key,
        "x".join(map(str, scale.size)),
        render.count(x * y * z),
        "not served" if scale.unserved else scale.code_path(),
    ]
