"""Text of `status`: counts, shards in work, queues, failures, what to do next."""

from delivery.ledger.run import Run
from delivery.ledger.selection import describe_selection
from delivery.ledger.shard_status import RunStatus, ShardState, describe_incomplete
from delivery.progress import Progress
from producer import render, worker_pools
from producer.fleet_process import fleet_command
from producer.status_look import StatusLook
from producer.trouble_note import describe, last_trouble
from runtime.text import printable, printable_lines


def status_text(run: Run, look: StatusLook) -> str:
    """All that `status` prints."""
    ledger, progress = look.ledger, look.progress
    return "\n\n".join(
        [headline(run, ledger, progress), render.scale_table(progress.scales), *details(run, look)]
    )


def details(run: Run, look: StatusLook) -> list[str]:
    """What a look shows beside the counts: shards in work, queues, pools, failures, trouble."""
    ledger, progress = look.ledger, look.progress
    parts = []
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
    return parts


def headline(run: Run, ledger: RunStatus, progress: Progress) -> str:
    """A run in a line: how far it is, or how and when it ended."""
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
