"""What shall exist, as data: nothing here talks to the cloud.

Each tier has a topic and a subscription. A message that five workers took without an ack moves to
the next tier's topic, on the last tier to the dead letters, which have a subscription too, since a
topic without one loses what is published to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from delivery.broker.base import DEAD, MAX_DELIVERIES, RETENTION_S
from delivery.broker.pubsub_names import PubSubNames

LEAST_DEADLINE_S: Final = 10  # of an ack, by Pub/Sub's rules; the most is LEASE_S's own limit
BACKOFF_S: Final = (10, 120)  # a message that killed a worker waits before it meets the next
PUBLISHER: Final = "roles/pubsub.publisher"
SUBSCRIBER: Final = "roles/pubsub.subscriber"


@dataclass(frozen=True, slots=True)
class Queue:
    """A topic with its one subscription; all names in full.

    Attributes:
        topic: where messages of the tier are published.
        subscription: where its workers take them.
        ack_deadline_s: how long a message is kept from others before the worker says more.
        dead_letter_topic: where a message goes that nobody acks; None for the dead letters.
    """

    topic: str
    subscription: str
    ack_deadline_s: int
    dead_letter_topic: str | None

    def settings(self, *, emulator: bool) -> dict[str, object]:
        """What the subscription shall be set to, under Pub/Sub's own field names.

        Args:
            emulator: leave out the retry policy, with which Google's emulator stalls for good
                after a late ack.
        """
        found: dict[str, object] = {
            "ack_deadline_seconds": self.ack_deadline_s,
            "message_retention_duration": {"seconds": RETENTION_S},
            "retain_acked_messages": True,  # else a replay finds nothing
            "expiration_policy": {},  # never; the default forgets it after 31 idle days
        }
        if self.dead_letter_topic:
            found["dead_letter_policy"] = {
                "dead_letter_topic": self.dead_letter_topic,
                "max_delivery_attempts": MAX_DELIVERIES,
            }
        if not emulator:
            least, most = BACKOFF_S
            found["retry_policy"] = {
                "minimum_backoff": {"seconds": least},
                "maximum_backoff": {"seconds": most},
            }
        return found


@dataclass(frozen=True, slots=True)
class Binding:
    """A role that an account has on a resource; the resource's name in full."""

    resource: str
    role: str
    member: str


def queues(names: PubSubNames, tiers: Sequence[str], lease_s: int) -> tuple[Queue, ...]:
    """All queues in the order in which they can be made: each after the one it hands on to.

    Args:
        names: of the queue URL.
        tiers: their names, smallest first.
        lease_s: the ack deadline, raised to the least that Pub/Sub takes.
    """
    chain = [*tiers, DEAD]
    deadline_s = max(lease_s, LEAST_DEADLINE_S)
    made = [
        Queue(
            topic=names.topic(tier),
            subscription=names.subscription(tier),
            ack_deadline_s=deadline_s,
            dead_letter_topic=names.topic(after) if after else None,
        )
        for tier, after in zip(chain, [*chain[1:], None], strict=True)
    ]
    return tuple(reversed(made))


def bindings(wanted: Sequence[Queue], project_number: int) -> tuple[Binding, ...]:
    """What Pub/Sub's own account needs to move messages: without it dead letters never move."""
    agent = f"service-{project_number}@gcp-sa-pubsub.iam.gserviceaccount.com"
    member = f"serviceAccount:{agent}"
    return tuple(
        Binding(resource, role, member)
        for queue in wanted
        if queue.dead_letter_topic
        for resource, role in (
            (queue.dead_letter_topic, PUBLISHER),
            (queue.subscription, SUBSCRIBER),
        )
    )
