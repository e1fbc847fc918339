"""`shardlift settings`: each setting, its value, and where it came from."""

import typer

from runtime import common_options, settings


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command("settings")(show)


def show(
    *,
    source: common_options.OptionalSourceOption = None,
    dest: common_options.OptionalDestOption = None,
    spec: common_options.OptionalSpecOption = None,
    state: common_options.StateOption = None,
    queue: common_options.QueueOption = None,
    project: common_options.ProjectOption = None,
    as_json: common_options.JsonOption = False,
) -> None:
    """Show each setting, its value, and where it came from: flag, environment, .env or default.

    A flag wins over the environment, which wins over the .env of the working directory. Names in
    .env that are not settings are listed, their values never.

    Example: python -m shardlift settings

    Example: python -m shardlift settings --dest out --json
    """
    from shardlift.actions.settings import print_settings

    given = {
        settings.SOURCE_PATH: source,
        settings.DEST_PATH: dest,
        settings.NG_SPEC_PATH: spec,
        settings.STATE_PATH: state,
        settings.QUEUE_URL: queue,
        settings.PROJECT_ID: project,
    }
    print_settings(given, as_json=as_json)
