"""Contract of a broker: one queue per memory tier, and one for dead letters.

Delivery is at least once. A lease that is not acked in time expires, and the message is delivered
again; the fifth delivery that ends without an ack moves it to the next tier, on the last tier to
the dead letters. That is a backstop for workers that die silently: workers that can classify a
failure call `hand_over`. Queues are never consulted for completion; the ledger is.

All methods are thread-safe. Errors of the service are retried and then raised as
`UnreachableError`; an error that only another setting can mend is a `UsageError`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final, Self

from delivery.messages import ShardMessage
from runtime.errors import UsageError

DEAD: Final = "dead"
MAX_DELIVERIES: Final = 5  # on one tier; the fewest that Pub/Sub allows
RETENTION_S: Final = 7 * 86_400  # how long acked messages can be brought back by `seek`
DEAD_LETTER_SOURCE: Final = "CloudPubSubDeadLetterSource"  # begins the names of its attributes


@dataclass(frozen=True, slots=True)
class Delivery:
    """One leased message.

    Attributes:
        tier: the queue it came from.
        data: the message's bytes, not decoded.
        attributes: of the message.
        attempt: delivery attempt on this tier, starting at 1; approximate on Pub/Sub.
        token: identifies the lease to the broker.
        received_s: `runtime.clock.uptime_s()` when the lease began, or a moment later.
    """

    tier: str
    data: bytes
    attributes: Mapping[str, str]
    attempt: int
    token: str
    received_s: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """Backlog of one queue; None means unknown, never zero.

    Attributes:
        waiting: messages to be delivered (Pub/Sub counts leased ones too).
        leased: messages under a lease.
        oldest_s: age in seconds of the oldest message not acked; None also if there is none.
    """

    waiting: int | None = None
    leased: int | None = None
    oldest_s: float | None = None

    @property
    def known(self) -> bool:
        """Whether the broker knows the number of waiting messages."""
        return self.waiting is not None


class Broker(ABC):
    """Queues behind one URL."""

    url: str
    """Absolute, so that any process can open the same queues with it."""

    one_machine: ClassVar[bool] = False
    """Whether all workers of these queues run on this machine, within its memory."""

    names_state_roots: bool = False
    """Whether the queues themselves tell, in a way to be believed, whose runs they carry."""

    def __init__(self, tiers: Sequence[str], lease_s: float) -> None:
        if not tiers:
            raise UsageError("a broker needs at least one tier")
        self.tiers = tuple(tiers)
        self.lease_s = lease_s

    @abstractmethod
    def publish(self, tier: str, messages: Sequence[ShardMessage]) -> None:
        """Publish messages in this order; returns after the broker has confirmed every one."""

    @abstractmethod
    def lease(self, tier: str, wait_s: float = 0.0) -> Delivery | None:
        """Lease one message for `lease_s` seconds; None if none came within `wait_s`.

        None does not prove that the queue is empty.
        """

    @abstractmethod
    def extend(self, delivery: Delivery) -> bool:
        """Extend the lease to `lease_s` from now; False if it is lost.

        Pub/Sub returns True also for a lost lease: only the worker's own clock is reliable.
        """

    @abstractmethod
    def ack(self, delivery: Delivery) -> bool:
        """Acknowledge the message; False if the lease was lost, without any effect."""

    @abstractmethod
    def nack(self, delivery: Delivery) -> bool:
        """Return the message to its queue now, which counts as a delivery; False as in `ack`."""

    def hand_over(self, delivery: Delivery, tier: str, message: ShardMessage) -> bool:
        """Publish `message` to `tier`, wait for confirmation, then ack; False as in `ack`.

        At any time at least one of the two messages exists. To the same tier, this releases a
        message without counting a delivery. With a lost lease the message is published all the
        same, a harmless duplicate.
        """
        self.publish(tier, [message])
        return self.ack(delivery)

    def set_aside(self, delivery: Delivery) -> bool:
        """Move bytes that are not a message to the dead letters; False as in `ack`.

        For workers that know no state root to keep them under. Where every worker knows one, this
        only returns them to their queue.
        """
        return self.nack(delivery)

    def state_roots(self) -> tuple[str, ...]:
        """URLs of the state roots whose runs were enqueued here, as far as it is believed."""
        return ()

    def add_state_root(self, url: str) -> None:  # noqa: B027 - most brokers keep no settings
        """Note that runs below this state root are enqueued here; called by who enqueues one."""

    def check(self) -> None:  # noqa: B027 - most brokers have nothing to check
        """Check that every queue exists, before anything relies on it.

        Raises:
            UsageError: a queue cannot be used.
            UnreachableError: a queue does not exist, or the service cannot be reached.
        """

    @abstractmethod
    def backlog(self, tier: str) -> Backlog:
        """The queue's backlog, as far as the broker knows it."""

    @abstractmethod
    def seek(self, tier: str, to: datetime) -> None:
        """Deliver again everything published from `to` on, acked or not; drop everything before."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection; leases expire by themselves."""

    def check_tier(self, tier: str) -> None:
        """Raise UsageError for a tier without a queue, where no worker would take a message."""
        if tier != DEAD and tier not in self.tiers:
            raise UsageError(
                f"no queue for tier {tier}: {self.url} has {', '.join(self.tiers)}",
                hint="set TIERS or --tiers to what the run was enqueued with",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
