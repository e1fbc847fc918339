"""Care for a queue's runs while nobody else looks: dead letters, missed dependents, stalls.

A shard in the dead letters, or one whose message was lost, would keep instances running for ever.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from delivery.broker.base import Broker
from delivery.reconciler import NAMED, Reconciler
from delivery.stall_detector import StallAction, StallDetector, activity_fingerprint
from delivery.state_roots import StateRoots
from infra.queue_runs import OpenRun
from memmodel.run_context import tier_chooser
from runtime import log, log_events
from runtime.errors import ShardliftError
from runtime.storage import open_storage
from runtime.text import join_first

LEAST_LEASE_S: Final = 150.0  # a new instance may need minutes to fetch its image

_log = log.get()


class RunCare:
    """Reconciles the runs of one queue; they stall together, for they share their workers.

    Args:
        open_broker: the queue with these tiers.
        roots: state roots of the runs.
        clock: monotonic seconds.

    Attributes:
        given_up: why the runs are given up; None while there is hope.
    """

    def __init__(
        self,
        open_broker: Callable[[Sequence[str]], Broker],
        roots: Sequence[str],
        clock: Callable[[], float],
    ) -> None:
        self.given_up: str | None = None
        self._open_broker = open_broker
        self._roots = roots
        self._clock = clock
        self._broker = open_broker(())
        self._reconciler = Reconciler(self._broker, tier_chooser)
        lease_s = max(LEAST_LEASE_S, self._broker.lease_s)
        self._detector = StallDetector(lease_s, clock())
        self._abandoned: frozenset[str] = frozenset()
        self._stopped = False  # all instances, since then

    def drain(self) -> None:
        """Drain the dead letters into the ledgers of their runs."""
        roots = StateRoots(self._broker, self._roots)
        try:
            drained = self._reconciler.drain(open_storage(self._roots[0]), roots)
        except ShardliftError as error:
            _log.warning(log_events.SUPERVISION_FAILED, reason=str(error))
            return
        for _, key in drained.keys:
            _log.info(log_events.DEAD_LETTER_DRAINED, shard=key)

    def mend(self, runs: Sequence[OpenRun], counts: Mapping[str, int]) -> None:
        """Publish missed dependents; publish again, or give up, where nothing is heard.

        Args:
            runs: unfinished ones.
            counts: instances by tier; new ones are given time to start.
        """
        self._serve({tier for one in runs for tier in one.run.info.tiers})
        heard = [(one.run.uri, activity_fingerprint(one.status, one.heartbeats)) for one in runs]
        # Whether a tier runs, not how far: messages published again raise the number, too.
        fingerprint = (tuple(heard), tuple(sorted(name for name in counts if counts[name])))
        action = self._detector.observe(fingerprint, self._clock())
        try:
            for one in runs:
                self._reconciler.publish_dependents(one.run, one.status)
                if action is StallAction.REPUBLISH:
                    again = self._reconciler.publish_ready(one.run, one.status)
                    _log.warning(
                        log_events.SHARDS_REPUBLISHED, run=one.run.run_id, shards=len(again)
                    )
        except ShardliftError as error:
            _log.warning(log_events.SUPERVISION_FAILED, reason=str(error))
        if action is StallAction.GIVE_UP and runs:
            self._give_up(runs)

    def gives_up(self, runs: Sequence[OpenRun], counts: Mapping[str, int]) -> bool:
        """Whether these are the runs that were given up.

        Another run brings new hope, and so do instances that a command starts after all were
        stopped.

        Args:
            runs: unfinished ones.
            counts: instances by tier.
        """
        running = any(counts.values())
        if not {one.run.uri for one in runs} <= self._abandoned or (self._stopped and running):
            self._abandoned, self.given_up, self._stopped = frozenset(), None, False
        elif self._abandoned and not running:
            self._stopped = True
        return bool(self._abandoned)

    def backlog(self, tiers: Sequence[str]) -> dict[str, int | None]:
        """Messages that are not acked, by the metrics."""
        known = [tier for tier in tiers if tier in self._broker.tiers]
        return {tier: self._broker.backlog(tier).waiting for tier in known}

    def close(self) -> None:
        """Close the connections."""
        self._broker.close()

    def _serve(self, tiers: set[str]) -> None:
        """Open the queue anew where a run has a tier that it was not opened with."""
        if not tiers <= set(self._broker.tiers):
            old, self._broker = self._broker, self._open_broker((*self._broker.tiers, *tiers))
            old.close()
            self._reconciler = Reconciler(self._broker, tier_chooser)

    def _give_up(self, runs: Sequence[OpenRun]) -> None:
        quiet_s = self._detector.quiet_s
        named = join_first([one.run.run_id for one in runs], NAMED)
        self.given_up = (
            f"nothing was heard of any worker for three times {quiet_s:.0f} s although shards were "
            f"published again: {named}"
        )
        self._abandoned = frozenset(one.run.uri for one in runs)
        for one in runs:
            _log.error(log_events.RUN_STALLED, run=one.run.run_id, reason=self.given_up)
