"""Broker on Google Pub/Sub: a topic and a subscription per tier, made by `python -m infra up`.

Extending an expired lease succeeds here: `extend`, `ack` and `nack` return True although it is
lost, and False only for a lease that the service never gave.
"""
# Unary calls only: a streaming pull takes more than one message, holds them when it is slow, and
# leaves ghosts in the emulator. With unary pull the worker holds one lease and its clock guards it.

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

import google.auth.exceptions
import grpc
import tenacity
from google.api_core import exceptions as api
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.subscriber.transports.grpc import SubscriberGrpcTransport

from delivery.broker.base import DEAD, DEAD_LETTER_SOURCE, Backlog, Broker, Delivery
from delivery.broker.pubsub_names import PubSubNames
from delivery.messages import ShardMessage
from runtime import log, log_events, settings
from runtime.clock import uptime_s
from runtime.errors import ShardliftError, UnreachableError, UsageError
from runtime.google_endpoints import GoogleService, endpoint

MOST_PUBLISHED: Final = 500  # messages in one request of at most 10 MB; Pub/Sub allows 1,000
POLL_S: Final = 5.0  # deadline of one pull; longer waits take several pulls
MARGIN_S: Final = 1.0  # the emulator answers an empty pull this long before the deadline
CALL_S: Final = 20.0  # deadline of any other request
METRIC_AGE_S: Final = 30.0  # how long an answer of Cloud Monitoring, or its absence, is cached
METRIC_SPAN: Final = timedelta(minutes=10)  # it is 1 to 3 minutes late
_METRICS: Final = "pubsub.googleapis.com/subscription/"
_UNDELIVERED: Final = _METRICS + "num_undelivered_messages"
_OLDEST: Final = _METRICS + "oldest_unacked_message_age"
_SOURCE: Final = f"{DEAD_LETTER_SOURCE}Subscription"

_PASSING: Final = (
    api.Aborted,
    api.DeadlineExceeded,
    api.InternalServerError,
    api.ServiceUnavailable,
    api.TooManyRequests,
    api.Unknown,
    google.auth.exceptions.TransportError,
)

T = TypeVar("T")


