"""The contract of a broker: one queue per memory tier, and one more for dead letters.

Delivery is at least once. A lease that is not acked in time ends and the message is delivered
again; the fifth delivery that ends without an ack moves it to the next tier, on the last tier to
the dead letters. That is a backstop for workers that die silently: whoever knows better hands
over. A queue carries work and is never asked what is done, which is the ledger's word.

All methods may be called from several threads. Trouble with the service is retried inside and
ends as `UnreachableError`; what only another setting can mend is a `UsageError`.
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
    """One message, leased to us.

    Attributes:
        tier: the queue it came from.
        data: the message's bytes, unread.
        attributes: what travels beside them.
        attempt: the how-manieth delivery on this tier, from 1; approximate on Pub/Sub.
        token: proves the lease to the broker.
        received_s: `time.monotonic()` when the lease began, at the latest.
    """

    tier: str
    data: bytes
    attributes: Mapping[str, str]
    attempt: int
    token: str
    received_s: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """What one queue holds; None means unknown, never zero.

    Attributes:
        waiting: messages to be delivered (Pub/Sub counts leased ones too).
        leased: messages that somebody works on.
        oldest_s: age of the oldest message not acked, in seconds; None too when there is none.
    """

    waiting: int | None = None
    leased: int | None = None
    oldest_s: float | None = None

    @property
    def known(self) -> bool:
        """Whether the broker could tell."""
        return self.waiting is not None


class Broker(ABC):
    """Queues behind one URL."""

    url: str
    """Absolute: any process may open the same queues with it."""

    one_machine: ClassVar[bool] = False
    """Whether all workers of these queues run on this machine, so that what it has is all."""

    def __init__(self, tiers: Sequence[str], lease_s: float) -> None:
        if not tiers:
            raise UsageError("a broker needs at least one tier")
        self.tiers = tuple(tiers)
        self.lease_s = lease_s

    @abstractmethod
    def publish(self, tier: str, messages: Sequence[ShardMessage]) -> None:
        """Add messages in this order; returns when the broker has confirmed every one."""

    @abstractmethod
    def lease(self, tier: str, wait_s: float = 0.0) -> Delivery | None:
        """One message for `lease_s` seconds; None when none came within `wait_s`.

        None does not prove that the queue is empty.
        """

    @abstractmethod
    def extend(self, delivery: Delivery) -> bool:
        """Let the lease end `lease_s` from now; False: it is lost.

        Pub/Sub cannot tell and says True: only the worker's own clock is to be trusted.
        """

    @abstractmethod
    def ack(self, delivery: Delivery) -> bool:
        """The message is done with. False: the lease was lost and nothing happened."""

    @abstractmethod
    def nack(self, delivery: Delivery) -> bool:
        """Give the message back at once, which counts as a delivery; False as in `ack`."""

    def hand_over(self, delivery: Delivery, tier: str, message: ShardMessage) -> bool:
        """Publish `message` to `tier`, wait for it, then ack; so it is never nowhere.

        To the same tier this gives a message back without counting a delivery. The message is
        published even if the lease was lost, which is harmless; then False.
        """
        self.publish(tier, [message])
        return self.ack(delivery)

    @abstractmethod
    def backlog(self, tier: str) -> Backlog:
        """What the queue holds, where the broker can tell."""

    @abstractmethod
    def seek(self, tier: str, to: datetime) -> None:
        """Deliver everything published from `to` on again, acked or not, and drop all before."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the service; leases end by themselves."""

    def next_tier(self, tier: str) -> str:
        """The tier after this one; after the last, the dead letters."""
        self.check_tier(tier)
        at = (*self.tiers, DEAD).index(tier)
        return (*self.tiers, DEAD, DEAD)[at + 1]

    def check_tier(self, tier: str) -> None:
        """Refuse a tier that has no queue here, where a message would wait for ever."""
        if tier != DEAD and tier not in self.tiers:
            raise UsageError(
                f"no queue for tier {tier}: {self.url} has {', '.join(self.tiers)}",
                hint="set TIERS or --tiers to what the run was enqueued with",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
