"""Desired resources as data; makes no requests.

Each tier has a topic and a subscription. A message that was delivered five times without an ack
moves to the next tier's topic, on the last tier to the dead letters. These have a subscription too,
since a topic without one loses its messages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from delivery.broker.base import DEAD, MAX_DELIVERIES, RETENTION_S
from delivery.broker.pubsub_names import PubSubNames

LEAST_DEADLINE_S: Final = 10  # ack deadline: the minimum of Pub/Sub; LEASE_S has its own maximum
BACKOFF_S: Final = (10, 120)  # delay of a message that may have killed a worker
PUBLISHER: Final = "roles/pubsub.publisher"
SUBSCRIBER: Final = "roles/pubsub.subscriber"


@dataclass(frozen=True, slots=True)
class Queue:
    """A topic with its one subscription; full resource names.

    Attributes:
        topic: to which messages of the tier are published.
        subscription: from which its workers pull.
        ack_deadline_s: lease of a message, until the worker extends it.
        dead_letter_topic: for messages that were never acked; None for the dead letters.
    """

    topic: str
    subscription: str
    ack_deadline_s: int
    dead_letter_topic: str | None

    def settings(self, *, emulator: bool) -> dict[str, object]:
        """Desired settings of the subscription, by Pub/Sub's field names.

        Args:
            emulator: leave out the retry policy, with which Google's emulator stalls after a late
                ack.
        """
        found: dict[str, object] = {
            "ack_deadline_seconds": self.ack_deadline_s,
            "message_retention_duration": {"seconds": RETENTION_S},
            "retain_acked_messages": True,  # needed by replay
            "expiration_policy": {},  # never; by default it is deleted after 31 idle days
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
    """Role of an account on a resource; full resource name."""

    resource: str
    role: str
    member: str

    @property
    def is_of_queue(self) -> bool:
        """Whether the resource is a topic or a subscription."""
        return "/topics/" in self.resource or "/subscriptions/" in self.resource


def queues(names: PubSubNames, tiers: Sequence[str], lease_s: int) -> tuple[Queue, ...]:
    """Desired queues in the order of creation: each after its dead letter topic.

    Args:
        names: resource names of the queue URL.
        tiers: names, smallest first.
        lease_s: ack deadline, raised to the minimum of Pub/Sub.
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
    """Bindings of Pub/Sub's service account, without which dead letters do not move."""
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
