"""Administrative calls to Pub/Sub with retries and translated errors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import google.auth.exceptions
from google.api_core import exceptions as api
from google.api_core.retry import Retry, if_exception_type
from google.pubsub_v1 import PublisherClient, SubscriberClient

from delivery.broker.pubsub import ours
from runtime import settings

CALL_S: Final = 20.0  # deadline of one attempt
_POLICY_TRANSIENT: Final = (api.ServiceUnavailable, api.DeadlineExceeded)
_TRANSIENT: Final = (*_POLICY_TRANSIENT, api.Aborted)
T = TypeVar("T")


class PubSubAdmin:
    """Client for topics, subscriptions and their policies, by full resource name.

    Args:
        url: of the queue, for error messages.
        publisher: client of Google's library; None for a new one.
        subscriber: likewise.
    """

    def __init__(
        self,
        url: str,
        publisher: Any = None,  # noqa: ANN401 - Google publishes no types
        subscriber: Any = None,  # noqa: ANN401 - the same
    ) -> None:
        self._url = url
        with self._translate_errors():
            self._publisher: Any = publisher or PublisherClient()
            self._subscriber: Any = subscriber or SubscriberClient()

    def topic_exists(self, name: str) -> bool:
        """Whether a topic exists."""
        return (
            self._or_none(lambda: self._call(self._publisher.get_topic, {"topic": name}))
            is not None
        )

    def create_topic(self, name: str) -> None:
        """Create a topic; an existing one is kept."""
        self._ignoring(
            lambda: self._call(self._publisher.create_topic, {"name": name}), api.AlreadyExists
        )

    def delete_topic(self, name: str) -> None:
        """Delete a topic, if it exists."""
        self._ignoring(
            lambda: self._call(self._publisher.delete_topic, {"topic": name}), api.NotFound
        )

    def topics(self, project: str) -> Iterator[str]:
        """Names of all topics of a project."""
        request = {"project": f"projects/{project}"}
        with self._translate_errors():
            for topic in self._call(self._publisher.list_topics, request):
                yield topic.name

    def subscription(self, name: str) -> Any:  # noqa: ANN401 - untyped
        """Read a subscription; None if it does not exist."""
        return self._or_none(
            lambda: self._call(self._subscriber.get_subscription, {"subscription": name})
        )

    def create_subscription(self, name: str, topic: str, fields: Mapping[str, object]) -> None:
        """Create a subscription; an existing one is kept."""
        request = {"name": name, "topic": topic, **fields}
        self._ignoring(
            lambda: self._call(self._subscriber.create_subscription, request), api.AlreadyExists
        )

    def update_subscription(self, name: str, topic: str, fields: Mapping[str, object]) -> None:
        """Set fields of a subscription; the others stay."""
        request = {
            "subscription": {"name": name, "topic": topic, **fields},
            "update_mask": {"paths": list(fields)},
        }
        with self._translate_errors():
            self._call(self._subscriber.update_subscription, request)

    def delete_subscription(self, name: str) -> None:
        """Delete a subscription, if it exists."""
        self._ignoring(
            lambda: self._call(self._subscriber.delete_subscription, {"subscription": name}),
            api.NotFound,
        )

    def subscriptions(self, project: str) -> Iterator[str]:
        """Names of all subscriptions of a project."""
        request = {"project": f"projects/{project}"}
        with self._translate_errors():
            for subscription in self._call(self._subscriber.list_subscriptions, request):
                yield subscription.name

    def policy(self, resource: str) -> Any:  # noqa: ANN401 - untyped
        """IAM policy of a topic or subscription; None if it does not exist."""
        return self._or_none(
            lambda: self._call(self._client(resource).get_iam_policy, {"resource": resource})
        )

    def set_policy(self, resource: str, policy: Any) -> bool:  # noqa: ANN401 - untyped
        """Replace an IAM policy; False if it changed since it was read (compared by etag)."""
        request = {"resource": resource, "policy": policy}
        with self._translate_errors():
            try:
                self._call(self._client(resource).set_iam_policy, request, _POLICY_TRANSIENT)
            except api.Aborted:  # also by this call, if its answer was lost
                return False
            return True

    def held(self, resource: str, permissions: Sequence[str]) -> set[str]:
        """Those of some permissions that the caller has; all if the resource does not exist."""
        request = {"resource": resource, "permissions": list(permissions)}
        answer = self._or_none(
            lambda: self._call(self._client(resource).test_iam_permissions, request)
        )
        return set(permissions if answer is None else answer.permissions)

    def close(self) -> None:
        """Close the connections."""
        self._publisher.transport.close()
        self._subscriber.transport.close()

    def _client(self, resource: str) -> Any:  # noqa: ANN401 - untyped
        return self._publisher if "/topics/" in resource else self._subscriber

    @staticmethod
    def _call(
        method: Callable[..., T],
        request: Mapping[str, object],
        transient: Sequence[type[Exception]] = _TRANSIENT,
    ) -> T:
        limit_s = settings.storage_retry_s()
        passing = if_exception_type(*transient)
        retry = Retry(predicate=passing, initial=0.25, maximum=10, timeout=limit_s)
        return method(request=request, timeout=CALL_S, retry=retry if limit_s else None)

    def _or_none(self, request: Callable[[], T]) -> T | None:
        with self._translate_errors():
            try:
                return request()
            except api.NotFound:
                return None

    def _ignoring(self, act: Callable[[], object], harmless: type[Exception]) -> None:
        with self._translate_errors():
            try:
                act()
            except harmless:
                return

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (
            api.GoogleAPICallError,
            api.RetryError,
            google.auth.exceptions.GoogleAuthError,
        ) as error:
            raise ours(error, self._url) from error
