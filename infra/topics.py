"""Topics and subscriptions: compare with the desired ones, create, update, delete."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final

from google.pubsub_v1.types import Subscription

from delivery.broker.base import DEAD
from delivery.broker.pubsub_names import PubSubNames
from infra.changes import Action, Change
from infra.desired import Queue
from infra.pubsub_admin import PubSubAdmin
from memmodel.tiers import tier_of
from runtime.errors import UsageError

_FIXED_ON_EMULATOR: Final = {"expiration_policy"}  # the emulator sets it, but cannot change it


class Topics:
    """Topics and subscriptions of one queue URL.

    Args:
        admin: client.
        names: resource names of the URL.
        emulator: whether the client talks to Google's emulator.
    """

    KINDS: ClassVar = frozenset({"topic", "subscription"})  # of changes

    def __init__(self, admin: PubSubAdmin, names: PubSubNames, *, emulator: bool) -> None:
        self._admin = admin
        self._names = names
        self._emulator = emulator

    def compare(self, wanted: Sequence[Queue]) -> Iterator[Change]:
        """Changes that the queues need, in order of execution; then resources not desired."""
        for queue in wanted:
            yield self._compare_topic(queue)
            yield self._compare_subscription(queue)
        expected = {name for queue in wanted for name in (queue.topic, queue.subscription)}
        for kind, name in self._existing():
            if name not in expected:
                yield Change(Action.EXTRA, kind, _id(name), "of a tier that is not in --tiers")

    def _compare_topic(self, queue: Queue) -> Change:
        exists = self._admin.topic_exists(queue.topic)
        return Change(Action.OK if exists else Action.CREATE, "topic", _id(queue.topic))

    def _compare_subscription(self, queue: Queue) -> Change:
        found, name = self._admin.subscription(queue.subscription), _id(queue.subscription)
        if found is None:
            return Change(Action.CREATE, "subscription", name)
        if found.topic != queue.topic:
            note = f"belongs to {_id(found.topic)}: `infra down`, then `infra up`"
            return Change(Action.CONFLICT, "subscription", name, note)
        wrong = self._differing(queue, found)
        return Change(
            Action.UPDATE if wrong else Action.OK, "subscription", name, "; ".join(sorted(wrong))
        )

    def make(self, wanted: Sequence[Queue], changes: Sequence[Change]) -> None:
        """Make the changes that `compare` found.

        Raises:
            UsageError: a field differs that cannot be changed; nothing was done.
        """
        for change in changes:
            if change.action is Action.CONFLICT:
                raise UsageError(f"{change.kind} {change.name} {change.note}")
        needs = {(change.kind, change.name): change.action for change in changes}
        for queue in wanted:
            if needs[("topic", _id(queue.topic))] is Action.CREATE:
                self._admin.create_topic(queue.topic)
            self._make_subscription(queue, needs[("subscription", _id(queue.subscription))])

    def _make_subscription(self, queue: Queue, action: Action) -> None:
        if action is Action.CREATE:
            fields = queue.settings(emulator=self._emulator)
            self._admin.create_subscription(queue.subscription, queue.topic, fields)
        elif action is Action.UPDATE:
            found = self._admin.subscription(queue.subscription)
            fields = self._differing(queue, found)
            self._admin.update_subscription(queue.subscription, queue.topic, fields)

    def _differing(self, queue: Queue, found: Any) -> dict[str, object]:  # noqa: ANN401 - untyped
        """Fields that differ, with their desired values."""
        fields = queue.settings(emulator=self._emulator)
        wanted = Subscription(fields)
        return {
            field: value
            for field, value in fields.items()
            if not _same(field, wanted, found)
            and not (self._emulator and field in _FIXED_ON_EMULATOR)
        }

    def leftovers(self) -> Sequence[Change]:
        """Deletions of all existing resources of this queue, of any tier."""
        return [Change(Action.DELETE, kind, _id(name)) for kind, name in self._existing()]

    def remove(self, leftovers: Sequence[Change]) -> None:
        """Delete resources; their messages are lost, plan and receipts are not."""
        for change in leftovers:
            project = f"projects/{self._names.project}"
            if change.kind == "topic":
                self._admin.delete_topic(f"{project}/topics/{change.name}")
            else:
                self._admin.delete_subscription(f"{project}/subscriptions/{change.name}")

    def _existing(self) -> Iterator[tuple[str, str]]:
        """Kind and name of all existing resources with the queue's prefix."""
        for name in sorted(self._admin.topics(self._names.project)):
            if self._is_own_topic(name):
                yield "topic", name
        for name in sorted(self._admin.subscriptions(self._names.project)):
            if _is_tier(self._names.tier_of_subscription(name)):
                yield "subscription", name

    def _is_own_topic(self, name: str) -> bool:
        stem = self._names.topic("")
        return name == self._names.topic(DEAD) or (
            name.startswith(stem) and _is_tier(name.removeprefix(stem))
        )


def _same(field: str, wanted: Subscription, found: Any) -> bool:  # noqa: ANN401 - untyped
    """Whether a field has its desired value; an empty message (never) differs from none."""
    return (field in found) == (field in wanted) and getattr(found, field) == getattr(wanted, field)


def _is_tier(tier: str | None) -> bool:
    """Whether this is the name of a tier, not the rest of a longer prefix."""
    if tier is None or tier == DEAD:
        return tier is not None
    try:
        tier_of(tier)
    except UsageError:
        return False
    return True


def _id(name: str) -> str:
    return name.rpartition("/")[2]
