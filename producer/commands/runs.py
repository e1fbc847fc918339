"""`producer runs`: list the runs of a destination."""

from typing import Any

import typer

from delivery.ledger.damage import LedgerDamaged
from delivery.ledger.run import Run, list_runs
from delivery.ledger.shard_status import OPEN, RunStatus, ShardState, read_status
from delivery.progress import made_keys
from producer import render, run_lookup
from runtime import cli
from runtime.memory import without_collections


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(runs)


def runs(
    *,
    state: cli.StateOption = None,
    dest: cli.OptionalDestOption = None,
    as_json: cli.JsonOption = False,
) -> None:
    """List runs, oldest first: state, scales, shards done and lost.

    Example: python -m producer runs --dest out
    """
    root = run_lookup.state_root(state, dest)
    damaged: list[dict[str, Any]] = []
    sound = list_runs(root, lambda run, error: damaged.append(_damaged(run, error)))
    found = [*damaged, *map(_facts, sound)]
    if as_json:
        cli.print_lines(render.document(found))
    elif not found:
        cli.print_line(f"no runs below {root}")
    else:
        headers = ["run", "state", "scales", "downres", "done", "of", "lost"]
        cli.print_lines(render.table(headers, map(_row, found), left=4))


def _damaged(run: Run, error: LedgerDamaged) -> dict[str, Any]:
    """Row of a run that cannot be read, with a line to stderr why."""
    run_lookup.note_damage(run, error)
    unknown = dict.fromkeys(("created", "source", "label_type", "fingerprint", "selection"))
    counts = dict.fromkeys(("total", "done", "lost"))
    own = {"run": run.run_id, "uri": run.uri, "state": "damaged", "dest": run.stated_dest()}
    return {**own, **unknown, "scales": [], "downres": [], **counts}


def _facts(run: Run) -> dict[str, Any]:
    try:
        with without_collections():
            return _read_facts(run)
    except LedgerDamaged as error:
        return _damaged(run, error)


def _read_facts(run: Run) -> dict[str, Any]:
    status, info = read_status(run), run.info
    made = made_keys(status)
    run_lookup.note_unplanned([f"{run.run_id}/{path}" for path in status.unplanned])
    states = [status.states[key] for key in made]
    return {
        "run": run.run_id,
        "uri": run.uri,
        "created": info.created.isoformat(),
        "state": _state(run, status),
        "dest": info.dest,
        "source": info.source,
        "scales": list(info.scales),
        "downres": list(info.downres),
        "label_type": info.label_type,
        "fingerprint": info.fingerprint,
        "total": len(made),
        "done": states.count(ShardState.DONE),
        "lost": sum(state not in {*OPEN, ShardState.DONE} for state in states),
        "unplanned": list(status.unplanned),
        "selection": info.selection.model_dump(mode="json") if info.selection else None,
    }


def _state(run: Run, status: RunStatus) -> str:
    if run.cancelled():
        return "cancelled"
    if not status.ended:
        return "unfinished"
    if status.succeeded:
        return "done"
    all_done = all(state is ShardState.DONE for state in status.states.values())
    return "incomplete" if all_done else "failed"


def _row(facts: dict[str, Any]) -> list[str]:
    numbers = [",".join(map(str, facts[name])) or "-" for name in ("scales", "downres")]
    counts = [render.count(facts[name]) for name in ("done", "total", "lost")]
    state = f"{facts['state']}, selection" if facts["selection"] else facts["state"]
    return [facts["run"], state, *numbers, *counts]