class PubSubBroker(Broker):
    """Queues on Pub/Sub.

    Args:
        url: `pubsub://PROJECT/PREFIX`.
        tiers: names, smallest first.
        lease_s: how long a lease lasts, whatever the subscription says; 1 to 600.
        monitoring: client of Cloud Monitoring; None makes one when it is needed.
    """

    def __init__(
        self,
        url: str,
        tiers: Sequence[str],
        lease_s: float,
        monitoring: Any = None,  # noqa: ANN401 - Google publishes no types
    ) -> None:
        super().__init__(tiers, lease_s)
        self.names = PubSubNames.parse(url)
        self.url = self.names.url
        try:
            self._publisher: Any = PublisherClient()
            self._subscriber: Any = _subscriber()
        except google.auth.exceptions.DefaultCredentialsError as error:
            raise _no_credentials() from error
        self._metrics = _Metrics(self.names, monitoring)

    def publish(self, tier: str, messages: Sequence[ShardMessage]) -> None:
        """Publish messages, some hundred per request."""
        self.check_tier(tier)
        topic = self.names.topic(tier)
        for first in range(0, len(messages), MOST_PUBLISHED):
            group = [_encoded(message) for message in messages[first : first + MOST_PUBLISHED]]
            self._call(partial(self._publish, topic, group))

    def _publish(self, topic: str, group: list[dict[str, Any]]) -> None:
        self._publisher.publish(topic=topic, messages=group, retry=None, timeout=CALL_S)

    def lease(self, tier: str, wait_s: float = 0.0) -> Delivery | None:
        """Lease one message, by repeated pulls until `wait_s` has passed."""
        self.check_tier(tier)
        end = time.monotonic() + wait_s
        while True:
            left = max(0.0, end - time.monotonic())
            received = self._call(partial(self._pull, tier, min(left, POLL_S)))
            if received is not None:
                return self._leased(tier, received)
            if time.monotonic() >= end:
                return None

    def extend(self, delivery: Delivery) -> bool:
        """Extend the lease to `lease_s` from now; retried for a third of that at most."""
        return self._modify(delivery, round(self.lease_s), self.lease_s / 3)

    def ack(self, delivery: Delivery) -> bool:
        """Acknowledge the message."""
        name = self.names.subscription(delivery.tier)
        return self._settle(
            lambda: self._subscriber.acknowledge(
                subscription=name, ack_ids=[delivery.token], retry=None, timeout=CALL_S
            )
        )

    def nack(self, delivery: Delivery) -> bool:
        """Return the message to its queue at once."""
        return self._modify(delivery, 0)

    def backlog(self, tier: str) -> Backlog:
        """The backlog by Cloud Monitoring, some minutes old; unknown without access to it."""
        self.check_tier(tier)
        return self._metrics.backlog(tier)

    def check(self) -> None:
        """Ask for every topic and subscription; who may not ask finds out by publishing."""
        for tier in (*self.tiers, DEAD):
            topic, subscription = self.names.topic(tier), self.names.subscription(tier)
            self._check(partial(self._publisher.get_topic, topic=topic))
            self._check(partial(self._subscriber.get_subscription, subscription=subscription))

    def _check(self, request: Callable[..., object]) -> None:
        try:
            self._call(lambda: request(retry=None, timeout=CALL_S))
        except UsageError as error:
            if not isinstance(error.__cause__, api.Forbidden):
                raise

    def seek(self, tier: str, to: datetime) -> None:
        """Move the tier's subscription to a time."""
        self.check_tier(tier)
        request = {"subscription": self.names.subscription(tier), "time": to}
        self._call(lambda: self._subscriber.seek(request=request, retry=None, timeout=CALL_S))

    def close(self) -> None:
        """Close the connections."""
        self._publisher.transport.close()
        self._subscriber.transport.close()
        self._metrics.close()

    def _pull(self, tier: str, wait_s: float) -> Any:  # noqa: ANN401 - untyped
        try:
            answer = self._subscriber.pull(
                subscription=self.names.subscription(tier),
                max_messages=1,
                retry=None,
                timeout=wait_s + MARGIN_S,
            )
        except api.DeadlineExceeded:
            return None
        return answer.received_messages[0] if answer.received_messages else None

    def _leased(self, tier: str, received: Any) -> Delivery | None:  # noqa: ANN401 - untyped
        """The delivery with a lease of `lease_s`; None if extending failed: it comes again."""
        delivery = Delivery(
            tier=tier,
            data=received.message.data,
            attributes=self._plain(received.message.attributes),
            attempt=max(1, received.delivery_attempt),  # 0 without a dead-letter policy
            token=received.ack_id,
            received_s=uptime_s(),
        )
        try:
            self.extend(delivery)
        except UnreachableError:
            return None
        return delivery

    def _plain(self, attributes: Mapping[str, str]) -> dict[str, str]:
        """Attributes that name a tier, not its subscription."""
        found = dict(attributes)
        tier = self.names.tier_of_subscription(found.get(_SOURCE, ""))
        return found | ({_SOURCE: tier} if tier else {})

    def _modify(self, delivery: Delivery, seconds: int, limit_s: float | None = None) -> bool:
        request = {
            "subscription": self.names.subscription(delivery.tier),
            "ack_ids": [delivery.token],
            "ack_deadline_seconds": seconds,
        }
        timeout = min(CALL_S, limit_s or CALL_S)
        return self._settle(
            lambda: self._subscriber.modify_ack_deadline(
                request=request, retry=None, timeout=timeout
            ),
            limit_s,
        )

    def _settle(self, request: Callable[[], object], limit_s: float | None = None) -> bool:
        """Send a request about a lease; False if the service does not know the lease."""
        try:
            self._call(request, limit_s)
        except UsageError as error:
            if isinstance(error.__cause__, api.InvalidArgument):
                return False
            raise
        return True

    def _call(self, request: Callable[[], T], limit_s: float | None = None) -> T:
        """Send a request; transient errors are retried, by default as long as those of storage."""
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_PASSING),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=5),
            stop=tenacity.stop_before_delay(
                settings.storage_retry_s() if limit_s is None else limit_s
            ),
            before_sleep=_log_retry,
            reraise=True,
        )
        try:
            return attempts(request)
        except (api.GoogleAPICallError, google.auth.exceptions.GoogleAuthError) as error:
            raise ours(error, self.url) from error


def _subscriber() -> SubscriberClient:
    """A client that receives whatever Pub/Sub accepts, on the emulator too."""
    host = settings.get(settings.PUBSUB_EMULATOR_HOST)
    if host is None:
        return SubscriberClient()
    # Google's client limits what comes from an emulator to 4 MiB; a larger message, which anyone
    # may publish, would fail each pull that it is in.
    channel = grpc.insecure_channel(host, options=[("grpc.max_receive_message_length", -1)])
    return SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))


