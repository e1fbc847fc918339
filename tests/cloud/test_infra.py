"""`python -m infra` on Google's emulator; rights on a fake IAM."""

import json
import os
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.api_core import exceptions as api
from google.iam.v1 import (  # type: ignore[import-untyped] # Google's
    iam_policy_pb2,
    policy_pb2,
)
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from typer.testing import CliRunner

from delivery.broker.base import DEAD
from delivery.broker.pubsub_names import PubSubNames
from infra import iam
from infra.__main__ import app
from infra.changes import Action
from infra.desired import bindings, queues
from infra.pubsub_admin import PubSubAdmin
from infra.topics import Topics
from runtime import cli
from runtime.errors import ShardliftError, UnreachableError, UsageError
from tests.support.commands import CommandResult, run_in_process
from tests.support.emulator import new_queue_url
from tests.support.ledgers import made_run

ROOT = Path(__file__).resolve().parents[2]
TIERS = "0.5,2"
Untyped = Any  # Google publishes no types


class Infra:
    """The program's commands, on one queue."""

    def __init__(self, url: str) -> None:
        self.names = PubSubNames.parse(url)
        self.url = url

    def run(self, *arguments: str, code: int = 0) -> str:
        """What a command prints; its exit code is checked. A process each would take 2 s."""
        done = CliRunner().invoke(app, [*arguments, "--queue", self.url])
        if isinstance(done.exception, ShardliftError):
            raise done.exception
        assert done.exit_code == code, done.output
        return done.output

    def changes(self, *arguments: str, code: int = 0) -> dict[str, str]:
        """Action by resource."""
        document = json.loads(self.run(*arguments, "--json", code=code))
        return {f"{c['kind']} {c['name']}": c["action"] for c in document["changes"]}


def program(*arguments: str, **environment: str) -> CommandResult:
    """The program as a user starts it."""
    known = {k: v for k, v in os.environ.items() if k not in {"QUEUE_URL", "PROJECT_ID"}}
    return run_in_process("infra", *arguments, folder=ROOT, environment=known | environment)


@pytest.fixture
def infra(pubsub_emulator: str) -> Infra:
    """On a queue of its own."""
    del pubsub_emulator
    return Infra(new_queue_url())


@pytest.fixture
def subscriber(pubsub_emulator: str) -> Iterator[Untyped]:
    """To look at what is really there."""
    del pubsub_emulator
    client: Untyped = SubscriberClient()
    yield client
    client.transport.close()


@pytest.fixture
def publisher(pubsub_emulator: str) -> Iterator[Untyped]:
    """The same."""
    del pubsub_emulator
    client: Untyped = PublisherClient()
    yield client
    client.transport.close()


def test_up_makes_the_chain_and_is_idempotent(infra: Infra, subscriber: Untyped) -> None:
    """As desired, once; a second time everything is there already."""
    first = infra.changes("up", "--tiers", TIERS, "--lease", "30")
    assert sorted(first.values()) == ["create"] * 6 + ["skip"]
    found = subscriber.get_subscription(subscription=infra.names.subscription("512mi"))
    assert found.topic == infra.names.topic("512mi")
    assert found.ack_deadline_seconds == 30
    assert found.retain_acked_messages
    assert "expiration_policy" in found
    assert not found.expiration_policy.ttl
    assert found.dead_letter_policy.dead_letter_topic == infra.names.topic("2gi")
    assert found.dead_letter_policy.max_delivery_attempts == 5
    assert "retry_policy" not in found
    last = subscriber.get_subscription(subscription=infra.names.subscription("2gi"))
    assert last.dead_letter_policy.dead_letter_topic == infra.names.topic(DEAD)
    dead = subscriber.get_subscription(subscription=infra.names.subscription(DEAD))
    assert "dead_letter_policy" not in dead
    second = infra.changes("up", "--tiers", TIERS, "--lease", "30")
    assert sorted(second.values()) == ["ok"] * 6 + ["skip"]


