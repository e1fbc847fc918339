"""Why no run is found: what exists at the places that were named, and the way on."""

import difflib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from producer.info import INFO
from runtime import settings
from runtime.cli import print_stderr
from runtime.errors import ShardliftError, UsageError
from runtime.storage import absolute, open_storage
from runtime.urls import is_remote

_RUNS: Final = ".runs"
_START: Final = "start one with `python -m producer enqueue`, or set --dest or --state"


class MissingRuns(NamedTuple):
    """What is at a state root without runs.

    Attributes:
        what: is there, or that nothing is; empty where the root exists and has no runs.
        hint: what to do next.
    """

    what: str
    hint: str


def look(root: str, state: str | None, dest: str | None) -> MissingRuns:
    """Find out why there is no run below a state root.

    Args:
        root: absolute URL of the root.
        state: as it was given; None: it follows from `dest`.
        dest: the volume, as it was given.
    """
    if _exists(root):
        return MissingRuns("", _START)
    if state is not None or dest is None:
        return MissingRuns(f"nothing exists at {root}", _slip("--state", settings.STATE_PATH, root))
    volume = absolute(dest)
    if _has_info(volume):
        return MissingRuns(
            f"there is a volume at {volume}, but nothing at {root}",
            "name the place of its runs with --state; another program's volume has none",
        )
    if _exists(volume):
        return MissingRuns(f"nothing exists at {root}", _START)
    return MissingRuns(
        f"nothing exists at {volume}, nor at {root}",
        _slip("--dest", settings.DEST_PATH, volume, _RUNS),
    )


def missing_runs_error(root: str, state: str | None, dest: str | None) -> UsageError:
    """The error of a command that needs a run."""
    found = look(root, state, dest)
    what = f": {found.what}" if found.what else ""
    return UsageError(f"no run below {root}{what}", hint=found.hint)


def note_missing(root: str, state: str | None, dest: str | None) -> None:
    """Note on stderr that nothing exists where runs are looked for, if so."""
    found = look(root, state, dest)
    if found.what:
        print_stderr(f"note: {found.what}; {found.hint}")


def _slip(option: str, variable: str, place: str, suffix: str = "") -> str:
    """Hint to look for a slip in a place, with a similar one that has runs."""
    checked = f"check {option} and {variable} for a slip"
    near = _similar(place, suffix)
    return f"{checked}; did you mean {near}?" if near else f"{checked}; `enqueue` starts a run"


def _similar(place: str, suffix: str) -> str | None:
    """Place beside another one that has a similar name, and a folder of that name and suffix."""
    parent, _, name = place.rpartition("/")
    names = [one.removesuffix(suffix) for one in _folders(parent) if one.endswith(suffix)]
    close = difflib.get_close_matches(name, names, 1)
    return f"{parent}/{close[0]}" if close else None


def _folders(url: str) -> Sequence[str]:
    with suppress(ShardliftError):  # a hint may fail
        return open_storage(url).folders()
    return ()


def _exists(url: str) -> bool:
    """Whether there is a folder, or an object with this prefix."""
    if not is_remote(url):
        return Path(url).exists()
    return any(True for _ in open_storage(url).list())


def _has_info(url: str) -> bool:
    return open_storage(url).exists(INFO)
