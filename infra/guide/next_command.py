"""The command that starts a first run, once the cloud is set up."""

import shlex
from collections.abc import Mapping
from typing import Final

from infra.guide.dialogue import ENV_FILE
from runtime import settings
from runtime.env_writer import keep_setting
from runtime.interpreter import as_typed

_OPTIONS: Final = {
    settings.SOURCE_PATH: "--source",
    settings.DEST_PATH: "--dest",
    settings.NG_SPEC_PATH: "--spec",
    settings.SCALES: "--scales",
    settings.DOWNRES_SCALES: "--downres",
    settings.STATE_PATH: "--state",
    settings.QUEUE_URL: "--queue",
}
_NEEDED: Final = (settings.SOURCE_PATH, settings.DEST_PATH, settings.NG_SPEC_PATH)


def enqueue_command(given: Mapping[str, str | None]) -> str | None:
    """`enqueue` with those options that no setting has; None if more has to be known first.

    Args:
        given: settings by options, environment and `.env`.
    """
    if not all(given.get(name) for name in _NEEDED):
        return None
    options = [
        part
        for name, option in _OPTIONS.items()
        if (value := given.get(name)) and settings.get(name) != value
        for part in (option, shlex.quote(value))
    ]
    return as_typed(" ".join(["python -m producer enqueue", *options]))


def keep_given(given: Mapping[str, str | None]) -> None:
    """Keep in `.env` what options gave, as a guided session keeps its answers."""
    for name, value in given.items():
        if value and settings.get(name) != value:
            keep_setting(ENV_FILE, name, value)
            settings.put(name, value)
