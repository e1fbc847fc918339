"""Resources of a queue: topics, subscriptions, rights, and the homes of its workers."""

import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Final

from delivery.broker.pubsub_names import PubSubNames
from infra import desired, iam
from infra.changes import Action, Change
from infra.job_client import JobClient
from infra.pool_client import PoolClient
from infra.pool_resources import PoolResources
from infra.pools import Home, Pool
from infra.pubsub_admin import PubSubAdmin
from infra.topics import Topics
from memmodel.tiers import Tier
from runtime import settings
from runtime.errors import UsageError
from runtime.text import join_first

TOPICS: Final = "topics"
POOLS: Final = "pools"
PARTS: Final = (TOPICS, POOLS)
ALL_PARTS: Final = ",".join(PARTS)
_REGION: Final = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True, slots=True)
class QueueResources:
    """Desired topics and rights of a queue, and access to the cloud or its emulator."""

    admin: PubSubAdmin
    topics: Topics
    queues: Sequence[desired.Queue]
    bindings: Sequence[desired.Binding] | None  # None where the emulator has no IAM

    def compare(self) -> list[Change]:
        """Changes that the resources need."""
        changes = list(self.topics.compare(self.queues))
        if self.bindings is None:
            return [*changes, Change(Action.SKIP, "binding", "all", "the emulator has no IAM")]
        return [*changes, *iam.compare(self.admin, self.bindings)]

    def make(self, changes: Sequence[Change]) -> None:
        """Make the changes that `compare` found."""
        self.topics.make(self.queues, changes)
        iam.grant(self.admin, self.bindings or ())


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


@contextmanager
def open_queue(
    names: PubSubNames, tiers: Sequence[Tier], lease_s: int, project_number: int | None
) -> Iterator[QueueResources]:
    """Desired topics and rights of a queue."""
    emulator = is_emulator()
    queues = desired.queues(names, [tier.name for tier in tiers], lease_s)
    bindings = None
    if not emulator:
        number = project_number or iam.project_number(names.project)
        bindings = desired.bindings(queues, number)
    admin = PubSubAdmin(names.url)
    with closing(admin):
        yield QueueResources(admin, Topics(admin, names, emulator=emulator), queues, bindings)


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


def parse_parts(text: str) -> frozenset[str]:
    """Parts that `--only` names.

    Raises:
        UsageError: there is no such part.
    """
    parts = [part.strip() for part in text.split(",")]
    if unknown := [part for part in parts if part not in PARTS]:
        raise UsageError(
            f"--only: there is no part {join_first(unknown, 1)!r}; the parts are {ALL_PARTS}"
        )
    return frozenset(parts)


def refuse_conflicts(changes: Sequence[Change]) -> None:
    """Refuse to make changes of which one cannot be made; nothing was done.

    Raises:
        UsageError: a resource differs in what cannot be changed.
    """
    for change in changes:
        if change.action is Action.CONFLICT:
            raise UsageError(f"{change.kind} {change.name} {change.note}")


def is_emulator() -> bool:
    """Whether the queue is on Google's emulator."""
    return settings.get(settings.PUBSUB_EMULATOR_HOST) is not None
