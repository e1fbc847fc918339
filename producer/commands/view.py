"""`producer view`: show a volume in Neuroglancer."""

from typing import Annotated

import typer

from runtime import common_options
from runtime.errors import UsageError


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
    as_json: common_options.JsonOption = False,
) -> None:
    """Show the volume in Neuroglancer until Ctrl-C, to this machine only.

    Begins at a voxel of a common segment. Scales of a local volume that have no shards are hidden.
    Needs no network: the viewer is part of the package. A gs:// volume is read by the browser,
    which needs access to it. --json prints where it is as a document, and serves it as well. From
    another machine, choose a port, and forward it and the next one:
    ssh -L 9000:127.0.0.1:9000 -L 9001:127.0.0.1:9001 HOST

    Example: python -m producer view --dest out
    """
    from producer.actions.view import print_public_link, serve_viewer

    voxel = None if pos is None else _voxel(pos)
    if link:
        print_public_link(dest, voxel=voxel, name=name, as_json=as_json)
        return
    serve_viewer(dest, voxel=voxel, name=name, port=port, browser=not no_browser, as_json=as_json)


def _voxel(text: str) -> tuple[int, int, int]:
    """Voxel of `X,Y,Z`, as Neuroglancer copies it too: `X, Y, Z`."""
    parts = [part.strip() for part in text.replace(",", " ").split()]
    if len(parts) != 3 or not all(part.isascii() and part.isdecimal() for part in parts):  # noqa: PLR2004 - x, y, z
        raise UsageError(
            f"--pos {text!r}: expected three whole numbers X,Y,Z, such as 4096,3000,2000"
        )
    x, y, z = map(int, parts)
    return x, y, z
