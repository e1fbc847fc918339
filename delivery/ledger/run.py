"""Runs below a state root: listed, found by id, and the names that go with a run."""

from collections.abc import Callable

from delivery.ledger.damage import LedgerDamaged
from delivery.ledger.heartbeat import Heartbeat, HeartbeatShard
from delivery.ledger.publish_marker import PublishMarker
from delivery.ledger.run_info import (
    UNREADABLE,
    Cancellation,
    QueueMove,
    RunInfo,
    check_run_id,
    check_run_place,
    new_run_id,
)
from delivery.ledger.stored_run import MOVE_AWAY, MOVED, PUBLISHED, WORKERS, Run
from runtime import log, log_events
from runtime.errors import UsageError
from runtime.storage import absolute, join, open_storage

__all__ = [
    "MOVED",
    "MOVE_AWAY",
    "PUBLISHED",
    "UNREADABLE",
    "WORKERS",
    "Cancellation",
    "Heartbeat",
    "HeartbeatShard",
    "OnDamage",
    "PublishMarker",
    "QueueMove",
    "Run",
    "RunInfo",
    "check_run_id",
    "check_run_place",
    "find_run",
    "list_runs",
    "log_damage",
    "new_run_id",
    "newest_run",
]

OnDamage = Callable[[Run, LedgerDamaged], None]
"""Called with a run whose settings cannot be read."""


def log_damage(run: Run, error: LedgerDamaged) -> None:
    """Log that a run is passed over."""
    log.get().warning(log_events.RUN_DAMAGED, run=run.run_id, reason=str(error), hint=error.hint)


def list_runs(state_url: str, on_damage: OnDamage = log_damage) -> list[Run]:
    """All planned runs below a state root, oldest first.

    Args:
        state_url: the root.
        on_damage: called with each run whose settings cannot be read; it is left out.
    """
    runs = []
    for name in open_storage(state_url).folders():
        run = Run(join(state_url, name))
        if name == UNREADABLE or not run.planned():
            continue
        try:
            runs.append((run.info.created, run))
        except LedgerDamaged as error:
            on_damage(run, error)
    return [run for _, run in sorted(runs, key=lambda pair: pair[0])]


def newest_run(state_url: str, on_damage: OnDamage = log_damage) -> Run | None:
    """The run that was planned last of those that can be read, or None.

    Args:
        state_url: the root.
        on_damage: as in `list_runs`.

    Raises:
        LedgerDamaged: there are runs, and none can be read.
    """
    damage: list[LedgerDamaged] = []

    def keep(run: Run, error: LedgerDamaged) -> None:
        damage.append(error)
        on_damage(run, error)

    runs = list_runs(state_url, keep)
    if damage and not runs:
        raise damage[0]
    return runs[-1] if runs else None


def find_run(state_url: str, run: str | None = None, on_damage: OnDamage = log_damage) -> Run:
    """The run of this id or URI, else the newest one that can be read.

    Args:
        state_url: the root.
        run: id or URI.
        on_damage: as in `list_runs`.

    Raises:
        UsageError: there is no such run.
        LedgerDamaged: there are runs, and none can be read.
    """
    if run is not None:
        return Run.open(run if "/" in run else join(state_url, run))
    newest = newest_run(state_url, on_damage)
    if newest is None:
        raise UsageError(
            f"no run below {absolute(state_url)}",
            hint="start one with `python -m producer enqueue`, or set --dest or --state",
        )
    return newest
