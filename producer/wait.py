"""Waiting: stay until a run has ended by its ledger, never because its queue looks empty."""

import time
from collections.abc import Callable
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from delivery.broker.base import Broker
from delivery.ledger.run import Run
from delivery.ledger.shard_status import RunStatus, read_status
from delivery.messages import now
from delivery.progress import Progress, read_progress
from delivery.reconciler import Reconciler
from delivery.stall_detector import StallAction
from memmodel.run_context import tier_chooser
from producer import render
from producer.fleet_process import FleetProcess, fleet_command
from runtime.cli import print_stderr
from runtime.clock import uptime_s
from runtime.errors import ShardliftError

FROZEN_S = 1.0  # a pause longer by so much was not slept, but frozen
POLL_S = 0.5  # between two polls, at least
COST_SHARE = 5  # ... and this many times the duration of a poll
LINE_S = 5.0  # between two lines where there is no terminal
NO_WORKERS_S = 10.0  # without any heartbeat, before that is said


class Display(Protocol):
    """Display of progress while a command waits."""

    def show(self, progress: Progress) -> None:
        """Show this progress."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class GivenUp(ShardliftError):  # noqa: N818 - an outcome of the run
    """The run stalled, and publishing again did not help."""


class BarDisplay:
    """One progress bar per scale on a terminal."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[int, TaskID] = {}

    def show(self, progress: Progress) -> None:
        """Move the bars; each shows its rate and the number of lost shards."""
        for scale in progress.scales:
            if not scale.total:
                continue
            if scale.scale not in self._tasks:
                added = self._bars.add_task(f"scale {scale.scale}", total=scale.total, rate="")
                self._tasks[scale.scale] = added
            task = self._tasks[scale.scale]
            lost = scale.failed + scale.given_up + scale.blocked
            rate = f"{scale.chunks_per_s:,.0f} chunk/s" + (f", {lost} lost" if lost else "")
            self._bars.update(task, completed=scale.done, rate=rate)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bars.stop()


class LineDisplay:
    """One line every few seconds, for logs and pipes; equal lines are not repeated."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_s = 0.0
        self._last = ""

    def show(self, progress: Progress) -> None:
        """Print the line, if it is due."""
        line = _line(progress)
        if line == self._last or (self._clock() < self._next_s and not progress.ended):
            return
        self._last, self._next_s = line, self._clock() + LINE_S
        print_stderr(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None: ...


class NoWorkersNotice:
    """Says once, some seconds after the start, that no worker was heard of yet.

    Args:
        run: that waits for workers.
        wanted: whether to say it at all.
        clock: monotonic seconds.
    """

    def __init__(
        self, run: Run, *, wanted: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._run = run
        self._clock = clock
        self._due_s = clock() + NO_WORKERS_S if wanted else None

    def tick(self, progress: Progress) -> None:
        """Print the notice, if it is due."""
        if progress.workers:
            self._due_s = None
        if self._due_s is not None and self._clock() >= self._due_s:
            self._due_s = None
            print_stderr(f"no workers yet: start some: {fleet_command(self._run)}")


def display() -> Display:
    """Bars on a terminal, lines elsewhere."""
    console = Console(stderr=True)
    return BarDisplay(console) if console.is_terminal else LineDisplay()


def wait(
    run: Run,
    broker: Broker,
    shown: Display,
    fleet: FleetProcess | None,
    *,
    pools: bool = False,
) -> Progress:
    """Stay until every shard of the run is done, failed, given up or blocked.

    Args:
        run: the run.
        broker: its queues.
        shown: the display of progress.
        fleet: that works on the run and supervises it; None: the run is reconciled here. So it is
            while another fleet has the queue; when that one ends, ours is started.
        pools: whether worker pools are started for the run.

    Raises:
        FleetEndedError: the fleet ended first.
        GivenUp: the run stalled.
        ShardliftError: the run was cancelled.
    """
    reconciler = Reconciler(broker, tier_chooser)
    if fleet is not None and fleet.elsewhere:
        print_stderr(f"a fleet works on {broker.url} already: waiting for it, starting none")
    notice = NoWorkersNotice(run, wanted=fleet is None and not pools)
    while True:
        began_s = time.monotonic()
        gone = fleet is not None and fleet.ended  # read first: its last receipt must be seen
        status = read_status(run)
        progress = read_progress(run, broker, status, now())
        shown.show(progress)
        if status.ended:
            return progress
        if run.cancelled():
            raise ShardliftError(f"run {run.run_id} was cancelled")
        if gone and fleet is not None:
            raise fleet.error()
        if fleet is None or fleet.elsewhere:
            reconciler.drain(run.state)
        notice.tick(progress)
        if fleet is None:
            _reconcile(reconciler, run, status)
        elif fleet.elsewhere:  # it may have other runs to do first, so ours is not stalled
            reconciler.publish_dependents(run, status)
            if fleet.start():
                print_stderr("the other fleet has ended: started one")
        pause_s = max(POLL_S, COST_SHARE * (time.monotonic() - began_s))
        _sleep(min(pause_s, max(POLL_S, broker.lease_s / 2)), reconciler)  # a poll may be slow


def _sleep(pause_s: float, reconciler: Reconciler) -> None:
    """Pause; if it took much longer, this process was frozen, and silence is not a stall."""
    began_s = uptime_s()
    time.sleep(pause_s)
    if uptime_s() - began_s > pause_s + FROZEN_S:
        reconciler.resume()


def _reconcile(reconciler: Reconciler, run: Run, status: RunStatus) -> None:
    result = reconciler.tick(run, status)
    if result.action is StallAction.GIVE_UP:
        command = fleet_command(run)
        raise GivenUp(
            result.reason, hint=f"start workers: {command}; then the same command waits again"
        )
    if result.action is StallAction.REPUBLISH:
        none = "" if result.workers else f"; no workers: start some with {fleet_command(run)}"
        published = render.of_shards(len(result.republished), "was", "were")
        print_stderr(f"nothing heard; {published} published again{none}")


def _line(progress: Progress) -> str:
    parts = []
    for scale in progress.scales:
        if scale.total:
            lost = scale.failed + scale.given_up + scale.blocked
            lost_text = f" ({lost} lost)" if lost else ""
            parts.append(f"s{scale.scale} {scale.done}/{scale.total}{lost_text}")
    rate = f"{progress.chunks_per_s:,.0f} chunk/s"
    left = "" if progress.ended else f", {render.duration(progress.eta_s)} left"
    return f"{'  '.join(parts)}  {rate}{left}"
