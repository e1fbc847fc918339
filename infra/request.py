"""Request of `infra up` and `check`: the resources that a queue is to have."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from delivery.broker.pubsub_names import PubSubNames
from infra.changes import Change
from infra.pool_configuration import image_notes, pool_settings, reason_for_no_pools
from infra.pools import Home, PoolSettings, pools
from infra.resources import (
    POOLS,
    TOPICS,
    QueueResources,
    WorkerHomes,
    open_homes,
    open_queue,
    refuse_conflicts,
)
from memmodel.tiers import parse_tiers
from runtime.errors import UsageError


@dataclass(frozen=True, slots=True)
class InfraRequest:
    """Resources that a queue is to have.

    Attributes:
        names: of the queue.
        parts: topics, pools.
        tiers: as options have them.
        lease_s: of a message.
        project_number: None to look it up.
        region: of the pools; None for none.
        image: of the workers; None to keep what there is.
        account: of the workers; None for the default.
        home: pools or jobs.
        state: root of the runs.
    """

    names: PubSubNames
    parts: frozenset[str]
    tiers: str
    lease_s: int
    project_number: int | None = None
    region: str | None = None
    image: str | None = None
    account: str | None = None
    home: Home = Home.POOLS
    state: str | None = None

    @property
    def notes(self) -> list[str]:
        """What is left out, and why."""
        if POOLS not in self.parts:
            return []
        reason = reason_for_no_pools(self.region)
        return [reason] if reason else list(image_notes(self.image))

    @contextmanager
    def open(self) -> Iterator["OpenRequest"]:
        """Compare and make.

        Raises:
            UsageError: a pool cannot be made as requested; nothing was sent.
        """
        settings = self._pool_settings()
        tiers = parse_tiers(self.tiers)
        with ExitStack() as stack:
            topics, homes = None, None
            if TOPICS in self.parts:
                queue = open_queue(self.names, tiers, self.lease_s, self.project_number)
                topics = stack.enter_context(queue)
            if settings is not None:
                opened = stack.enter_context(open_homes(self.names, settings.region, self.home))
                wanted = opened.by_home[self.home].desired(settings, tiers)
                homes = replace(opened, tiers=tiers, wanted=wanted)
            yield OpenRequest(topics, homes)

    def _pool_settings(self) -> PoolSettings | None:
        """Settings of the pools, found to be possible; None if pools are left out."""
        if POOLS not in self.parts or self.region is None or reason_for_no_pools(self.region):
            if POOLS in self.parts and TOPICS not in self.parts:
                raise UsageError(
                    f"--only {POOLS}: {reason_for_no_pools(self.region)}",
                    hint="set REGION or pass --region, such as us-central1",
                )
            return None
        settings = pool_settings(
            self.names,
            self.region,
            image=self.image,
            account=self.account,
            state=self.state,
            tiers=self.tiers,
            lease_s=self.lease_s,
            home=self.home,
        )
        if self.image:
            pools(settings, parse_tiers(self.tiers))  # refused before anything is opened
        return settings


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """Both parts of a request; None is left out."""

    topics: QueueResources | None
    homes: WorkerHomes | None

    def compare(self) -> list[Change]:
        """Changes that the resources need."""
        parts = (self.topics, self.homes)
        return [change for part in parts if part is not None for change in part.compare()]

    def make(self, changes: list[Change]) -> None:
        """Make the changes that `compare` found.

        Raises:
            UsageError: one of them cannot be made; nothing was done.
        """
        refuse_conflicts(changes)
        for part in (self.topics, self.homes):
            if part is not None:
                part.make(changes)
