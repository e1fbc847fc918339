"""Waiting: stay until a run has ended by its ledger, never because its queue looks empty."""

import time
from collections.abc import Callable

from delivery.broker.base import Broker
from delivery.ledger.run import Run
from delivery.ledger.shard_status import RunStatus, read_status
from delivery.messages import now
from delivery.progress import Progress, read_progress
from delivery.progress_display import Display
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
NO_WORKERS_S = 10.0  # without any heartbeat, before that is said


class GivenUp(ShardliftError):  # noqa: N818 - an outcome of the run
    """The run stalled, and publishing again did not help."""


class NoWorkersNotice:
    """Says once, some seconds after the start, that no worker was heard of yet.

    Args:
        run: that waits for workers.
        wanted: whether to say it at all.
        clock: monotonic seconds.
        say: takes the notice.
    """

    def __init__(
        self,
        run: Run,
        *,
        wanted: bool,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = print_stderr,
    ) -> None:
        self._say = say
        self._run = run
        self._clock = clock
        self._due_s = clock() + NO_WORKERS_S if wanted else None

    def tick(self, progress: Progress) -> None:
        """Print the notice, if it is due."""
        if progress.workers:
            self._due_s = None
        if self._due_s is not None and self._clock() >= self._due_s:
            self._due_s = None
            self._say(f"no workers yet: start some: {fleet_command(self._run)}")


def wait(
    run: Run,
    broker: Broker,
    shown: Display,
    fleet: FleetProcess | None,
    *,
    pools: bool = False,
    say: Callable[[str], None] = print_stderr,
) -> Progress:
    """Stay until every shard of the run is done, failed, given up or blocked.

    Args:
        run: the run.
        broker: its queues.
        shown: the display of progress.
        fleet: that works on the run and supervises it; None: the run is reconciled here. So it is
            while another fleet has the queue; when that one ends, ours is started.
        pools: whether worker pools are started for the run.
        say: takes notes for people.

    Raises:
        FleetEndedError: the fleet ended first.
        GivenUp: the run stalled.
        ShardliftError: the run was cancelled.
    """
    reconciler = Reconciler(broker, tier_chooser)
    if fleet is not None and fleet.elsewhere:
        say(f"a fleet works on {broker.url} already: waiting for it, starting none")
    notice = NoWorkersNotice(run, wanted=fleet is None and not pools, say=say)
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
            _reconcile(reconciler, run, status, say)
        elif fleet.elsewhere:  # it may have other runs to do first, so ours is not stalled
            reconciler.publish_dependents(run, status)
            if fleet.start():
                say("the other fleet has ended: started one")
        pause_s = max(POLL_S, COST_SHARE * (time.monotonic() - began_s))
        _sleep(min(pause_s, max(POLL_S, broker.lease_s / 2)), reconciler)  # a poll may be slow


def _sleep(pause_s: float, reconciler: Reconciler) -> None:
    """Pause; if it took much longer, this process was frozen, and silence is not a stall."""
    began_s = uptime_s()
    time.sleep(pause_s)
    if uptime_s() - began_s > pause_s + FROZEN_S:
        reconciler.resume()


def _reconcile(
    reconciler: Reconciler, run: Run, status: RunStatus, say: Callable[[str], None]
) -> None:
    result = reconciler.tick(run, status)
    if result.action is StallAction.GIVE_UP:
        command = fleet_command(run)
        raise GivenUp(
            result.reason, hint=f"start workers: {command}; then the same command waits again"
        )
    if result.action is StallAction.REPUBLISH:
        none = "" if result.workers else f"; no workers: start some with {fleet_command(run)}"
        published = render.of_shards(len(result.republished), "was", "were")
        say(f"nothing heard; {published} published again{none}")
