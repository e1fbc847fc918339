"""Pub/Sub broker: names, metrics, and errors in plain words."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.broker import open_broker
from delivery.broker.base import DEAD, Backlog, Delivery
from delivery.broker.pubsub import PubSubBroker
from delivery.broker.pubsub_names import PubSubNames
from delivery.messages import ShardMessage
from runtime.errors import UnreachableError, UsageError
from runtime.google_endpoints import GoogleService
from tests.support.emulator import make_topology, new_queue_url, remove_topology, running_emulator
from tests.support.google_api.monitoring import Monitoring

TIERS = ("512mi", "2gi")
MESSAGE = ShardMessage(run="/runs/r1", key="s0/0a", kind="convert")


@given(st.from_regex(r"[A-Za-z][A-Za-z0-9_.~+%-]{0,40}", fullmatch=True), st.sampled_from(TIERS))
def test_names_lead_back_to_their_tier(prefix: str, tier: str) -> None:
    """Topic and subscription of every tier follow Pub/Sub's rules and name the tier."""
    if prefix.lower().startswith("goog"):
        return
    names = PubSubNames.parse(f"pubsub://my-project/{prefix}")
    assert names.url == f"pubsub://my-project/{prefix}"
    for one in (tier, DEAD):
        assert 3 <= len(names.topic_id(one)) <= 255
        assert names.tier_of_subscription(names.subscription(one)) == one
        assert names.tier_of_subscription(names.subscription_id(one)) == one
    assert names.topic(tier) != names.topic(DEAD)
    assert names.tier_of_subscription(f"other-tier-{tier}-workers") is None


@pytest.mark.parametrize(
    "url",
    ["pubsub://p", "pubsub://project/", "pubsub:///x", "pubsub://project/1x", "pubsub://project/a/b",
     "pubsub://project/google-x", "pubsub://Project!/x"],
)  # fmt: skip
def test_bad_urls_are_wrong_use(url: str) -> None:
    """A URL that names no project or prefix says what one looks like."""
    with pytest.raises(UsageError, match="is not a Pub/Sub queue"):
        PubSubNames.parse(url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("pubsub://proj/brain", "the project id 'proj' is not one: 6 to 62 lowercase letters"),
        ("pubsub://my-project/1x", "the prefix '1x' is not one: up to 100 letters"),
        ("sqlite:x.db", "it does not begin with pubsub://"),
    ],
)
def test_the_part_of_a_url_that_is_wrong_is_named(url: str, why: str) -> None:
    """With what it should look like."""
    with pytest.raises(UsageError, match="is not a Pub/Sub queue") as caught:
        PubSubNames.parse(url)
    assert why in str(caught.value)
    assert "pubsub://PROJECT_ID/PREFIX" in (caught.value.hint or "")


@pytest.mark.usefixtures("pubsub_emulator")
def test_missing_topics_say_how_to_make_them() -> None:
    """Before `infra up` every call ends in one line with that hint."""
    with open_broker(new_queue_url(), TIERS, 10) as broker:
        calls: list[Callable[[], object]] = [
            broker.check,
            lambda: broker.publish("2gi", [MESSAGE]),
            lambda: broker.lease("2gi"),
            lambda: broker.seek("2gi", datetime.now(UTC)),
        ]
        for call in calls:
            with pytest.raises(UnreachableError, match="no such topic or subscription") as caught:
                call()
            assert caught.value.hint is not None
            assert "infra up" in caught.value.hint


@pytest.mark.usefixtures("pubsub_emulator")
def test_the_emulators_backlog_is_unknown() -> None:
    """It has no metrics, and unknown is not zero."""
    with open_broker(new_queue_url(), TIERS, 10) as broker:
        assert broker.backlog("2gi") == Backlog(None, None, None)


@pytest.mark.usefixtures("pubsub_emulator")
def test_an_unknown_lease_is_reported() -> None:
    """A token from before a restart of the service is refused and changes nothing."""
    url = new_queue_url()
    make_topology(url, TIERS)
    with open_broker(url, TIERS, 10) as broker:
        made_up = Delivery("2gi", b"", {}, 1, "no token of theirs", 0.0)
        assert not broker.extend(made_up)
        assert not broker.ack(made_up)
        assert not broker.nack(made_up)
    remove_topology(url)


