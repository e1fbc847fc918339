"""Resources of a queue: topics, subscriptions, rights, and the homes of its workers."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

from delivery.broker.pubsub_names import PubSubNames
from infra import desired, iam
from infra.changes import Action, Change
from infra.defaults import POOLS, TOPICS, Home
from infra.job_client import JobClient
from infra.pool_client import PoolClient
from infra.pool_resources import PoolResources
from infra.pools import Pool, PoolSettings
from infra.pubsub_admin import PubSubAdmin
from infra.rights import ACCOUNT_USER, ACT_AS, PUBSUB_ADMIN, RUN_ADMIN, Need
from infra.steps import Step
from infra.topics import Topics
from memmodel.tiers import Tier
from runtime import settings
from runtime.errors import UsageError

NO_IAM: Final = "the emulator has no IAM"
_TOPIC_RIGHTS: Final = (
    ("topic", Action.CREATE, "pubsub.topics.create"),
    ("subscription", Action.CREATE, "pubsub.subscriptions.create"),
    ("subscription", Action.UPDATE, "pubsub.subscriptions.update"),
    ("binding", Action.CREATE, "pubsub.topics.setIamPolicy"),
    ("binding", Action.CREATE, "pubsub.subscriptions.setIamPolicy"),
)
_REGION: Final = re.compile(r"[a-z][a-z0-9-]*")


class TopicsStep(Step):
    """Topics and subscriptions of a queue, and the rights of Pub/Sub's own account on them.

    Args:
        names: of the queue.
        tiers: of the queue.
        lease_s: of a message.
        project_number: None to look it up.
    """

    part = TOPICS
    title = "topics"
    apis: ClassVar = frozenset({"pubsub.googleapis.com"})

    def __init__(
        self, names: PubSubNames, tiers: Sequence[Tier], lease_s: int, project_number: int | None
    ) -> None:
        self._names = names
        self._number = project_number
        self._queues = desired.queues(names, [tier.name for tier in tiers], lease_s)

    def compare(self) -> list[Change]:
        """Changes that the resources need."""
        emulator = is_emulator()
        with closing(PubSubAdmin(self._names.url)) as admin:
            changes = list(Topics(admin, self._names, emulator=emulator).compare(self._queues))
            if emulator:
                return [*changes, Change(Action.SKIP, "binding", "all", NO_IAM)]
            return [*changes, *iam.compare(admin, self._bindings())]

    def apply(self, changes: Sequence[Change]) -> None:
        """Make the changes that `compare` found."""
        emulator = is_emulator()
        with closing(PubSubAdmin(self._names.url)) as admin:
            Topics(admin, self._names, emulator=emulator).make(self._queues, changes)
            if not emulator:
                iam.grant(admin, self._bindings())

    def needs(self, changes: Sequence[Change]) -> list[Need]:
        """Rights to make them; Google's emulator has none."""
        kinds = {(one.kind, one.action) for one in changes}
        project = f"projects/{self._names.project}"
        return [
            Need(permission, PUBSUB_ADMIN, project)
            for kind, action, permission in _TOPIC_RIGHTS
            if (kind, action) in kinds and not is_emulator()
        ]

    def _bindings(self) -> Sequence[desired.Binding]:
        number = self._number or iam.project_number(self._names.project)
        return desired.bindings(self._queues, number)


