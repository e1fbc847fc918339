"""How long to wait for a run nobody is heard of, and what to do then.

Nothing heard for two leases: everything ready is published again, since its messages may be lost.
After two such rounds without an answer it is time to give up and say so.
"""

from collections.abc import Hashable, Iterable
from enum import Enum, auto
from typing import Final

from delivery.ledger.run import Heartbeat
from delivery.ledger.shard_status import RunStatus

QUIET_LEASES: Final = 2
ROUNDS: Final = 2


class StallAction(Enum):
    """What to do now."""

    WAIT = auto()
    REPUBLISH = auto()
    GIVE_UP = auto()


class StallDetector:
    """Fed with signs of life and a clock; knows neither run nor broker.

    Args:
        lease_s: how long a lease lasts.
        now_s: a monotonic clock's time.

    Attributes:
        rounds: how often it advised to publish again since the last sign of life.
    """

    def __init__(self, lease_s: float, now_s: float) -> None:
        self.quiet_s = QUIET_LEASES * lease_s
        self.rounds = 0
        self._since = now_s
        self._sign: Hashable = None

    def look(self, sign: Hashable, now_s: float) -> StallAction:
        """What to do, given a sign that differs whenever something was heard."""
        if sign != self._sign:
            self._sign, self._since, self.rounds = sign, now_s, 0
        if now_s - self._since < self.quiet_s:
            return StallAction.WAIT
        if self.rounds >= ROUNDS:
            return StallAction.GIVE_UP
        self._since = now_s
        self.rounds += 1
        return StallAction.REPUBLISH


def activity_fingerprint(status: RunStatus, heartbeats: Iterable[Heartbeat]) -> Hashable:
    """Changes with every receipt, failure and heartbeat."""
    receipts, failures = status.receipts.values(), status.failures.values()
    return (
        len(receipts),
        max((receipt.finished for receipt in receipts), default=None),
        len(failures),
        max((failure.at for failure in failures), default=None),
        tuple(sorted((heartbeat.worker, heartbeat.at) for heartbeat in heartbeats)),
    )
