"""The runs of a destination, printed."""

from delivery.ledger.damage import LedgerDamaged
from delivery.ledger.run import Run, list_runs
from delivery.ledger.shard_status import OPEN, RunStatus, ShardState, read_status
from delivery.scale_progress import made_keys
from producer import render, run_lookup
from producer.documents.run_documents import RunEntry, RunState
from producer.missing_runs import note_missing
from runtime import cli
from runtime.document import documents_text
from runtime.memory import without_collections


def print_runs(state: str | None, dest: str | None, *, as_json: bool) -> None:
    """Print the runs below a state root, or below that of a volume, oldest first."""
    root = run_lookup.state_root(state, dest)
    damaged: list[RunEntry] = []
    sound = list_runs(root, lambda run, error: damaged.append(_damaged(run, error)))
    found = [*damaged, *map(_entry, sound)]
    if not found:
        note_missing(root, state, dest)
    if as_json:
        cli.print_json(documents_text(found))
    elif not found:
        cli.print_line(f"no runs below {root}")
    else:
        headers = ["run", "state", "scales", "downres", "done", "of", "lost"]
        cli.print_lines(render.table(headers, map(_row, found), left=4))


def _damaged(run: Run, error: LedgerDamaged) -> RunEntry:
    """Row of a run that cannot be read, with a line to stderr why."""
    run_lookup.note_damage(run, error)
    return RunEntry(
        run=run.run_id, run_id=run.run_id, uri=run.uri, state="damaged", dest=run.stated_dest()
    )


def _entry(run: Run) -> RunEntry:
    try:
        with without_collections():
            return _read_entry(run)
    except LedgerDamaged as error:
        return _damaged(run, error)


def _read_entry(run: Run) -> RunEntry:
    status, info = read_status(run), run.info
    made = made_keys(status)
    run_lookup.note_unplanned([f"{run.run_id}/{path}" for path in status.unplanned])
    states = [status.states[key] for key in made]
    return RunEntry(
        run=run.run_id,
        run_id=run.run_id,
        uri=run.uri,
        created=info.created,
        state=_state(run, status),
        dest=info.dest,
        source=info.source,
        scales=info.scales,
        downres=info.downres,
        label_type=info.label_type,
        fingerprint=info.fingerprint,
        total=len(made),
        done=states.count(ShardState.DONE),
        lost=sum(state not in {*OPEN, ShardState.DONE} for state in states),
        unplanned=tuple(status.unplanned),
        selection=info.selection,
    )


def _state(run: Run, status: RunStatus) -> RunState:
    if run.cancelled():
        return "cancelled"
    if not status.ended:
        return "unfinished"
    if status.succeeded:
        return "done"
    all_done = all(state is ShardState.DONE for state in status.states.values())
    return "incomplete" if all_done else "failed"


def _row(entry: RunEntry) -> list[str]:
    numbers = [",".join(map(str, scales)) or "-" for scales in (entry.scales, entry.downres)]
    counts = [render.count(number) for number in (entry.done, entry.total, entry.lost)]
    state = f"{entry.state}, selection" if entry.selection else entry.state
    return [entry.run_id, state, *numbers, *counts]