def test_check_finds_what_is_missing_or_differs(infra: Infra, subscriber: Untyped) -> None:
    """Exit 1 with findings, 0 without; `up` mends what it can."""
    assert "6 to create, 1 skip" in infra.run("check", "--tiers", TIERS, code=1)
    infra.run("up", "--tiers", TIERS)
    assert "6 ok, 1 skip" in infra.run("check", "--tiers", TIERS)
    name = infra.names.subscription("512mi")
    subscriber.update_subscription(
        request={
            "subscription": {
                "name": name,
                "topic": infra.names.topic("512mi"),
                "retain_acked_messages": False,
                "dead_letter_policy": {
                    "dead_letter_topic": infra.names.topic(DEAD),
                    "max_delivery_attempts": 7,
                },
            },
            "update_mask": {"paths": ["retain_acked_messages", "dead_letter_policy"]},
        }
    )
    subscriber.delete_subscription(subscription=infra.names.subscription(DEAD))
    output = infra.run("check", "--tiers", TIERS, "--lease", "120", code=1)
    assert "ack_deadline_seconds\n" in output
    assert "dead_letter_policy\n" in output
    assert "retain_acked_messages\n" in output
    assert "3 ok, 1 to create, 2 to update, 1 skip" in output
    infra.run("up", "--tiers", TIERS, "--lease", "120")
    updated = subscriber.get_subscription(subscription=name)
    assert updated.retain_acked_messages
    assert updated.ack_deadline_seconds == 120
    assert updated.dead_letter_policy.dead_letter_topic == infra.names.topic("2gi")
    assert updated.dead_letter_policy.max_delivery_attempts == 5
    infra.run("check", "--tiers", TIERS, "--lease", "120")


def test_a_dry_run_changes_nothing(infra: Infra) -> None:
    """It says what would be done."""
    assert "6 to create" in infra.run("up", "--dry-run", "--tiers", TIERS)
    assert "6 to create" in infra.run("check", "--tiers", TIERS, code=1)
    infra.run("up", "--tiers", TIERS)
    assert "6 to delete" in infra.run("down", "--dry-run")
    infra.run("check", "--tiers", TIERS)


def test_down_removes_every_tier_and_nothing_else(infra: Infra, publisher: Untyped) -> None:
    """Also tiers that are no longer wanted; but not a queue whose prefix begins like ours."""
    other = Infra(f"{infra.url}-tier-x")
    other.run("up", "--tiers", "1")
    infra.run("up", "--tiers", "0.5,2,4")
    extra = infra.changes("check", "--tiers", TIERS, code=1)  # 2gi hands on to 4gi still
    assert extra[f"topic {infra.names.topic_id('4gi')}"] == "extra"
    assert extra[f"subscription {infra.names.subscription_id('4gi')}"] == "extra"
    assert set(infra.changes("down", "--yes").values()) == {"delete"}
    left = {
        topic.name for topic in publisher.list_topics(project=f"projects/{infra.names.project}")
    }
    assert not {
        name for name in left if name in {infra.names.topic(t) for t in ("2gi", "4gi", DEAD)}
    }
    assert other.names.topic("1gi") in left
    assert "nothing there" in infra.run("down")
    other.run("check", "--tiers", "1")
    other.run("down", "--yes")


