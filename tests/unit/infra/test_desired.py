"""Desired resources: chain of tiers, settings that lose no message, IAM bindings."""

import json

import pytest

from delivery.broker.pubsub_names import PubSubNames
from infra.changes import Action, Change, as_json, summary, table
from infra.desired import PUBLISHER, SUBSCRIBER, Queue, bindings, queues

NAMES = PubSubNames.parse("pubsub://some-project/lift")
TIERS = ["512mi", "2gi", "4gi"]
TOPICS = "projects/some-project/topics/lift-"


@pytest.fixture
def chain() -> tuple[Queue, ...]:
    """Three tiers and the dead letters."""
    return queues(NAMES, TIERS, lease_s=60)


def test_each_tier_has_the_next_as_dead_letter_topic(chain: tuple[Queue, ...]) -> None:
    """Made from the end, so that what is handed on to is there."""
    assert [(queue.topic, queue.dead_letter_topic) for queue in chain] == [
        (f"{TOPICS}dead", None),
        (f"{TOPICS}tier-4gi", f"{TOPICS}dead"),
        (f"{TOPICS}tier-2gi", f"{TOPICS}tier-4gi"),
        (f"{TOPICS}tier-512mi", f"{TOPICS}tier-2gi"),
    ]
    made: set[str] = set()
    for queue in chain:
        assert queue.dead_letter_topic is None or queue.dead_letter_topic in made
        made.add(queue.topic)


def test_every_topic_has_a_subscription_of_its_own(chain: tuple[Queue, ...]) -> None:
    """A topic without one loses messages; two would do the work twice."""
    assert len({queue.subscription for queue in chain}) == len(chain) == 4


def test_messages_and_subscriptions_do_not_expire(chain: tuple[Queue, ...]) -> None:
    """Subscriptions never expire, keep acked messages for replay, and give up after five."""
    for queue in chain:
        settings = queue.settings(emulator=False)
        assert settings["expiration_policy"] == {}
        assert settings["retain_acked_messages"] is True
        assert settings["message_retention_duration"] == {"seconds": 7 * 86_400}
        if queue.dead_letter_topic:
            assert settings["dead_letter_policy"] == {
                "dead_letter_topic": queue.dead_letter_topic,
                "max_delivery_attempts": 5,
            }
        else:
            assert "dead_letter_policy" not in settings


def test_the_emulator_gets_no_retry_policy(chain: tuple[Queue, ...]) -> None:
    """It stalls with one."""
    for queue in chain:
        assert "retry_policy" in queue.settings(emulator=False)
        assert "retry_policy" not in queue.settings(emulator=True)


@pytest.mark.parametrize(("lease_s", "deadline_s"), [(1, 10), (10, 10), (60, 60), (600, 600)])
def test_the_ack_deadline_is_the_lease(lease_s: int, deadline_s: int) -> None:
    """But no less than Pub/Sub takes."""
    assert {queue.ack_deadline_s for queue in queues(NAMES, TIERS, lease_s)} == {deadline_s}


def test_the_service_account_may_forward(chain: tuple[Queue, ...]) -> None:
    """Publish to each dead-letter topic, take from each subscription that has one."""
    found = bindings(chain, project_number=123)
    agent = "serviceAccount:service-123@gcp-sa-pubsub.iam.gserviceaccount.com"
    assert {binding.member for binding in found} == {agent}
    assert [b.resource for b in found if b.role == PUBLISHER] == [
        f"{TOPICS}dead",
        f"{TOPICS}tier-4gi",
        f"{TOPICS}tier-2gi",
    ]
    assert [b.resource.rpartition("/")[2] for b in found if b.role == SUBSCRIBER] == [
        "lift-tier-4gi-workers",
        "lift-tier-2gi-workers",
        "lift-tier-512mi-workers",
    ]
    assert len(found) == 6


CHANGES = [
    Change(Action.OK, "topic", "lift-dead"),
    Change(Action.UPDATE, "subscription", "lift-tier-2gi-workers", "ack_deadline_seconds"),
    Change(
        Action.UPDATE,
        "subscription",
        "a-rather-long-prefix-of-a-queue-tier-512mi-workers",
        "ack_deadline_seconds; message_retention_duration",
    ),
    Change(
        Action.CREATE, "binding", "x" * 40, "roles/pubsub.publisher for Pub/Sub's service account"
    ),
]


def test_the_table_fits_a_terminal() -> None:
    """80 columns; a long note moves below its line."""
    assert table(CHANGES, done=False).splitlines() == [
        "ok       topic        lift-dead",
        "update   subscription lift-tier-2gi-workers  ack_deadline_seconds",
        "update   subscription a-rather-long-prefix-of-a-queue-tier-512mi-workers",
        "         ack_deadline_seconds",
        "         message_retention_duration",
        "create   binding      " + "x" * 40,
        "         roles/pubsub.publisher for Pub/Sub's service account",
    ]


def test_the_summary_tells_planned_from_made_changes() -> None:
    """What is to be done, or what was."""
    assert summary(CHANGES, done=False) == "1 ok, 1 to create, 2 to update"
    assert summary(CHANGES, done=True) == "1 ok, 1 created, 2 updated"
    assert table(CHANGES, done=True).splitlines()[1].startswith("updated  subscription")
    assert summary([], done=True) == ""


def test_changes_as_json() -> None:
    """One object per resource."""
    assert json.loads(json.dumps(as_json(CHANGES)))[1] == {
        "action": "update",
        "kind": "subscription",
        "name": "lift-tier-2gi-workers",
        "note": "ack_deadline_seconds",
    }


def test_texts_of_services_are_escaped_in_the_table() -> None:
    """Names and fields that Google answers with are shown as they are written."""
    change = Change(Action.CONFLICT, "subscription", "a\x1b[2J\nok", "x\u202e; y\r")
    lines = table([change], done=False).split("\n")
    assert all(line.isprintable() for line in lines)
    assert lines == [r"conflict subscription a\x1b[2J\nok  x\u202e; y\r"]
