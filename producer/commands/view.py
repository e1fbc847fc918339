"""`producer view`: show a volume in Neuroglancer."""

import threading
import webbrowser
from typing import Annotated

import typer

from braid.typing import Vec3
from producer.file_server import ServedRequest
from producer.viewer import OpenViewer, link_to_public_viewer, open_viewer
from runtime import cli, common_options, log
from runtime.errors import UsageError

FILE_SERVED = "file_served"

_log = log.get()


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(view)


def view(
    *,
    dest: common_options.DestOption,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the link, for another browser.")
    ] = False,
    link: Annotated[
        bool,
        typer.Option(
            "--link",
            help="Only print a link to a public viewer, for a gs:// or https:// volume to which "
            "the link's readers have access. No server is started.",
        ),
    ] = False,
    pos: Annotated[
        str | None,
        typer.Option(
            "--pos",
            metavar="X,Y,Z",
            help="Voxel of scale 0 to begin at. Default: one of a common segment.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="TEXT",
            help="Name of layer and window. Default: the last part of the destination.",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            min=0,
            max=65534,
            help="Of the viewer; the volume's files are served on the next one. Default: the first "
            "two that are free from 9000 on; 0: any free ones.",
        ),
    ] = None,
) -> None:
    """Show the volume in Neuroglancer until Ctrl-C, to this machine only.

    Begins at a voxel of a common segment. Scales of a local volume that have no shards are hidden.
    Needs no network: the viewer is part of the package. A gs:// volume is read by the browser,
    which needs access to it. From another machine, choose a port, and forward it and the next one:
    ssh -L 9000:127.0.0.1:9000 -L 9001:127.0.0.1:9001 HOST

    Example: python -m producer view --dest out
    """
    voxel = None if pos is None else _voxel(pos)
    if link:
        _print_viewer(link_to_public_viewer(dest, voxel=voxel, name=name))
        return
    with open_viewer(dest, port=port, voxel=voxel, name=name, on_served=_log_request) as viewer:
        _print_viewer(viewer)
        cli.print_stderr("Ctrl-C ends it")
        if not no_browser:
            webbrowser.open(viewer.url)
        threading.Event().wait()


def _print_viewer(viewer: OpenViewer) -> None:
    cli.print_line(viewer.url)
    cli.print_line(viewer.summary)
    for note in viewer.notes:
        cli.print_stderr(f"note: {note}")


def _voxel(text: str) -> Vec3:
    """Voxel of `X,Y,Z`, as Neuroglancer copies it too: `X, Y, Z`."""
    parts = [part.strip() for part in text.replace(",", " ").split()]
    if len(parts) != 3 or not all(part.isascii() and part.isdecimal() for part in parts):  # noqa: PLR2004 - x, y, z
        raise UsageError(
            f"--pos {text!r}: expected three whole numbers X,Y,Z, such as 4096,3000,2000"
        )
    x, y, z = map(int, parts)
    return x, y, z


def _log_request(served: ServedRequest) -> None:
    _log.debug(
        FILE_SERVED,
        method=served.method,
        path=served.path,
        status=int(served.status),
        body_bytes=served.body_bytes,
    )
