"""`producer view`: show a volume in Neuroglancer."""

import threading
import webbrowser
from typing import Annotated

import typer

from producer.file_server import ServedRequest
from producer.viewer import open_viewer
from runtime import cli, log

FILE_SERVED = "file_served"

_log = log.get()


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(view)


def view(
    *,
    dest: cli.DestOption,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the link, for another browser.")
    ] = False,
    port: Annotated[
        int,
        typer.Option(
            "--port",
            min=0,
            max=65534,
            help="Of the viewer; the volume's files are served on the next one. 0: free ports.",
        ),
    ] = 0,
) -> None:
    """Show the volume in Neuroglancer until Ctrl-C, to this machine only.

    Begins at a voxel of a common segment. Scales of a local volume that have no shards are hidden.
    Needs no network: the viewer is part of the package. A gs:// volume is read by the browser,
    which needs access to it. From another machine, choose a port, and forward it and the next one:
    ssh -L 9000:127.0.0.1:9000 -L 9001:127.0.0.1:9001 HOST

    Example: python -m producer view --dest out
    """
    with open_viewer(dest, port=port, on_served=_log_request) as viewer:
        cli.print_line(viewer.url)
        cli.print_line(viewer.summary)
        for note in viewer.notes:
            cli.print_stderr(f"note: {note}")
        cli.print_stderr("Ctrl-C ends it")
        if not no_browser:
            webbrowser.open(viewer.url)
        threading.Event().wait()


def _log_request(served: ServedRequest) -> None:
    _log.debug(
        FILE_SERVED,
        method=served.method,
        path=served.path,
        status=int(served.status),
        body_bytes=served.body_bytes,
    )
