"""Pub/Sub's administrative calls, retried, with errors that say what to do."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import google.auth.exceptions
from google.api_core import exceptions as api
from google.api_core.retry import Retry, if_exception_type
from google.pubsub_v1 import PublisherClient, SubscriberClient

from delivery.broker.pubsub import ours
from runtime import settings

CALL_S: Final = 20.0  # deadline of one try
T = TypeVar("T")


class PubSubAdmin:
    """Topics, subscriptions and who may use them, by their full names.

    Args:
        url: the queue's, for errors.
        publisher: Google's client; None makes one.
        subscriber: the same.
    """

    def __init__(
        self,
        url: str,
        publisher: Any = None,  # noqa: ANN401 - Google publishes no types
        subscriber: Any = None,  # noqa: ANN401 - the same
    ) -> None:
        self._url = url
        with self._translated():
            self._publisher: Any = publisher or PublisherClient()
            self._subscriber: Any = subscriber or SubscriberClient()

    def topic_exists(self, name: str) -> bool:
        """Whether there is such a topic."""
        return (
            self._found(lambda: self._call(self._publisher.get_topic, {"topic": name})) is not None
        )

    def create_topic(self, name: str) -> None:
        """Make it, unless somebody else just did."""
        self._tolerated(
            lambda: self._call(self._publisher.create_topic, {"name": name}), api.AlreadyExists
        )

    def delete_topic(self, name: str) -> None:
        """Remove it, unless somebody else just did."""
        self._tolerated(
            lambda: self._call(self._publisher.delete_topic, {"topic": name}), api.NotFound
        )

    def topics(self, project: str) -> Iterator[str]:
        """The names of all topics of the project."""
        request = {"project": f"projects/{project}"}
        with self._translated():
            for topic in self._call(self._publisher.list_topics, request):
                yield topic.name

    def subscription(self, name: str) -> Any:  # noqa: ANN401 - untyped
        """The subscription as Pub/Sub has it; None if there is none."""
        return self._found(
            lambda: self._call(self._subscriber.get_subscription, {"subscription": name})
        )

    def create_subscription(self, name: str, topic: str, fields: Mapping[str, object]) -> None:
        """Make it, unless somebody else just did."""
        request = {"name": name, "topic": topic, **fields}
        self._tolerated(
            lambda: self._call(self._subscriber.create_subscription, request), api.AlreadyExists
        )

    def update_subscription(self, name: str, topic: str, fields: Mapping[str, object]) -> None:
        """Set these fields; the others stay."""
        request = {
            "subscription": {"name": name, "topic": topic, **fields},
            "update_mask": {"paths": list(fields)},
        }
        with self._translated():
            self._call(self._subscriber.update_subscription, request)

    def delete_subscription(self, name: str) -> None:
        """Remove it, unless somebody else just did."""
        self._tolerated(
            lambda: self._call(self._subscriber.delete_subscription, {"subscription": name}),
            api.NotFound,
        )

    def subscriptions(self, project: str) -> Iterator[str]:
        """The names of all subscriptions of the project."""
        request = {"project": f"projects/{project}"}
        with self._translated():
            for subscription in self._call(self._subscriber.list_subscriptions, request):
                yield subscription.name

    def policy(self, resource: str) -> Any:  # noqa: ANN401 - untyped
        """Who may use a topic or subscription; None if it does not exist."""
        return self._found(
            lambda: self._call(self._client(resource).get_iam_policy, {"resource": resource})
        )

    def set_policy(self, resource: str, policy: Any) -> None:  # noqa: ANN401 - untyped
        """Replace it; refused if another changed it since it was read (its etag tells)."""
        request = {"resource": resource, "policy": policy}
        with self._translated():
            self._call(self._client(resource).set_iam_policy, request)

    def close(self) -> None:
        """Close the connections."""
        self._publisher.transport.close()
        self._subscriber.transport.close()

    def _client(self, resource: str) -> Any:  # noqa: ANN401 - untyped
        return self._publisher if "/topics/" in resource else self._subscriber

    @staticmethod
    def _call(method: Callable[..., T], request: Mapping[str, object]) -> T:
        limit_s = settings.storage_retry_s()
        passing = if_exception_type(api.ServiceUnavailable, api.DeadlineExceeded, api.Aborted)
        retry = Retry(predicate=passing, initial=0.25, maximum=10, timeout=limit_s)
        return method(request=request, timeout=CALL_S, retry=retry if limit_s else None)

    def _found(self, ask: Callable[[], T]) -> T | None:
        with self._translated():
            try:
                return ask()
            except api.NotFound:
                return None

    def _tolerated(self, act: Callable[[], object], harmless: type[Exception]) -> None:
        with self._translated():
            try:
                act()
            except harmless:
                return

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (
            api.GoogleAPICallError,
            api.RetryError,
            google.auth.exceptions.GoogleAuthError,
        ) as error:
            raise ours(error, self._url) from error
