"""`producer status`: progress of a run."""

import time
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from delivery.broker.base import Broker
from delivery.ledger.run import Run
from delivery.ledger.shard_status import RunStatus, ShardState, read_status
from delivery.messages import now
from delivery.progress import Progress, read_progress
from delivery.reconciler import NAMED, Reconciler
from memmodel.run_context import tier_chooser
from producer import render, run_lookup
from producer.fleet_process import fleet_command
from runtime import cli
from runtime.text import join_first

_WATCH_S = 2.0


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(status)


def status(
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Refresh until the run has ended.")
    ] = False,
    run: cli.RunOption = None,
    state: cli.StateOption = None,
    dest: cli.OptionalDestOption = None,
    queue: run_lookup.RunQueueOption = None,
    as_json: cli.JsonOption = False,
) -> None:
    """Show the progress of a run: shards by state, queues, work in flight, rate, time left.

    Counts are exact: plan minus receipts. A backlog that the queue does not report is unknown,
    never 0. The command also drains dead letters and publishes dependents that became ready.

    Example: python -m producer status --dest out --watch
    """
    found = run_lookup.find(run, state, dest)
    with run_lookup.broker_of(found, queue) as broker:
        if watch and not as_json:
            _watch(found, broker)
            return
        ledger, progress = _refresh(found, broker)
    if as_json:
        typer.echo(render.document(_document(found, ledger, progress)))
    else:
        typer.echo(_text(found, ledger, progress))


def _refresh(run: Run, broker: Broker) -> tuple[RunStatus, Progress]:
    """Drain dead letters, publish missed dependents, then count."""
    reconciler = Reconciler(broker, tier_chooser)
    reconciler.drain(run.state)
    ledger = read_status(run)
    reconciler.publish_dependents(run, ledger)
    return ledger, read_progress(run, broker, ledger, now())


def _watch(run: Run, broker: Broker) -> None:
    with Live(console=Console(), auto_refresh=False) as live:
        while True:
            ledger, progress = _refresh(run, broker)
            live.update(Text(_text(run, ledger, progress)), refresh=True)
            if progress.ended or run.cancelled():
                return
            time.sleep(_WATCH_S)


def _document(run: Run, ledger: RunStatus, progress: Progress) -> dict[str, object]:
    cancelled = run.cancelled()
    blocked = {key: list(ledger.causes(key)) for key in ledger.keys(ShardState.BLOCKED)}
    return {
        "run": run.uri,
        "cancelled": cancelled.why if cancelled else None,
        "succeeded": ledger.succeeded,
        **render.progress_document(progress),
        "shards": {key: state.value for key, state in ledger.states.items()},
        "blocked_by": blocked,
    }


def _text(run: Run, ledger: RunStatus, progress: Progress) -> str:
    parts = [_headline(run, ledger, progress), render.scale_table(progress.scales)]
    if progress.in_flight:
        parts.append(render.flight_table(progress.in_flight))
    parts.append(render.backlog_table(progress.backlogs))
    dead = [(f.key, f.reason) for f in ledger.failures.values()]
    dead = [(key, reason) for key, reason in dead if ledger.states[key] is ShardState.FAILED]
    if dead:
        parts.append(f"dead:\n{render.reasons(dead)}")
    if blocked := ledger.keys(ShardState.BLOCKED):
        causes = sorted({cause for key in blocked for cause in ledger.causes(key)})
        by = join_first(causes, NAMED)
        parts.append(f"{render.of_shards(len(blocked), 'is', 'are')} blocked by {by}")
    if not progress.ended and not progress.workers and not run.cancelled():
        parts.append(f"no worker was heard of lately; start some:\n  {fleet_command(run)}")
    return "\n\n".join(parts)


def _headline(run: Run, ledger: RunStatus, progress: Progress) -> str:
    note = run.cancelled()
    if note:
        return f"run {run.run_id}: cancelled ({note.why}), {progress.done} of {progress.total} done"
    if progress.ended:
        how = "done" if ledger.succeeded else "ended with shards that are not done"
        return f"run {run.run_id}: {how}, {progress.done} of {render.shards(progress.total)}"
    return (
        f"run {run.run_id}: {progress.done} of {render.shards(progress.total)}, "
        f"{progress.chunks_per_s:,.0f} chunk/s, {progress.workers} workers, "
        f"{render.duration(progress.eta_s)} left"
    )
