"""When a worker or fleet that works until all is drained may end."""

import time
from collections.abc import Callable

from consumer.run_supervisor import RunSupervisor
from delivery.broker.base import Broker
from runtime.errors import ShardliftError


class RunsFailed(ShardliftError):  # noqa: N818 - what is said at the end
    """Runs ended, or had to be given up, with shards that are not done."""


class ExitCondition:
    """Over when every known run has ended; knowing none, when the queues stayed empty.

    Args:
        broker: the queues.
        vigil: looks after the runs.
        busy: whether any of our own workers has a shard; for queues that tell no numbers.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        broker: Broker,
        vigil: RunSupervisor,
        busy: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broker = broker
        self._vigil = vigil
        self._busy = busy
        self._clock = clock
        self._empty_since_s: float | None = None

    def look(self) -> bool:
        """Look after the runs; whether it is time to end."""
        self._vigil.look()
        if not self._vigil.none_known:
            return self._vigil.over
        if not self._empty():
            self._empty_since_s = None
            return False
        if self._empty_since_s is None:
            self._empty_since_s = self._clock()
        return self._clock() - self._empty_since_s > self._broker.lease_s

    def check(self) -> None:
        """At the end: raise what is to be said, if not all went well.

        Raises:
            RunsFailed: shards are not done.
        """
        said = [*self._vigil.given_up.values(), *self._vigil.failed.values()]
        if self._vigil.given_up:
            hint = "start workers for their tiers: python -m consumer fleet"
        else:
            hint = "python -m producer errors shows why; dead-letters requeue tries again"
        if said:
            raise RunsFailed("; ".join(said), hint)

    def _empty(self) -> bool:
        backlogs = [self._broker.backlog(tier) for tier in self._broker.tiers]
        return not self._busy() and not any(b.waiting or b.leased for b in backlogs)
