"""Lookup of the run that a command names."""

from delivery.ledger.run import Run, find_run
from runtime import settings
from runtime.errors import UsageError


def find(run: str | None, state: str | None, dest: str | None) -> Run:
    """The named run, else the newest below the state root."""
    if run is not None and "/" in run:
        return find_run("", run)
    if state is None and dest is None:
        raise UsageError("which run? Pass --dest or --state, or --run with a whole URI")
    return find_run(state or settings.default_state_url(dest or ""), run)
