"""Reconciler: brings queues and ledger of unfinished runs into agreement.

Queues may lose messages, so an empty queue proves nothing: a run has ended when its ledger says so.
Until then dead letters are drained into the ledger, missed dependents are published, and what is
ready is published again where a run stalls; after two republishes without activity the run is
given up.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from delivery import replay
from delivery.broker.base import Broker
from delivery.cascade import cascade_all
from delivery.dead_letters import DrainResult, drain
from delivery.ledger.run import Run
from delivery.ledger.shard_status import OPEN, RunStatus
from delivery.publishing import ChooseTier, Publication
from delivery.stall_detector import (
    MOST_REPUBLISHES,
    StallAction,
    StallDetector,
    activity_fingerprint,
)
from delivery.state_roots import StateRoots
from runtime.storage import Storage
from runtime.text import join_first

NAMED: Final = 5  # shards in a message


@dataclass(frozen=True, slots=True)
class ReconcileResult:
    """Outcome of one tick.

    Attributes:
        action: taken for a stalled run.
        republished: keys of shards published again.
        workers: heartbeats of the run's workers.
        reason: why the run is given up; only with GIVE_UP.
    """

    action: StallAction
    republished: Sequence[str] = ()
    workers: int = 0
    reason: str = ""


class Reconciler:
    """Reconciles the runs of one broker; each run has a stall detector of its own.

    Args:
        broker: the queues.
        tier_chooser: makes the tier choice of a run; called once per run.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        broker: Broker,
        tier_chooser: Callable[[Run], ChooseTier],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broker = broker
        self._tier_chooser = tier_chooser
        self._clock = clock
        self._choosers: dict[str, ChooseTier] = {}
        self._detectors: dict[str, StallDetector] = {}

    def drain(self, state: Storage, roots: StateRoots | None = None) -> DrainResult:
        """Drain the dead letters into the ledgers of their runs; see `dead_letters.drain`."""
        return drain(self._broker, state, roots=roots)

    def publish_ready(self, run: Run, status: RunStatus | None = None) -> list[str]:
        """Publish every ready shard of a run, the longest work first; their keys."""
        return replay.missing(run, self._broker, self._chooser(run), status=status)

    def publish_dependents(self, run: Run, status: RunStatus) -> list[Publication]:
        """Publish the dependents of a run whose worker died before its cascade."""
        return cascade_all(run, self._broker, self._chooser(run), status)

    def resume(self) -> None:
        """Begin to wait for activity anew, after this process was frozen, as its workers may be."""
        for detector in self._detectors.values():
            detector.restart(self._clock())

    def tick(self, run: Run, status: RunStatus) -> ReconcileResult:
        """Publish missed dependents of an unfinished run; republish or give up where it stalls."""
        self.publish_dependents(run, status)
        heartbeats = run.heartbeats()
        now_s = self._clock()
        detector = self._detectors.setdefault(run.uri, StallDetector(self._broker.lease_s, now_s))
        action = detector.observe(activity_fingerprint(status, heartbeats), now_s)
        republished: Sequence[str] = ()
        if action is StallAction.REPUBLISH:
            republished = self.publish_ready(run, status)
        given_up = action is StallAction.GIVE_UP
        reason = _give_up_reason(run, status, detector) if given_up else ""
        return ReconcileResult(action, republished, len(heartbeats), reason)

    def _chooser(self, run: Run) -> ChooseTier:
        if run.uri not in self._choosers:
            self._choosers[run.uri] = self._tier_chooser(run)
        return self._choosers[run.uri]


def _give_up_reason(run: Run, status: RunStatus, detector: StallDetector) -> str:
    quiet_s = detector.quiet_s * (MOST_REPUBLISHES + 1)
    return (
        f"run {run.run_id}: nothing was heard for {quiet_s:.0f} s, and publishing again "
        f"{MOST_REPUBLISHES} times did not help; open: {join_first(status.keys(*OPEN), NAMED)}"
    )
