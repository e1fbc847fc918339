"""`producer demo`: make an export, convert, downsample and verify it."""

from pathlib import Path
from typing import Annotated

import typer

from runtime import common_options


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(demo)


def demo(
    *,
    folder: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Folder of the demo.")
    ] = Path("demo"),
    as_json: common_options.JsonOption = False,
) -> None:
    """Make a small export, convert it with all its scales, verify every voxel, print what to try.

    Example: python -m producer demo --dir demo
    """
    from producer.actions.demo import run_demo

    run_demo(folder, as_json=as_json)
