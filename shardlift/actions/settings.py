"""Settings with their values and origins, printed."""

from collections.abc import Mapping

from runtime import cli, settings
from runtime.table import format_table
from shardlift.setting_table import read_settings


def print_settings(given: Mapping[str, str | None], *, as_json: bool) -> None:
    """Print each setting, and names in .env that are none.

    Args:
        given: value of each setting that has an option here.
        as_json: print a JSON document.
    """
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
