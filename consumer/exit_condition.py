"""Exit conditions: runs have ended (`--until-drained`), or no message came (`--until-idle`)."""

import shlex
import time
from collections.abc import Callable

from consumer.run_supervisor import RunSupervisor
from delivery.broker.base import Broker
from runtime.errors import ShardliftError, UnreachableError


class RunsFailed(ShardliftError):  # noqa: N818 - an outcome of the runs
    """Runs ended, or were given up, with shards that are not done."""


class ShardsOutOfSight(UnreachableError):  # noqa: N818 - an outcome of the runs
    """Shards are left in queues that these workers do not serve."""


class ExitCondition:
    """Met when every known run is over; if none is known, when the queues stay empty for a lease.

    Args:
        broker: the queues.
        supervisor: of the runs.
        busy: whether any worker of this process has a shard; for queues that report no numbers.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        broker: Broker,
        supervisor: RunSupervisor,
        busy: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broker = broker
        self._supervisor = supervisor
        self._busy = busy
        self._clock = clock
        self._empty_since_s: float | None = None

    def should_exit(self) -> bool:
        """Supervise the runs once; whether the condition is met."""
        self._supervisor.tick()
        if not self._supervisor.none_known:
            return self._supervisor.all_over
        if not self._empty():
            self._empty_since_s = None
            return False
        if self._empty_since_s is None:
            self._empty_since_s = self._clock()
        return self._clock() - self._empty_since_s > self._broker.lease_s

    def resume(self) -> None:
        """Go on after this process was frozen."""
        self._empty_since_s = None
        self._supervisor.resume()

    def raise_for_failures(self, trouble: str | None = None) -> None:
        """Raise an error if any supervised run failed, was given up, or is out of sight.

        Args:
            trouble: what kept workers from their work, where it is known.

        Raises:
            RunsFailed: shards are not done.
            ShardsOutOfSight: shards are left in other queues.
        """
        reasons = [*self._supervisor.given_up.values(), *self._supervisor.failed.values()]
        if self._supervisor.given_up:
            if trouble:
                reasons.append(f"what kept its workers from it: {trouble}")
            hint = "start workers for their tiers: python -m consumer fleet"
        else:
            failed = "".join(f" --run {shlex.quote(uri)}" for uri in [*self._supervisor.failed][:1])
            hint = f"python -m producer errors{failed} shows why; dead-letters requeue tries again"
        if reasons:
            raise RunsFailed("; ".join(reasons), hint)
        if left := self._supervisor.out_of_sight:
            texts = [f"{n:,} shard{'' if n == 1 else 's'} {where}" for where, n in left.items()]
            raise ShardsOutOfSight(
                f"left in queues that were not served: {'; '.join(texts)}",
                hint="python -m consumer fleet without --queue and QUEUE_URL takes the run's queue",
            )

    def _empty(self) -> bool:
        backlogs = [self._broker.backlog(tier) for tier in self._broker.tiers]
        return not self._busy() and not any(b.waiting or b.leased for b in backlogs)


class IdleTimeout:
    """Met when this worker had nothing to do for some time, whatever the ledger says.

    For platforms that start workers and pay for them until they end.

    Args:
        timeout_s: time without a message; None is never.
        clock: monotonic seconds.
    """

    def __init__(
        self, timeout_s: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._timeout_s = timeout_s
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Begin anew: the worker got or finished a shard."""
        self._since_s = self._clock()

    @property
    def met(self) -> bool:
        """Whether the worker has been idle for so long."""
        return self._timeout_s is not None and self._clock() - self._since_s >= self._timeout_s
