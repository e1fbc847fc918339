"""Supervises the runs of a worker or fleet until they end; a thin loop over the reconciler."""

import time
from collections.abc import Callable
from typing import Final

from consumer.run_discovery import RunDiscovery
from delivery.broker.base import Broker
from delivery.ledger.damage import LedgerDamaged
from delivery.ledger.run import Run, log_damage
from delivery.ledger.shard_status import RunStatus, ShardState, describe_incomplete, read_status
from delivery.reconciler import NAMED, Reconciler
from delivery.stall_detector import StallAction
from delivery.state_roots import StateRoots
from memmodel.run_context import tier_chooser
from runtime import log, log_events
from runtime.errors import UnreachableError
from runtime.storage import open_storage
from runtime.text import join_first

TICK_S: Final = 1.0  # between two ticks, at least
COST_SHARE: Final = 10  # ... and this many times the duration of a tick
DISCOVERY_S: Final = 30.0  # between two searches for runs that began meanwhile

_log = log.get()


class RunSupervisor:
    """Supervises the runs that a worker or fleet serves.

    Args:
        broker: their queues.
        discovery: of the runs.
        clock: monotonic seconds.
        on_status: called with each status of a run that was read.

    Attributes:
        failed: by run, why it did not succeed, of runs that ended with shards that are not done.
        given_up: by run, the reason, of stalled runs.
    """

    def __init__(
        self,
        broker: Broker,
        discovery: RunDiscovery,
        clock: Callable[[], float] = time.monotonic,
        on_status: Callable[[Run, RunStatus], None] = lambda _run, _status: None,
    ) -> None:
        self.failed: dict[str, str] = {}
        self.given_up: dict[str, str] = {}
        self._discovery = discovery
        self._roots = StateRoots(broker, discovery.roots)
        self._clock = clock
        self._on_status = on_status
        self._most_pause_s = broker.lease_s / 2
        self._reconciler = Reconciler(broker, tier_chooser, clock)
        self._unfinished: dict[str, Run] = {}
        self._seen: set[str] = set()
        self._discovery_s = self._next_s = clock()

    @property
    def out_of_sight(self) -> dict[str, int]:
        """Open shards of runs in other queues, which these workers cannot see; read anew."""
        return self._discovery.out_of_sight()

    @property
    def none_known(self) -> bool:
        """Whether no run is known yet."""
        return not self._seen

    @property
    def all_over(self) -> bool:
        """Whether every known run has ended, was cancelled or is given up."""
        return bool(self._seen) and self._unfinished.keys() <= self.given_up.keys()

    def resume(self) -> None:
        """Take no silence for a stall that began before this process was frozen."""
        self._reconciler.resume()

    def tick(self) -> None:
        """Supervise all runs once, unless the last tick was a moment ago."""
        began_s = self._clock()
        if began_s < self._next_s:
            return
        try:
            self._tick(began_s)
        except UnreachableError as error:
            _log.warning(log_events.SUPERVISION_FAILED, reason=str(error))
        ended_s = self._clock()
        pause_s = max(TICK_S, COST_SHARE * (ended_s - began_s))
        # A tick that waited for a service, or was frozen, must not put off the next for long.
        self._next_s = ended_s + min(pause_s, max(TICK_S, self._most_pause_s))

    def _tick(self, now_s: float) -> None:
        if (root := self._roots.first) is not None:
            drained = self._reconciler.drain(open_storage(root), self._roots)
            for _, key in drained.keys:
                _log.info(log_events.DEAD_LETTER_DRAINED, shard=key)
        if now_s >= self._discovery_s or not self._unfinished:
            self._discovery_s = now_s + DISCOVERY_S
            self._discover()
        for run in list(self._unfinished.values()):
            self._supervise(run)

    def _discover(self) -> None:
        """Add new runs; of those that ended before, the newest alone, whose failure counts."""
        runs = self._discovery.refresh()
        for run in runs:
            if run.uri not in self._seen:
                self._seen.add(run.uri)
                if run is runs[-1] or not self._ended(run):
                    self._unfinished[run.uri] = run
        if not runs:  # none that can be read: not the same as none
            self._seen.update(self._discovery.damaged)
            self.failed.update(self._discovery.damaged)

    @staticmethod
    def _ended(run: Run) -> bool:
        try:
            return read_status(run).ended
        except LedgerDamaged:
            return False  # said where the run is supervised

    def _supervise(self, run: Run) -> None:
        try:
            self._check(run)
        except LedgerDamaged as error:  # other runs go on
            log_damage(run, error)
            self._remove(run)
            self.failed[run.uri] = str(error)

    def _check(self, run: Run) -> None:
        status = read_status(run)
        self._on_status(run, status)
        if run.cancelled() or not self._discovery.serves(run):
            self._remove(run)
        elif status.ended:
            self._remove(run)
            if not status.succeeded:
                self.failed[run.uri] = _unsuccessful(run, status)
        else:
            self._reconcile(run, status)

    def _reconcile(self, run: Run, status: RunStatus) -> None:
        result = self._reconciler.tick(run, status)
        if result.action is not StallAction.GIVE_UP:
            self.given_up.pop(run.uri, None)
        elif run.uri not in self.given_up:
            self.given_up[run.uri] = result.reason
            _log.error(log_events.RUN_STALLED, run=run.run_id, reason=result.reason)
        if result.action is StallAction.REPUBLISH:
            _log.warning(
                log_events.SHARDS_REPUBLISHED, run=run.run_id, shards=len(result.republished)
            )

    def _remove(self, run: Run) -> None:
        _log.info(log_events.RUN_ENDED, run=run.run_id)
        self.given_up.pop(run.uri, None)
        del self._unfinished[run.uri]


def _unsuccessful(run: Run, status: RunStatus) -> str:
    keys = [key for key, state in status.states.items() if state is not ShardState.DONE]
    if not keys:
        return f"run {run.run_id}: {describe_incomplete(status.incomplete)}"
    return f"run {run.run_id} ended without {len(keys)} of its shards: {join_first(keys, NAMED)}"