@pytest.mark.slow  # an emulator of its own, twice
def test_a_restarted_service_is_found_again(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down, it is unreachable; up again, without its topics, it says so; with them it works."""
    monkeypatch.setenv("STORAGE_RETRY_S", "1")
    log = tmp_path_factory.mktemp("emulator") / "log"
    url = new_queue_url()
    with running_emulator(log) as host:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", host)
        make_topology(url, TIERS)
        broker = open_broker(url, TIERS, 10)
        broker.publish("2gi", [MESSAGE])
    with pytest.raises(UnreachableError, match="cannot be reached"):
        broker.publish("2gi", [MESSAGE])
    with pytest.raises(UnreachableError, match="cannot be reached"):
        broker.lease("2gi")
    monkeypatch.setenv("STORAGE_RETRY_S", "20")
    with running_emulator(log, port=int(host.rpartition(":")[2])):
        with pytest.raises(UnreachableError, match="no such topic"):
            broker.publish("2gi", [MESSAGE])
        make_topology(url, TIERS)
        assert broker.lease("2gi") is None  # it forgot everything
        broker.publish("2gi", [MESSAGE])
        assert broker.lease("2gi", 5) is not None
    broker.close()


UNDELIVERED = "pubsub.googleapis.com/subscription/num_undelivered_messages"
OLDEST = "pubsub.googleapis.com/subscription/oldest_unacked_message_age"


@pytest.fixture
def monitoring(monkeypatch: pytest.MonkeyPatch) -> Iterator[Monitoring]:
    """A running service, which clients find by gcloud's variable."""
    with Monitoring() as service:
        monkeypatch.setenv(GoogleService.MONITORING.variable, service.url)
        yield service


@pytest.fixture
def watched(monitoring: Monitoring, monkeypatch: pytest.MonkeyPatch) -> Iterator[PubSubBroker]:
    """A broker that finds the service; its queues are never touched."""
    del monitoring
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
    with PubSubBroker("pubsub://my-project/lift", TIERS, 10) as broker:
        yield broker


def test_the_backlog_comes_from_monitoring(monitoring: Monitoring, watched: PubSubBroker) -> None:
    """The newest point of each subscription counts; one request serves all tiers."""
    monitoring.set(UNDELIVERED, "lift-tier-2gi-workers", (180, 99), (60, 12), (120, 50))
    monitoring.set(UNDELIVERED, "lift-dead-letters", (60, 0))
    monitoring.set(UNDELIVERED, "lifting-tier-512mi-workers", (60, 4))
    monitoring.set(OLDEST, "lift-tier-2gi-workers", (60, 340))
    assert watched.backlog("2gi") == Backlog(12, None, 340)
    assert watched.backlog(DEAD) == Backlog(0, None, None)
    assert not watched.backlog("512mi").known
    assert len(monitoring.requests) == 2
    assert monitoring.requests[0].name == "projects/my-project"
    assert 'starts_with("lift-")' in monitoring.requests[0].filter


def test_an_absent_series_is_unknown(monitoring: Monitoring, watched: PubSubBroker) -> None:
    """No series, or one without recent points, is never taken for zero."""
    monitoring.set(UNDELIVERED, "lift-tier-2gi-workers", (3600, 4))
    assert not watched.backlog("512mi").known
    assert not watched.backlog("2gi").known


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,  # which Google's client retries by itself
    ],
)
def test_monitoring_in_trouble_is_unknown(
    monitoring: Monitoring, watched: PubSubBroker, code: grpc.StatusCode
) -> None:
    """Without metrics work goes on, and not every check requests them again."""
    monitoring.code = code
    assert not watched.backlog("2gi").known
    assert not watched.backlog("512mi").known
    assert len(monitoring.requests) == 1


def test_an_emulator_without_monitoring_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's own service is not called for the queues of an emulator."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
    with PubSubBroker("pubsub://my-project/lift", TIERS, 10) as broker:
        assert not broker.backlog("2gi").known
