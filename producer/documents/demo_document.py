"""Document of `demo`."""

from producer.documents.run_documents import RunDocument
from runtime.document import DocumentPart


class DemoScalePart(DocumentPart):
    """One scale of the demo's volume.

    Attributes:
        size: voxels, x first.
        bytes: of its shard files.
    """

    scale: int
    size: tuple[int, int, int]
    bytes: int


class DemoDocument(RunDocument):
    """What `demo` made; it ends with exit code 1 if a shard failed.

    Attributes:
        run: null where an earlier demo had made all shards.
        folder: that holds all of it.
        source: the export.
        dest: the volume.
        spec: file of its spec.
        queue: URL.
        export_bytes: of the export.
        succeeded: every shard was made.
        voxels: compared with what they should be, all of them equal; null if a shard failed.
        took_s: all of it.
        next: commands to look at it with.
    """

    folder: str
    source: str
    dest: str
    spec: str
    queue: str
    export_bytes: int
    succeeded: bool
    voxels: int | None
    scales: tuple[DemoScalePart, ...]
    took_s: float
    next: tuple[str, ...]
