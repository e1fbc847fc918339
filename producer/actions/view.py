"""A volume shown in Neuroglancer: until Ctrl-C on this machine, or as a link to a public viewer."""

import time
import webbrowser
from typing import Final

from braid.typing import Vec3
from producer.documents.volume_documents import ViewDocument
from producer.file_server import ServedRequest
from producer.public_viewer import link_to_public_viewer
from producer.viewer import OpenViewer, open_viewer
from runtime import cli, log

FILE_SERVED: Final = "file_served"

_LOOK_S: Final = 0.5  # between two looks for Ctrl-C, which may come just before a wait begins

_log = log.get()


def print_public_link(dest: str, *, voxel: Vec3 | None, name: str | None, as_json: bool) -> None:
    """Print a link to a public viewer."""
    _print(link_to_public_viewer(dest, voxel=voxel, name=name), served=False, as_json=as_json)


def serve_viewer(
    dest: str,
    *,
    voxel: Vec3 | None,
    name: str | None,
    port: int | None,
    browser: bool,
    as_json: bool,
) -> None:
    """Show a volume until the process is interrupted.

    Args:
        dest: the volume.
        voxel: of scale 0, to begin at.
        name: of layer and window.
        port: of the viewer.
        browser: open the user's browser.
        as_json: print where it is as a document, before it is served.
    """
    with open_viewer(dest, port=port, voxel=voxel, name=name, on_served=_log_request) as viewer:
        _print(viewer, served=True, as_json=as_json)
        cli.print_stderr("Ctrl-C ends it")
        if browser:
            webbrowser.open(viewer.url)
        while True:
            time.sleep(_LOOK_S)


def _print(viewer: OpenViewer, *, served: bool, as_json: bool) -> None:
    if as_json:
        cli.print_document(_document(viewer, served=served))
    else:
        cli.print_line(viewer.url)
        cli.print_line(viewer.summary)
    for note in viewer.notes:
        cli.print_stderr(f"note: {note}")


def _document(viewer: OpenViewer, *, served: bool) -> ViewDocument:
    return ViewDocument(
        url=viewer.url,
        dest=viewer.dest,
        layer=viewer.layer,
        position=viewer.position,
        scales=viewer.scales,
        of_scales=viewer.of_scales,
        summary=viewer.summary,
        served=served,
        notes=tuple(viewer.notes),
    )


def _log_request(served: ServedRequest) -> None:
    _log.debug(
        FILE_SERVED,
        method=served.method,
        path=served.path,
        status=int(served.status),
        body_bytes=served.body_bytes,
    )
