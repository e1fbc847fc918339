"""Watches over runs until they end: drains dead letters, makes cascades good, loses patience.

A queue may lose messages, so its emptiness proves nothing: a run has ended when the ledger says
so. Where nothing is heard of a run, what is ready is published again; after two rounds in vain
the run is given up and its open shards are named.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from consumer.run_discovery import RunDiscovery
from delivery import replay
from delivery.broker.base import Broker
from delivery.cascade import cascade_all
from delivery.dead_letters import drain
from delivery.ledger.run import Run
from delivery.ledger.shard_status import OPEN, RunStatus, State, read_status
from delivery.stall_detector import (
    QUIET_LEASES,
    ROUNDS,
    StallAction,
    StallDetector,
    activity_fingerprint,
)
from memmodel.tier_choice import chooser
from runtime import log
from runtime.errors import UnreachableError

LOOK_S: Final = 1.0  # between two looks, at least
COST_SHARE: Final = 10  # ... and this many times what a look costs
SURVEY_S: Final = 30.0  # between two searches for runs that began meanwhile
NAMED: Final = 5  # open shards in a message

_log = log.get()


@dataclass
class _SupervisedRun:
    """A run that has not ended."""

    run: Run
    patience: StallDetector


class RunSupervisor:
    """Looks after the runs that a worker or fleet is there for.

    Args:
        broker: their queue.
        known: which runs they are.
        clock: monotonic seconds.

    Attributes:
        failed: what to say of runs that ended with shards that are not done.
        given_up: what to say of runs that nothing is heard of.
    """

    def __init__(
        self, broker: Broker, known: RunDiscovery, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.failed: dict[str, str] = {}
        self.given_up: dict[str, str] = {}
        self._broker = broker
        self._known = known
        self._clock = clock
        self._watched: dict[str, _SupervisedRun] = {}
        self._seen: set[str] = set()
        self._survey_s = self._next_s = clock()

    @property
    def none_known(self) -> bool:
        """Whether no run is known yet."""
        return not self._seen

    @property
    def over(self) -> bool:
        """Whether all known runs have ended, or are beyond hope."""
        return bool(self._seen) and self._watched.keys() <= self.given_up.keys()

    def look(self) -> None:
        """Look after all runs, unless that was done a moment ago."""
        began_s = self._clock()
        if began_s < self._next_s:
            return
        try:
            self._look(began_s)
        except UnreachableError as error:
            _log.warning(log.SUPERVISION_FAILED, reason=str(error))
        ended_s = self._clock()
        self._next_s = ended_s + max(LOOK_S, COST_SHARE * (ended_s - began_s))

    def _look(self, now_s: float) -> None:
        state = self._known.state
        if state is not None:
            for _, key in drain(self._broker, state).keys:
                _log.info(log.DEAD_LETTER_DRAINED, shard=key)
        if now_s >= self._survey_s or not self._watched:
            self._survey_s = now_s + SURVEY_S
            self._survey(now_s)
        for watched in list(self._watched.values()):
            self._watch(watched)

    def _survey(self, now_s: float) -> None:
        """Watch runs that are new here. Old ones that ended long ago are no news."""
        runs = self._known.look()
        for run in runs:
            if run.uri not in self._seen:
                self._seen.add(run.uri)
                if run is runs[-1] or not read_status(run).ended:
                    patience = StallDetector(self._broker.lease_s, now_s)
                    self._watched[run.uri] = _SupervisedRun(run, patience)

    def _watch(self, watched: _SupervisedRun) -> None:
        run, status = watched.run, read_status(watched.run)
        if run.cancelled():
            self._settle(run)
        elif status.ended:
            self._settle(run)
            if not status.succeeded:
                self.failed[run.uri] = _unsuccessful(run, status)
        else:
            choose_tier = chooser(run)
            cascade_all(run, self._broker, choose_tier, status)
            sign = activity_fingerprint(status, run.heartbeats())
            advice = watched.patience.look(sign, self._clock())
            self._follow(run, status, advice)

    def _follow(self, run: Run, status: RunStatus, advice: StallAction) -> None:
        if advice is StallAction.GIVE_UP:
            if run.uri not in self.given_up:
                self.given_up[run.uri] = _hopeless(run, status, self._broker.lease_s)
                _log.error(log.RUN_STALLED, run=run.run_id, reason=self.given_up[run.uri])
            return
        self.given_up.pop(run.uri, None)
        if advice is StallAction.REPUBLISH:
            again = replay.missing(run, self._broker, chooser(run), status=status)
            _log.warning(log.SHARDS_REPUBLISHED, run=run.run_id, shards=len(again))

    def _settle(self, run: Run) -> None:
        _log.info(log.RUN_ENDED, run=run.run_id)
        self.given_up.pop(run.uri, None)
        del self._watched[run.uri]


def _hopeless(run: Run, status: RunStatus, lease_s: float) -> str:
    keys = [key for key, shard in status.states.items() if shard.state in OPEN]
    waited_s = lease_s * QUIET_LEASES * (ROUNDS + 1)
    return (
        f"run {run.run_id}: nothing was heard for {waited_s:.0f} s, and publishing again "
        f"{ROUNDS} times did not help; open: {_named(keys)}"
    )


def _unsuccessful(run: Run, status: RunStatus) -> str:
    keys = [key for key, shard in status.states.items() if shard.state is not State.DONE]
    return f"run {run.run_id} ended without {len(keys)} of its shards: {_named(keys)}"


def _named(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return ", ".join(keys[:NAMED]) + more
