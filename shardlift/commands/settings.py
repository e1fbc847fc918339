"""`shardlift settings`: each setting, its value, and where it came from."""

import typer

from runtime import cli, common_options, settings
from runtime.table import format_table
from shardlift.setting_table import read_settings


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
    given = {
        settings.SOURCE_PATH: source,
        settings.DEST_PATH: dest,
        settings.NG_SPEC_PATH: spec,
        settings.STATE_PATH: state,
        settings.QUEUE_URL: queue,
        settings.PROJECT_ID: project,
    }
    # An option that was not typed has the variable's value.
    flags = {name: value for name, value in given.items() if value and value != settings.get(name)}
    found = read_settings(flags)
    if as_json:
        cli.print_document(found)
        return
    rows = [(entry.name, entry.origin, entry.value or "") for entry in found.settings]
    cli.print_lines(format_table(("setting", "from", "value"), rows, left=3))
    for name, meant in found.unknown.items():
        if meant is None:  # else every command notes it
            cli.print_stderr(f"note: .env: {name} is not a setting of shardlift")