def test_down_asks_first(infra: Infra, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal it needs --yes; on one, `no` leaves everything."""
    infra.run("up", "--tiers", TIERS)
    with pytest.raises(UsageError, match=f"delete 6 resources of {infra.url}, and no terminal"):
        infra.run("down")
    asked = []
    monkeypatch.setattr(cli, "confirm", lambda deed, *, yes: asked.append((deed, yes)))
    assert "6 to delete" in infra.run("down", "--dry-run")
    assert not asked
    assert "6 deleted" in infra.run("down")
    assert "nothing there" in infra.run("down")
    assert asked == [(f"delete 6 resources of {infra.url}", False)]


def test_down_names_unfinished_runs(infra: Infra, tmp_path: Path) -> None:
    """Only those of the queue; where the runs cannot be read it says so."""
    state = str(tmp_path / "runs")
    made_run(state, run_id="open", queue=infra.url)
    made_run(state, run_id="elsewhere", queue=f"{infra.url}x")
    made_run(state, run_id="over", queue=infra.url).cancel("a test")
    assert infra.run("down", "--dry-run", "--state", state).splitlines() == [
        f"note: run {state}/open is unfinished: 7 of 7 shards are open",
        f"{infra.url}: nothing there",
    ]
    (tmp_path / "runs" / "open" / "run.json").write_text("{}")
    assert "still need this queue is unknown" in infra.run("down", "--dry-run", "--state", state)


def test_a_subscription_that_cannot_be_updated_is_reported(
    infra: Infra, publisher: Untyped
) -> None:
    """Its topic was removed and made again: Pub/Sub keeps it on the removed one."""
    infra.run("up", "--tiers", TIERS)
    publisher.delete_topic(topic=infra.names.topic("2gi"))
    output = infra.run("check", "--tiers", TIERS, code=1)
    assert "conflict subscription" in output
    assert "`infra down`, then `infra up`" in output
    with pytest.raises(UsageError, match="belongs to"):
        infra.run("up", "--tiers", TIERS)
    infra.run("down", "--yes")
    infra.run("up", "--tiers", TIERS)
    infra.run("check", "--tiers", TIERS)


def test_the_program_takes_its_queue_from_the_environment(pubsub_emulator: str) -> None:
    """PROJECT_ID and BASE_JOB_NAME name it where QUEUE_URL does not."""
    name = f"t{uuid4().hex[:8]}"
    settings = {"PROJECT_ID": "some-project", "BASE_JOB_NAME": name, "TIERS": "1"}
    made = program("up", PUBSUB_EMULATOR_HOST=pubsub_emulator, **settings)
    assert made.returncode == 0, made.stderr
    assert f"pubsub://some-project/{name}: 4 created, 1 skip" in made.stdout
    gone = program("down", "--yes", PUBSUB_EMULATOR_HOST=pubsub_emulator, **settings)
    assert "4 deleted" in gone.stdout


def test_a_message_without_ack_climbs_the_chain(
    infra: Infra, publisher: Untyped, subscriber: Untyped
) -> None:
    """What `up` made carries a message from the smallest tier to the dead letters."""
    infra.run("up", "--tiers", TIERS)
    publisher.publish(topic=infra.names.topic("512mi"), messages=[{"data": b"poison"}])
    for tier in ("512mi", "2gi"):
        for _ in range(5):
            nack(subscriber, infra.names.subscription(tier))
        pull(subscriber, infra.names.subscription(tier), wait=False)  # which makes it move on
    assert pull(subscriber, infra.names.subscription(DEAD)).message.data == b"poison"


def pull(subscriber: Untyped, name: str, *, wait: bool = True) -> Untyped:
    """One message, or None."""
    for _ in range(20 if wait else 1):
        try:
            answer = subscriber.pull(subscription=name, max_messages=1, timeout=2, retry=None)
        except api.DeadlineExceeded:
            continue
        if answer.received_messages:
            return answer.received_messages[0]
    assert not wait, f"nothing came from {name}"
    return None


def nack(subscriber: Untyped, name: str) -> None:
    """Take a message and give it back."""
    ids = [pull(subscriber, name).ack_id]
    subscriber.modify_ack_deadline(subscription=name, ack_ids=ids, ack_deadline_seconds=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--queue", "sqlite:x.db"], "is not a Pub/Sub queue"),
        (["--queue", "pubsub://ab/c"], "is not a Pub/Sub queue"),
        ([], "An embedded one needs no infra"),
    ],
)
def test_what_needs_no_cloud_is_refused(arguments: list[str], message: str) -> None:
    """Exit 2 with a one-line error, before any request."""
    done = program("up", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 2


def test_an_emulator_that_is_gone_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, naming the queue."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:9")
    monkeypatch.setenv("STORAGE_RETRY_S", "0")
    admin = PubSubAdmin("pubsub://some-project/lift")
    with pytest.raises(UnreachableError, match="pubsub://some-project/lift cannot be reached"):
        admin.topic_exists("projects/some-project/topics/x")
    admin.close()


# -- IAM, which the emulator lacks


class SmallIam:
    """Keeps policies by resource and judges etags, as Google's service does."""

    def __init__(self) -> None:
        self.policies: dict[str, policy_pb2.Policy] = {}
        self.writes = 0
        self.denied: set[str] = set()
        self.others: list[str] = []  # members that another caller adds, one before each write

    def get(
        self, request: iam_policy_pb2.GetIamPolicyRequest, context: Untyped
    ) -> policy_pb2.Policy:
        """The policy, with its etag."""
        if request.resource not in self.policies:
            context.abort(grpc.StatusCode.NOT_FOUND, "Resource not found")
        return self.policies[request.resource]

    def set(
        self, request: iam_policy_pb2.SetIamPolicyRequest, context: Untyped
    ) -> policy_pb2.Policy:
        """Replace the policy that was read, not a newer one."""
        if self.others:
            theirs = self.policies[request.resource]
            theirs.bindings.add(role="roles/pubsub.viewer", members=[self.others.pop()])
            theirs.etag += b"+"
        if request.policy.etag != self.policies[request.resource].etag:
            context.abort(grpc.StatusCode.ABORTED, "There were concurrent policy changes.")
        self.writes += 1
        self.policies[request.resource].CopyFrom(request.policy)
        self.policies[request.resource].etag = b"%d" % self.writes
        return self.policies[request.resource]

    def test(
        self, request: iam_policy_pb2.TestIamPermissionsRequest, context: Untyped
    ) -> iam_policy_pb2.TestIamPermissionsResponse:
        """Rights that the caller has."""
        self.get(request, context)
        held = [name for name in request.permissions if name not in self.denied]
        return iam_policy_pb2.TestIamPermissionsResponse(permissions=held)


@pytest.fixture
def small_iam() -> Iterator[tuple[SmallIam, PubSubAdmin]]:
    """A service, and what talks to it."""
    service = SmallIam()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(*_handlers(service))])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    yield (
        service,
        PubSubAdmin(
            "pubsub://some-project/lift",
            PublisherClient(transport=PublisherGrpcTransport(channel=channel)),
            SubscriberClient(transport=SubscriberGrpcTransport(channel=channel)),
        ),
    )
    channel.close()
    server.stop(None)


