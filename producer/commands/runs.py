"""`producer runs`: list the runs of a destination."""

from typing import Any

import typer

from delivery.ledger.run import Run, list_runs
from delivery.ledger.shard_status import OPEN, ShardState, read_status
from producer import render, run_lookup
from runtime import cli


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
    found = [_facts(run) for run in list_runs(run_lookup.state_root(state, dest))]
    if as_json:
        typer.echo(render.document(found))
    elif not found:
        typer.echo("no runs")
    else:
        headers = ["run", "state", "scales", "downres", "done", "of", "lost"]
        typer.echo(render.table(headers, map(_row, found), left=4))


def _facts(run: Run) -> dict[str, Any]:
    status, info = read_status(run), run.info
    made = [key for key, planned, _ in run.plan.relations if planned == "make"]
    states = [status.states[key] for key in made]
    return {
        "run": run.run_id,
        "uri": run.uri,
        "created": info.created.isoformat(),
        "state": _state(run, ended=status.ended, succeeded=status.succeeded),
        "dest": info.dest,
        "source": info.source,
        "scales": list(info.scales),
        "downres": list(info.downres),
        "label_type": info.label_type,
        "fingerprint": info.fingerprint,
        "total": len(made),
        "done": states.count(ShardState.DONE),
        "lost": sum(state not in {*OPEN, ShardState.DONE} for state in states),
    }


def _state(run: Run, *, ended: bool, succeeded: bool) -> str:
    if run.cancelled():
        return "cancelled"
    if not ended:
        return "unfinished"
    return "done" if succeeded else "failed"


def _row(facts: dict[str, Any]) -> list[str]:
    numbers = [",".join(map(str, facts[name])) or "-" for name in ("scales", "downres")]
    counts = [render.count(facts[name]) for name in ("done", "total", "lost")]
    return [facts["run"], facts["state"], *numbers, *counts]
