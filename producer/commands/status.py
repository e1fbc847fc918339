"""`producer status`: progress of a run."""

import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from delivery.broker.base import Broker
from delivery.ledger.run import Run
from delivery.ledger.selection import describe_selection
from delivery.ledger.shard_status import RunStatus, ShardState, describe_incomplete, read_status
from delivery.messages import now
from delivery.progress import Progress, read_progress
from delivery.reconciler import Reconciler
from memmodel.run_context import tier_chooser
from producer import render, run_lookup, worker_pools
from producer.fleet_process import fleet_command
from producer.trouble_note import describe, last_trouble
from producer.worker_pools import PoolLooks, PoolState
from runtime import cli, streams
from runtime.errors import UnreachableError, UsageError
from runtime.memory import without_collections
from runtime.text import printable, printable_lines

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
    never 0; without the queue the ledger is shown. The command also drains dead letters and
    publishes dependents that became ready.

    Example: python -m producer status --dest out --watch
    """
    found = run_lookup.find(run, state, dest)
    broker, why = run_lookup.broker_to_look(found, queue)
    with broker or nullcontext():
        if watch and not as_json:
            streams.end_with_reader()
            _watch(found, broker, why)
            return
        look = _refresh(found, broker, why, PoolLooks(found))
    run_lookup.note_unplanned(look.progress.unplanned)
    if as_json:
        cli.print_lines(render.document(_document(found, look)))
    else:
        cli.print_lines(_text(found, look))


@dataclass(frozen=True)
class _Look:
    """What was seen of a run.

    Attributes:
        why: its queue could not be asked, if so.
        pools: what runs for its queue; None where there are no pools, or that is not known.
    """

    ledger: RunStatus
    progress: Progress
    why: str
    pools: PoolState | None


def _refresh(run: Run, broker: Broker | None, why: str, pools: PoolLooks) -> _Look:
    """Drain dead letters, publish missed dependents, then count; without the queue, only count."""
    with without_collections():
        try:
            ledger = _mended(run, broker)
            progress = read_progress(run, broker, ledger, now(), tier_chooser(run))
        except (UsageError, UnreachableError) as error:  # of the queue, or of the right to write
            why = str(error)
            ledger = read_status(run)
            progress = read_progress(run, None, ledger, now(), tier_chooser(run))
    return _Look(ledger, progress, why, pools.state())


def _mended(run: Run, broker: Broker | None) -> RunStatus:
    if broker is None:
        return read_status(run)
    reconciler = Reconciler(broker, tier_chooser)
    reconciler.drain(run.state)
    ledger = read_status(run)
    reconciler.publish_dependents(run, ledger)
    return ledger


def _watch(run: Run, broker: Broker | None, why: str) -> None:
    pools = PoolLooks(run)
    with Live(console=Console(), auto_refresh=False) as live:
        while True:
            look = _refresh(run, broker, why, pools)
            live.update(Text(printable_lines(_text(run, look))), refresh=True)
            if look.progress.ended or run.cancelled():
                return
            time.sleep(_WATCH_S)


def _document(run: Run, look: _Look) -> dict[str, object]:
    ledger, cancelled = look.ledger, run.cancelled()
    trouble = last_trouble(run, ledger)
    blocked = {key: list(ledger.causes(key)) for key in ledger.keys(ShardState.BLOCKED)}
    return {
        "run": run.uri,
        "cancelled": cancelled.why if cancelled else None,
        "succeeded": ledger.succeeded,
        **render.progress_document(look.progress),
        "queue": run.queue,
        "queue_unknown": look.why or None,
        "shards": {key: state.value for key, state in ledger.states.items()},
        "blocked_by": blocked,
        "incomplete": ledger.incomplete,
        "partial": list(run.info.partial),
        "selection": run.info.selection.model_dump(mode="json") if run.info.selection else None,
        "trouble": trouble.model_dump(mode="json") if trouble else None,
        "pools": look.pools.model_dump(mode="json") if look.pools else None,
    }


def _text(run: Run, look: _Look) -> str:
    ledger, progress = look.ledger, look.progress
    parts = [_headline(run, ledger, progress), render.scale_table(progress.scales)]
    if run.info.selection is not None:
        parts.append(printable(describe_selection(run.info.selection)))
    if progress.in_flight:
        parts.append(render.flight_table(progress.in_flight))
    parts.append(render.queue_table(progress.backlogs, progress.ready_by_tier, look.why))
    if look.pools is not None:
        parts.append(printable_lines(worker_pools.describe(look.pools)))
    if failed := render.failure_report(run, ledger):
        parts.append(failed)
    if ledger.incomplete:
        parts.append(printable(describe_incomplete(ledger.incomplete)))
    if trouble := last_trouble(run, ledger):
        parts.append(printable(describe(trouble)))
    if not progress.ended and not progress.workers and not run.cancelled():
        start = printable(fleet_command(run))
        parts.append(f"no worker was heard of lately; start some:\n  {start}")
    return "\n\n".join(parts)


def _headline(run: Run, ledger: RunStatus, progress: Progress) -> str:
    run_id, note = printable(run.run_id), run.cancelled()
    if note:
        how = printable(f"cancelled ({note.why})")
        return f"run {run_id}: {how}, {progress.done} of {progress.total} done"
    if progress.ended:
        how = "done" if ledger.succeeded else _not_whole(ledger)
        whole = f"run {run_id}: {how}, {progress.done} of {render.shards(progress.total)}"
        if lacked := render.partial(run.info.partial):
            whole = f"{whole}\n{lacked}"
        return f"{whole}\n{_times(progress)}" if progress.finished else whole
    workers = render.counted(progress.workers, "worker") if progress.workers else "no workers"
    left = f", {render.duration(progress.eta_s)} left" if progress.workers else ""
    return (
        f"run {run_id}: {progress.done} of {render.shards(progress.total)}, "
        f"{progress.chunks_per_s:,.0f} chunk/s, {workers}{left}"
    )


def _times(progress: Progress) -> str:
    """When a run began and ended, and how long it took."""
    began = f"began {progress.started:%Y-%m-%d %H:%M:%S}, " if progress.started else ""
    took = f", took {render.duration(progress.took_s)}" if progress.started else ""
    return f"{began}ended {progress.finished:%Y-%m-%d %H:%M:%S} UTC{took}"


def _not_whole(ledger: RunStatus) -> str:
    done = all(state is ShardState.DONE for state in ledger.states.values())
    return "done, but not whole" if done else "ended with shards that are not done"
