"""A volume's `info`, written after its spec was checked."""

from braid.precomputed.volume_spec import ScaleSpec
from memmodel.spec_file import read_spec
from producer import render
from producer.documents.check_documents import InitDocument
from producer.documents.volume_documents import ScalePathPart
from producer.info import INFO, write_info
from producer.spec_notes import spec_notes, unserved_notes
from runtime import cli
from runtime.storage import open_storage


def write_checked_info(spec: str, dest: str, *, force: bool, as_json: bool) -> None:
    """Check a spec, write `info`, and print the code path of each scale.

    Args:
        spec: file of the spec.
        dest: the volume.
        force: replace an `info` that differs.
        as_json: print one document instead of a table.
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
            scales=tuple(map(ScalePathPart.of, volume.scales)),
            notes=tuple(notes),
        )
        cli.print_document(document)
        return
    headers = ["scale", "key", "size", "chunks", "path"]
    cli.print_lines(render.table(headers, map(_row, volume.scales)))
    cli.print_line(f"{'wrote' if written else 'kept'} {storage.url}/{INFO}")


def _row(scale: ScaleSpec) -> list[str]:
    x, y, z = scale.grid
    return [
        str(scale.index),
        scale.key,
        "x".join(map(str, scale.size)),
        render.count(x * y * z),
        "not served" if scale.unserved else scale.code_path(),
    ]