def _handlers(service: SmallIam) -> tuple[str, dict[str, grpc.RpcMethodHandler]]:
    return "google.iam.v1.IAMPolicy", {
        "GetIamPolicy": _handler(service.get, iam_policy_pb2.GetIamPolicyRequest),
        "SetIamPolicy": _handler(service.set, iam_policy_pb2.SetIamPolicyRequest),
        "TestIamPermissions": _handler(service.test, iam_policy_pb2.TestIamPermissionsRequest),
    }


def _handler(method: Callable[..., Untyped], request: Untyped) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(
        method,
        request_deserializer=request.FromString,
        response_serializer=lambda answer: answer.SerializeToString(),
    )


def test_rights_are_added_once_and_others_kept(small_iam: tuple[SmallIam, PubSubAdmin]) -> None:
    """Foreign grants stay; a second time there is nothing to do."""
    service, admin = small_iam
    names = PubSubNames.parse("pubsub://some-project/lift")
    wanted = bindings(queues(names, ["2gi", "4gi"], 60), project_number=7)
    for binding in wanted:
        service.policies[binding.resource] = policy_pb2.Policy(etag=b"0")
    theirs = service.policies[names.topic("4gi")].bindings.add()
    theirs.role, theirs.members[:] = "roles/pubsub.viewer", ["user:someone@example.com"]
    assert {change.action for change in iam.compare(admin, wanted)} == {Action.CREATE}
    iam.grant(admin, wanted)
    assert {change.action for change in iam.compare(admin, wanted)} == {Action.OK}
    assert service.writes == len(wanted) == 4
    iam.grant(admin, wanted)
    assert service.writes == 4
    kept = service.policies[names.topic("4gi")]
    assert [(b.role, list(b.members)) for b in kept.bindings] == [
        ("roles/pubsub.viewer", ["user:someone@example.com"]),
        ("roles/pubsub.publisher", [wanted[0].member]),
    ]


