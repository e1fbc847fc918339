"""Request of `infra up` and `check`: the resources that a queue is to have."""

from collections.abc import Iterator
from dataclasses import dataclass

from delivery.broker.pubsub_names import PubSubNames
from infra.pool_configuration import pool_settings, reason_for_no_pools
from infra.pools import Home, PoolSettings, pools
from infra.resources import PoolsStep, TopicsStep
from infra.steps import POOLS, TOPICS, Step, Steps
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

    def steps(self) -> Steps:
        """The steps that make them; nothing is sent.

        Raises:
            UsageError: a pool cannot be made as requested.
        """
        left_out = []
        if POOLS in self.parts and (reason := reason_for_no_pools(self.region)):
            left_out.append(reason)
        return Steps(list(self._steps()), left_out)

    def _steps(self) -> Iterator[Step]:
        settings = self._pool_settings()
        tiers = parse_tiers(self.tiers)
        if TOPICS in self.parts:
            yield TopicsStep(self.names, tiers, self.lease_s, self.project_number)
        if settings is not None:
            yield PoolsStep(settings, tiers, lambda: self.image)

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