@dataclass(frozen=True, slots=True)
class WorkerHomes:
    """Desired pools or jobs of a queue, and access to both.

    Attributes:
        home: the kind that is desired.
        by_home: both kinds.
        tiers: that are to have one.
        wanted: desired ones.
    """

    home: Home
    by_home: dict[Home, PoolResources]
    tiers: Sequence[Tier] = ()
    wanted: Sequence[Pool] = field(default=())

    def compare(self) -> list[Change]:
        """Changes that the desired kind needs; then what is left of the other one."""
        other = Home.JOBS if self.home is Home.POOLS else Home.POOLS
        left = [
            Change(Action.EXTRA, other.kind, one.pool_id, f"`--home {self.home}` was given")
            for one in self.by_home[other].own()
        ]
        return [*self.by_home[self.home].compare(self.wanted, self.tiers), *left]

    def make(self, changes: Sequence[Change]) -> None:
        """Make the changes that `compare` found."""
        self.by_home[self.home].make(self.wanted, changes)

    @property
    def running(self) -> int:
        """Instances and tasks that run."""
        return sum(sum(one.running().values()) for one in self.by_home.values())

    def leftovers(self) -> list[Change]:
        """Deletions of all that was made for this queue."""
        return [change for one in self.by_home.values() for change in one.leftovers()]

    def remove(self, changes: Sequence[Change]) -> None:
        """Make the deletions that `leftovers` found."""
        for one in self.by_home.values():
            one.remove(changes)

    def stops(self) -> list[Change]:
        """Changes that leave no instance and no task."""
        return [change for one in self.by_home.values() for change in one.stops()]

    def stop(self) -> None:
        """Leave no instance and no task."""
        for one in self.by_home.values():
            one.stop()


class PoolsStep(Step):
    """Homes of the workers: pools or jobs of the image that is known when they are compared.

    Args:
        settings: of all pools, whose image counts for nothing.
        tiers: that are to have one.
        image: the image once it is known; None to keep what there is.
    """

    part = POOLS
    title = "worker pools"
    apis: ClassVar = frozenset({"run.googleapis.com"})

    def __init__(
        self, settings: PoolSettings, tiers: Sequence[Tier], image: Callable[[], str | None]
    ) -> None:
        self._settings = settings
        self._tiers = tiers
        self._image = image

    def compare(self) -> list[Change]:
        """Changes that the pools need, in order of execution."""
        with self._open() as homes:
            return homes.compare()

    def apply(self, changes: Sequence[Change]) -> None:
        """Make the changes that `compare` found, and wait until they hold."""
        with self._open() as homes:
            homes.make(changes)

    def needs(self, changes: Sequence[Change]) -> list[Need]:
        """Rights to make them, and to let them run as the workers' account."""
        own = [one for one in changes if one.kind == self._settings.home.kind]
        actions = {one.action for one in own} & {Action.CREATE, Action.UPDATE}
        project = f"projects/{self._settings.names.project}"
        collection = self._settings.home.collection.lower()
        needs = [
            Need(f"run.{collection}.{action}", RUN_ADMIN, project) for action in sorted(actions)
        ]
        account = f"{project}/serviceAccounts/{self._settings.service_account}"
        return [*needs, Need(ACT_AS, ACCOUNT_USER, account)] if needs else []

    @contextmanager
    def _open(self) -> Iterator[WorkerHomes]:
        settings = replace(self._settings, image=self._image() or "")
        with ExitStack() as stack:
            opened = open_homes(settings.names, settings.region, settings.home)
            homes = stack.enter_context(opened)
            wanted = homes.by_home[settings.home].desired(settings, self._tiers)
            yield replace(homes, tiers=self._tiers, wanted=wanted)


@contextmanager
def open_homes(names: PubSubNames, region: str, home: Home = Home.POOLS) -> Iterator[WorkerHomes]:
    """Pools and jobs of a queue; none is desired yet.

    Raises:
        UsageError: the region is not one.
    """
    if not _REGION.fullmatch(region):
        raise UsageError(
            f"{region!r} is not a region of Google Cloud", hint="such as us-central1, by REGION"
        )
    parent = f"projects/{names.project}/locations/{region}"
    pools, jobs = PoolClient(parent), JobClient(parent)
    with closing(pools), closing(jobs):
        yield WorkerHomes(
            home,
            {
                Home.POOLS: PoolResources(pools, names, Home.POOLS),
                Home.JOBS: PoolResources(jobs, names, Home.JOBS),
            },
        )


def is_emulator() -> bool:
    """Whether the queue is on Google's emulator."""
    return settings.get(settings.PUBSUB_EMULATOR_HOST) is not None
