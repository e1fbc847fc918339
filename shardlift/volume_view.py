"""View of a volume: Neuroglancer on servers of this process, as a link or inside a notebook."""

from contextlib import ExitStack
from html import escape
from typing import Self

from producer.viewer import open_viewer


class VolumeView:
    """A running viewer; a context manager that closes it.

    Args:
        dest: URL of the volume.
        voxel: of scale 0, to begin at; None: inside a common segment.
        port: of the viewer; None: a free one.
        name: of the layer; None: the last part of the destination.

    Attributes:
        url: link for a browser on this machine.
        summary: which scales exist and what is shown first.
        notes: what other viewers would not read.
    """

    def __init__(
        self,
        dest: str,
        *,
        voxel: tuple[int, int, int] | None = None,
        port: int | None = None,
        name: str | None = None,
    ) -> None:
        self._stack = ExitStack()
        viewer = self._stack.enter_context(open_viewer(dest, port=port, voxel=voxel, name=name))
        self.url, self.summary, self.notes = viewer.url, viewer.summary, tuple(viewer.notes)

    def close(self) -> None:
        """Stop the servers; the link leads nowhere then."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<shardlift.VolumeView {self.url} ({self.summary})>"

    def _repr_html_(self) -> str:
        url = escape(self.url, quote=True)
        return (
            f'<iframe src="{url}" width="100%" height="600" title="Neuroglancer"></iframe>'
            f'<p><a href="{url}" target="_blank">{url}</a>: {escape(self.summary)}</p>'
        )
