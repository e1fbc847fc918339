"""Lookup of a command's run and queue."""

from collections.abc import Sequence

from delivery.broker import SQLITE, open_broker, queue_path
from delivery.broker.base import Broker
from delivery.dead_letters import drain
from delivery.ledger import failures
from delivery.ledger.damage import LedgerDamaged
from delivery.ledger.run import Run, newest_run
from delivery.ledger.shard_status import describe_unplanned, read_status
from memmodel.tiers import tier_named, tier_of
from producer.missing_runs import missing_runs_error
from runtime import settings
from runtime.cli import print_stderr
from runtime.errors import UnreachableError, UsageError
from runtime.storage import absolute, join


def find(run: str | None, state: str | None, dest: str | None) -> Run:
    """The named run, else the newest one that can be read, whose id is printed to stderr.

    Args:
        run: id or URI.
        state: root of the runs.
        dest: the volume, from which the root follows.

    Raises:
        UsageError: neither state root nor volume is given, or there is no run.
    """
    if run is not None and "/" in run:
        return Run.open(run)
    root = state_root(state, dest)
    if run is not None:
        return Run.open(join(root, run))
    damage: list[tuple[Run, LedgerDamaged]] = []
    found = newest_run(root, lambda *one: damage.append(one))
    for one in damage:
        note_damage(*one)
    if found is None:
        raise missing_runs_error(root, state, dest)
    which = "the newest that can be read" if damage else "the newest"
    print_stderr(f"run {found.run_id} ({which})")
    return found


def state_root(state: str | None, dest: str | None) -> str:
    """Absolute URL of the folder that holds runs.

    Raises:
        UsageError: neither is given.
    """
    if state is None and dest is None:
        raise UsageError(
            "which run? Pass --dest or --state: neither is given",
            hint=f"{settings.DEST_PATH} or {settings.STATE_PATH} serve every command",
        )
    return absolute(state or settings.default_state_url(dest or ""))


def broker_of(run: Run, queue: str | None = None) -> Broker:
    """Open the run's queue."""
    return open_broker(queue or run.queue, run.info.tiers, settings.lease_s())


def broker_to_look(run: Run, queue: str | None = None) -> tuple[Broker | None, str]:
    """Open the run's queue for a command that looks: without it the ledger tells the truth.

    Args:
        run: whose queue it is.
        queue: a given one, which must exist.

    Returns:
        The broker, or None and why there is none. Nothing is made.
    """
    url = queue or run.queue
    if queue is None and url.startswith(SQLITE) and not queue_path(url).exists():
        return None, f"there is no {queue_path(url)}"
    try:
        return broker_of(run, queue), ""
    except (UsageError, UnreachableError) as error:
        if queue is not None:
            raise
        return None, str(error)


def find_looked(run: str | None, state: str | None, dest: str | None, queue: str | None) -> Run:
    """As `find_drained`, but a note to stderr where the queue cannot be asked."""
    found = find(run, state, dest)
    broker, why = broker_to_look(found, queue)
    if broker is not None:
        try:
            with broker:
                drain_dead_letters(found, broker)
        except (UsageError, UnreachableError) as error:
            why = str(error)
    if why and not read_status(found).ended:
        print_stderr(f"note: queue: unknown: {why}; what it holds is not shown")
    return found


def find_drained(run: str | None, state: str | None, dest: str | None, queue: str | None) -> Run:
    """As `find`, after the dead letters of its queue were drained into the ledger."""
    found = find(run, state, dest)
    with broker_of(found, queue) as broker:
        drain_dead_letters(found, broker)
    return found


def note_damage(run: Run, error: LedgerDamaged) -> None:
    """Note on stderr that a run cannot be read, and the way on."""
    print_stderr(f"note: run {run.run_id}: {error}; {error.hint}")


def note_unplanned(unplanned: Sequence[str]) -> None:
    """Note on stderr the records of shards that the plan lacks, if any."""
    if unplanned:
        way = "; `dead-letters drop KEY` removes a failed one"
        failed = any(f"{failures.FOLDER}/" in path for path in unplanned)
        print_stderr(f"note: {describe_unplanned(unplanned)}{way if failed else ''}")


def check_tier(run: Run, tier: str | None) -> None:
    """Raise UsageError if the run has no such tier."""
    if tier is not None:
        tier_named(tier, [tier_of(name) for name in run.info.tiers])


def drain_dead_letters(run: Run, broker: Broker) -> None:
    """Drain the dead letters of the run's queue into the ledgers below its state root."""
    drain(broker, run.state)
