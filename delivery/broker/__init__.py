"""Brokers: queues, one per tier, in embedded SQLite or on Google Pub/Sub."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from delivery.broker.base import Broker
from delivery.broker.embedded import EmbeddedBroker
from runtime.errors import UsageError
from runtime.urls import resolve_path

SQLITE: Final = "sqlite:"
PUBSUB: Final = "pubsub://"


def open_broker(url: str, tiers: Sequence[str], lease_s: float) -> Broker:
    """The broker at `url`: `sqlite:PATH` or `pubsub://PROJECT/PREFIX`.

    Args:
        url: which queues.
        tiers: names of the tiers, smallest first.
        lease_s: how long a lease lasts without being extended.

    Raises:
        UsageError: the URL is not a broker's, or the queue cannot be used there.
    """
    if url.startswith(PUBSUB):
        from delivery.broker.pubsub import PubSubBroker  # noqa: PLC0415 - half a second of imports

        return PubSubBroker(url, tiers, lease_s)
    return EmbeddedBroker(queue_path(url), tiers, lease_s)


def absolute_queue_url(url: str) -> str:
    """The same queue, as any process can open it from any directory."""
    return url if url.startswith(PUBSUB) else f"{SQLITE}{queue_path(url)}"


def queue_path(url: str) -> Path:
    """The file of an embedded queue.

    Raises:
        UsageError: the URL is not an embedded queue's.
    """
    if not url.startswith(SQLITE) or url == SQLITE:
        raise UsageError(
            f"{url!r} is not a queue",
            hint="set QUEUE_URL or --queue to sqlite:PATH or pubsub://PROJECT/PREFIX",
        )
    path = url.removeprefix(SQLITE)
    if path.startswith("//"):  # as in sqlite:///home/me/queue.db
        path = "/" + path.lstrip("/")
    return resolve_path(path)
