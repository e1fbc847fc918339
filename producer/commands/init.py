"""`producer init`: check a spec and write the volume's `info`."""

from typing import Annotated

import typer

from runtime import common_options


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
    from producer.actions.init import write_checked_info

    write_checked_info(spec, dest, force=force, as_json=as_json)
