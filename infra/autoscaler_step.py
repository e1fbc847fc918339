"""Pool of the autoscaler, and its rights on all pools of the queue, its own included.

It is made here, with 0 instances, because the rights hang on it: a command that only publishes work
need not be allowed to grant any.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import ClassVar, Final

from delivery.broker.pubsub_names import PubSubNames
from infra.autoscaler_pool import keep_pool
from infra.binding_set import BindingSet
from infra.changes import Action, Change, UnitPrice
from infra.defaults import ACCOUNTS
from infra.identities import Account, pool_bindings
from infra.policies import Policies
from infra.pool_client import PoolClient
from infra.pools import pool_id
from infra.queue_pools import QueuePools, autoscaler_id, read_pools
from infra.rights import ACCOUNT_USER, ACT_AS, RUN_ADMIN, Need
from infra.steps import Step
from memmodel.tiers import Tier

KIND: Final = "pool"
NO_POOLS: Final = "there are no worker pools to scale"
_FREE: Final = UnitPrice(0.0, "hour without instances")


class AutoscalerStep(Step):
    """The autoscaler's pool, and its rights on pools.

    Args:
        names: of the queue.
        region: of the pools.
        tiers: that have a pool, or get one.
        autoscaler: account.
        policies: of the pools.
        image: of the workers, once it is known; None if there is none.
    """

    part = ACCOUNTS
    title = "autoscaler"
    apis: ClassVar = frozenset({"run.googleapis.com"})

    def __init__(
        self,
        names: PubSubNames,
        region: str,
        tiers: Sequence[Tier],
        *,
        autoscaler: Account,
        policies: Policies,
        image: Callable[[], str | None],
    ) -> None:
        self._names = names
        self._region = region
        self._tiers = tiers
        self._account = autoscaler
        self._policies = policies
        self._image = image
        self._bindings = BindingSet(policies, (), {})

    def compare(self) -> list[Change]:
        """The pool, and the rights."""
        with self._pools() as (_, pools):
            expected = {tier.name for tier in self._tiers} if self._image() else set()
            tiers = [tier for tier in self._tiers if tier.name in {*pools.by_tier, *expected}]
            own = autoscaler_id(self._names)
            if not tiers:
                return [Change(Action.SKIP, KIND, own, NO_POOLS)]
            ids = [*(pool_id(self._names, tier) for tier in tiers), own]
            self._bindings = self._wanted(ids)
            action = Action.CREATE if pools.own is None else Action.OK
            return [Change(action, KIND, own, "", _FREE), *self._bindings.compare()]

    def apply(self, changes: Sequence[Change]) -> None:
        """Make the pool, then add the rights."""
        if any(one.kind == KIND and one.action is Action.CREATE for one in changes):
            with self._pools() as (client, pools):
                keep_pool(client, self._names, self._region, pools)
        self._bindings.grant()

    def needs(self, changes: Sequence[Change]) -> list[Need]:
        """Rights to make the pool, to let it run as its account, and to change policies."""
        project = f"projects/{self._names.project}"
        needs = self._bindings.needs(self._names.project)
        if any(one.kind == KIND and one.action is Action.CREATE for one in changes):
            needs.append(Need("run.workerpools.create", RUN_ADMIN, project))
            needs.append(Need(ACT_AS, ACCOUNT_USER, self._account.resource))
        return needs

    def _wanted(self, ids: Sequence[str]) -> BindingSet:
        parent = f"projects/{self._names.project}/locations/{self._region}/workerPools"
        wanted = pool_bindings(self._account, [f"{parent}/{one}" for one in ids])
        return BindingSet(self._policies, wanted, {self._account.member: self._account.short})

    @contextmanager
    def _pools(self) -> Iterator[tuple[PoolClient, QueuePools]]:
        parent = f"projects/{self._names.project}/locations/{self._region}"
        with closing(PoolClient(parent)) as client:
            yield client, read_pools(client, self._names)