def test_a_policy_that_changes_meanwhile_is_read_again(
    small_iam: tuple[SmallIam, PubSubAdmin],
) -> None:
    """What another caller granted stays; a policy that never stands still is an error."""
    service, admin = small_iam
    wanted = bindings(queues(PubSubNames.parse("pubsub://some-project/lift"), ["2gi"], 60), 7)[:1]
    policy = service.policies[wanted[0].resource] = policy_pb2.Policy(etag=b"0")
    service.others = ["user:a@lab.org", "user:b@lab.org"]
    iam.grant(admin, wanted)
    roles = [binding.role for binding in policy.bindings]
    assert roles == ["roles/pubsub.viewer", "roles/pubsub.viewer", wanted[0].role]
    assert service.writes == 1
    policy.Clear()
    service.others = ["user:a@lab.org"] * iam.MOST_TRIES
    with pytest.raises(UnreachableError, match="are changed by another program"):
        iam.grant(admin, wanted)
    iam.grant(admin, wanted)
    assert [change.action for change in iam.compare(admin, wanted)] == [Action.OK]


def test_rights_of_the_caller_are_tested(small_iam: tuple[SmallIam, PubSubAdmin]) -> None:
    """On a topic that is not there yet, all count as held."""
    service, admin = small_iam
    topic = "projects/some-project/topics/lift-dead"
    service.denied = {"pubsub.topics.publish"}
    asked = ["pubsub.topics.publish", "pubsub.topics.get"]
    assert admin.held(topic, asked) == set(asked)
    service.policies[topic] = policy_pb2.Policy()
    assert admin.held(topic, asked) == {"pubsub.topics.get"}


def test_rights_of_what_is_not_there_yet_are_missing(
    small_iam: tuple[SmallIam, PubSubAdmin],
) -> None:
    """A check before `up` names them; granting skips them instead of failing."""
    service, admin = small_iam
    wanted = bindings(queues(PubSubNames.parse("pubsub://some-project/lift"), ["2gi"], 60), 7)
    assert {change.action for change in iam.compare(admin, wanted)} == {Action.CREATE}
    iam.grant(admin, wanted)
    assert service.writes == 0


def test_a_conditional_right_is_not_enough(small_iam: tuple[SmallIam, PubSubAdmin]) -> None:
    """It may not hold when a letter has to move."""
    service, admin = small_iam
    wanted = bindings(queues(PubSubNames.parse("pubsub://some-project/lift"), ["2gi"], 60), 7)[:1]
    policy = service.policies[wanted[0].resource] = policy_pb2.Policy()
    held = policy.bindings.add()
    held.role, held.members[:] = wanted[0].role, [wanted[0].member]
    assert [change.action for change in iam.compare(admin, wanted)] == [Action.OK]
    held.condition.expression = "request.time < timestamp('2020-01-01T00:00:00Z')"
    assert [change.action for change in iam.compare(admin, wanted)] == [Action.CREATE]


def test_topics_refuse_what_cannot_be_changed(pubsub_emulator: str) -> None:
    """Before anything else is done."""
    del pubsub_emulator
    names = PubSubNames.parse(new_queue_url())
    admin = PubSubAdmin(names.url)
    topics = Topics(admin, names, emulator=True)
    wanted = queues(names, ["2gi"], 60)
    admin.create_topic(names.topic("4gi"))
    admin.create_subscription(names.subscription("2gi"), names.topic("4gi"), {})
    with pytest.raises(UsageError, match="belongs to"):
        topics.make(wanted, list(topics.compare(wanted)))
    assert not admin.topic_exists(names.topic(DEAD))
    topics.remove(topics.leftovers())
    admin.close()