class _Metrics:
    """Backlogs from Cloud Monitoring, read for all tiers at once and cached."""

    def __init__(self, names: PubSubNames, client: Any) -> None:  # noqa: ANN401 - untyped
        self._names = names
        self._client = client
        self._lock = threading.Lock()
        self._known: dict[str, Backlog] = {}
        self._asked_s = -METRIC_AGE_S

    def backlog(self, tier: str) -> Backlog:
        """An absent series means unknown, never zero."""
        with self._lock:
            if time.monotonic() - self._asked_s >= METRIC_AGE_S:
                self._known = self._ask()
                self._asked_s = time.monotonic()
            return self._known.get(tier, Backlog())

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._client is not None:
            self._client.transport.close()

    def _ask(self) -> dict[str, Backlog]:
        try:
            if self._client is None:
                self._client = _monitoring_client()
            if self._client is None:
                return {}
            waiting, ages = self._newest(_UNDELIVERED), self._newest(_OLDEST)
        except (api.GoogleAPICallError, google.auth.exceptions.GoogleAuthError) as error:
            log.get().debug(log_events.BACKLOG_UNKNOWN, reason=str(error))
            return {}
        return {tier: Backlog(count, None, ages.get(tier)) for tier, count in waiting.items()}

    def _newest(self, metric: str) -> dict[str, int]:
        """The newest value of each subscription, by tier."""
        now = datetime.now(UTC)
        series = self._client.list_time_series(
            request={
                "name": f"projects/{self._names.project}",
                "filter": f'metric.type = "{metric}" AND resource.labels.subscription_id'
                f' = starts_with("{self._names.prefix}-")',
                "interval": {"start_time": now - METRIC_SPAN, "end_time": now},
            },
            retry=None,  # it would hold its caller up for 90 s, and end in another error
            timeout=CALL_S,
        )
        return dict(self._values(series))

    def _values(self, series: Any) -> Iterator[tuple[str, int]]:  # noqa: ANN401 - untyped
        for one in series:
            tier = self._names.tier_of_subscription(one.resource.labels["subscription_id"])
            if tier is not None and one.points:
                newest = max(one.points, key=lambda point: point.interval.end_time)
                yield tier, newest.value.int64_value


def _monitoring_client() -> Any:  # noqa: ANN401 - untyped
    """Client of Cloud Monitoring; None with an emulator, which has no metrics."""
    at = endpoint(GoogleService.MONITORING)
    if settings.get(settings.PUBSUB_EMULATOR_HOST) and not at.overridden:
        return None
    from google.cloud import monitoring_v3  # noqa: PLC0415 - workers never ask

    if not at.anonymous:
        options = {"api_endpoint": at.authority} if at.overridden else None
        return monitoring_v3.MetricServiceClient(client_options=options)
    import grpc  # noqa: PLC0415 - the same

    transport = monitoring_v3.MetricServiceClient.get_transport_class("grpc")
    channel = grpc.insecure_channel(at.authority)
    return monitoring_v3.MetricServiceClient(transport=transport(channel=channel))


def _encoded(message: ShardMessage) -> dict[str, Any]:
    return {"data": message.encode(), "attributes": message.attributes()}


def ours(error: Exception, url: str) -> ShardliftError:
    """The error for a caller, with the next action."""
    if isinstance(error, google.auth.exceptions.DefaultCredentialsError):
        return _no_credentials()
    if isinstance(error, api.NotFound):
        return UnreachableError(
            f"{url} has no such topic or subscription",
            hint=f"make them: `python -m infra up --queue {url}`",
        )
    if isinstance(error, api.Forbidden | api.Unauthorized):
        return UsageError(
            f"{url}: no permission ({_said(error)})",
            hint="grant roles/pubsub.editor to the account that runs this",
        )
    if isinstance(error, api.ClientError) and not isinstance(error, _PASSING):
        return UsageError(f"{url}: Pub/Sub refuses the request: {_said(error)}")
    return UnreachableError(
        f"{url} cannot be reached ({type(error).__name__})",
        hint="check the network, or PUBSUB_EMULATOR_HOST; then run the same command again",
    )


def _said(error: Exception) -> str:
    return str(getattr(error, "message", "") or error).splitlines()[0]


def _no_credentials() -> UsageError:
    return UsageError(
        "no Google Cloud credentials found", hint="gcloud auth application-default login"
    )


def _log_retry(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.get().warning(
        log_events.BROKER_RETRIED, attempt=state.attempt_number, error=type(error).__name__
    )
