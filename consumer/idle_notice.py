"""Notice of a worker without work: on which other tiers shards wait, or that no run is found."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from consumer.run_discovery import RunDiscovery
from delivery.broker.base import DEAD
from delivery.ledger.shard_status import read_status
from delivery.progress import ready_by_tier
from memmodel.run_context import tier_chooser
from runtime import log, log_events
from runtime.errors import ShardliftError

FIRST_S: Final = 10.0  # without work, before the first notice
MOST_S: Final = 600.0  # between two notices; the pause doubles, because each reads the ledger

_log = log.get()


class IdleNotice:
    """Logs once in a while, while a worker has no work, why it has none.

    Args:
        tier: that the worker serves.
        discovery: of its runs.
        clock: monotonic seconds.
    """

    def __init__(
        self, tier: str, discovery: RunDiscovery, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tier = tier
        self._discovery = discovery
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Begin anew: the worker got or finished a shard."""
        self._pause_s = FIRST_S
        self._due_s = self._clock() + FIRST_S

    def tick(self) -> None:
        """Log, if a notice is due and shards wait on other tiers alone, or no run is found."""
        if self._clock() < self._due_s:
            return
        self._pause_s = min(MOST_S, 2 * self._pause_s)
        self._due_s = self._clock() + self._pause_s
        with contextlib.suppress(ShardliftError):  # a notice only informs
            if reason := self._reason():
                _log.info(log_events.WORKER_IDLE, tier=self._tier, reason=reason)

    def _reason(self) -> str | None:
        """Where shards wait; None if nowhere, or on the worker's own tier."""
        counted: Counter[str] = Counter()
        runs = self._discovery.refresh()
        if missing := self._discovery.missing():
            return missing
        for run in runs:
            if not run.cancelled():
                counted.update(ready_by_tier(run, read_status(run), tier_chooser(run)))
        del counted[DEAD]
        if not counted or self._tier in counted:
            return None
        waits = ", ".join(
            f"{number:,} shard{'' if number == 1 else 's'} at {tier}"
            for tier, number in counted.items()
        )
        return f"nothing for {self._tier}; ready: {waits}"
