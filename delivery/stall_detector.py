"""Stall detection: republish after two quiet leases, give up after two republishes.

A run stalls when its messages are lost or no worker serves its queues. Activity is a new receipt,
failure or heartbeat.
"""

from collections.abc import Hashable, Iterable
from enum import Enum, auto
from typing import Final

from delivery.ledger.run import Heartbeat
from delivery.ledger.shard_status import RunStatus

QUIET_LEASES: Final = 2
MOST_REPUBLISHES: Final = 2


class StallAction(Enum):
    """What the detector advises."""

    WAIT = auto()
    REPUBLISH = auto()
    GIVE_UP = auto()


class StallDetector:
    """Detects that a run makes no progress; knows neither run nor broker.

    Args:
        lease_s: how long a lease lasts.
        now_s: a monotonic clock's time.

    Attributes:
        republishes: REPUBLISH actions since the last activity.
    """

    def __init__(self, lease_s: float, now_s: float) -> None:
        self.quiet_s = QUIET_LEASES * lease_s
        self.republishes = 0
        self._since_s = now_s
        self._fingerprint: Hashable = None

    def restart(self, now_s: float) -> None:
        """Begin to wait anew: the observer itself was frozen, so silence proves nothing."""
        self._since_s = now_s

    def observe(self, fingerprint: Hashable, now_s: float) -> StallAction:
        """The action for a fingerprint that changes with any activity."""
        if fingerprint != self._fingerprint:
            self._fingerprint, self._since_s, self.republishes = fingerprint, now_s, 0
        if now_s - self._since_s < self.quiet_s:
            return StallAction.WAIT
        if self.republishes >= MOST_REPUBLISHES:
            return StallAction.GIVE_UP
        self._since_s = now_s
        self.republishes += 1
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
