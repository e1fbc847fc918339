"""Pools or jobs of one queue: compare with the desired ones, make, update, stop, delete.

Those that others made under the queue's prefix are named, and neither changed nor deleted.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from google.api_core import exceptions as api

from delivery.broker.pubsub_names import PubSubNames
from infra.changes import Action, Change
from infra.cloud_run import StaleError
from infra.defaults import Home
from infra.job_client import JobClient
from infra.pool_client import FoundPool, PoolClient
from infra.pool_fields import differing_fields, overlay
from infra.pools import APP, APP_LABEL, QUEUE_LABEL, TIER_LABEL, Pool, PoolSettings, pool, pool_id
from memmodel.tiers import Tier
from runtime.settings import STATE_PATH
from runtime.text import counted

FOREIGN: Final = "was not made for this queue: it is left alone"
LEFT_BY_CANARY: Final = "has an instance of `check --canary`, now or left: python -m infra stop"
NO_IMAGE: Final = "no image is configured: set WORKER_IMAGE or pass --image"
MOST_TRIES: Final = 10  # to set a count that another program changes, too

_FAILED: Final = 3  # Condition.State.CONDITION_FAILED, whose import takes a second
PAUSE_S: Final = 0.2  # before the second try, then longer
Untyped = Any  # Google publishes no types
HomeClient = PoolClient | JobClient


class PoolResources:
    """Pools, or jobs, of one queue.

    Args:
        client: of their kind.
        names: of the queue.
        home: their kind.
    """

    def __init__(self, client: HomeClient, names: PubSubNames, home: Home) -> None:
        self._client = client
        self._names = names
        self._home = home

    def desired(self, settings: PoolSettings, tiers: Sequence[Tier]) -> list[Pool]:
        """Desired pools; where no image is configured, of those tiers that have one already.

        What is not configured, image or state root, stays as it is.
        """
        if settings.image:
            return [pool(settings, tier) for tier in tiers]
        found = {one.labels.get(TIER_LABEL): one for one in self.own()}
        return [
            pool(kept_settings(settings, found[tier.name]), tier)
            for tier in tiers
            if tier.name in found
        ]

    def compare(self, wanted: Sequence[Pool], tiers: Sequence[Tier]) -> Iterator[Change]:
        """Changes that the pools need, in order of execution; then pools that are not desired.

        Args:
            wanted: pools.
            tiers: that should have one, also where no pool is desired for lack of an image.
        """
        found = {one.pool_id: one for one in self._under_prefix()}
        for one in wanted:
            yield self._change(one, found.get(one.pool_id))
        expected = {one.pool_id for one in wanted}
        for tier in tiers:
            name = pool_id(self._names, tier)
            if name not in expected:
                expected.add(name)
                yield Change(Action.SKIP, self._home.kind, name, NO_IMAGE)
        for other in found.values():
            if other.pool_id not in expected and not self._is_of_no_tier(other):
                note = "of a tier that is not in --tiers" if self.is_own(other) else FOREIGN
                yield Change(Action.EXTRA, self._home.kind, other.pool_id, note)

    def make(self, wanted: Sequence[Pool], changes: Sequence[Change]) -> None:
        """Make the changes that `compare` found, and wait until they hold."""
        needs = {change.name: change.action for change in changes if change.kind == self._home.kind}
        begun = []
        for one in wanted:
            if needs[one.pool_id] is Action.CREATE:
                begun += self._create(one)
            elif needs[one.pool_id] is Action.UPDATE:
                begun += self._update(one)
        self._client.run.wait(begun)

    def own(self) -> list[FoundPool]:
        """Pools of this queue, those without a tier first: they set the counts of the others."""
        own = [one for one in self._under_prefix() if self.is_own(one)]
        return sorted(own, key=lambda one: (TIER_LABEL in one.labels, one.pool_id))

    def running(self) -> dict[str, int]:
        """Instances of each pool that has any."""
        return {one.pool_id: one.count for one in self.own() if one.count}

    def leftovers(self) -> list[Change]:
        """Deletions of all pools of this queue, of any tier; then those of others."""
        deletions = [
            Change(Action.DELETE, self._home.kind, one.pool_id, _running_note(one.count))
            for one in self.own()
        ]
        others = [
            Change(Action.EXTRA, self._home.kind, one.pool_id, FOREIGN)
            for one in self._under_prefix()
            if not self.is_own(one)
        ]
        return [*deletions, *others]

    def remove(self, leftovers: Iterable[Change]) -> None:
        """Delete pools, whose workers release their shards, and wait until they are gone."""
        names = [
            change.name
            for change in leftovers
            if change.kind == self._home.kind and change.action is Action.DELETE
        ]
        self._client.run.wait([self._delete(name) for name in names])

    def stops(self) -> list[Change]:
        """Changes that leave no instance."""
        return [
            Change(
                Action.UPDATE if one.count else Action.OK,
                self._home.kind,
                one.pool_id,
                f"{counted(one.count, 'instance')} to 0" if one.count else "",
            )
            for one in self.own()
        ]

    def stop(self) -> None:
        """Set every count to 0, whoever else sets it meanwhile."""
        self._client.run.wait([begun for one in self.own() for begun in self._stop(one)])

    def is_own(self, found: FoundPool) -> bool:
        """Whether a pool was made for this queue, by its labels."""
        queue = found.labels.get(QUEUE_LABEL)
        if queue is not None:
            return queue == self._names.prefix
        return found.labels.get(APP_LABEL) == APP

    def _change(self, wanted: Pool, found: FoundPool | None) -> Change:
        if found is None:
            return Change(Action.CREATE, self._home.kind, wanted.pool_id)
        if not self.is_own(found):
            return Change(Action.CONFLICT, self._home.kind, wanted.pool_id, FOREIGN)
        paths = differing_fields(wanted.fields, found.fields)
        if not paths and found.left_by_canary:
            return Change(Action.WARN, self._home.kind, wanted.pool_id, LEFT_BY_CANARY)
        action = Action.UPDATE if paths else Action.OK
        note = "; ".join(sorted(paths)) or not_ready_note(found)
        return Change(action, self._home.kind, wanted.pool_id, note)

    def _create(self, wanted: Pool) -> list[Untyped]:
        for tried in range(MOST_TRIES):
            try:
                return [self._client.create(wanted.pool_id, wanted.new)]
            except api.Conflict:  # made by another `up`, or by this one before an answer was lost
                if self._client.get(wanted.name) is not None:
                    return self._update(wanted)
                time.sleep(tried * PAUSE_S)  # it is being deleted
            except api.NotFound as error:  # project or region
                raise self._client.run.error(error) from error
        raise self._stale(wanted.pool_id)

    def _update(self, wanted: Pool) -> list[Untyped]:
        for tried in range(MOST_TRIES):
            found = self._client.get(wanted.name)
            if found is None:
                break
            paths = differing_fields(wanted.fields, found.fields)
            mask = {path.partition(".")[0] for path in paths}
            if not mask:
                return []
            try:
                return [self._client.update(found, overlay(wanted.fields, found.set_fields), mask)]
            except api.Conflict:  # it is being changed: look again
                time.sleep(tried * PAUSE_S)
            except api.NotFound:
                break
        raise self._stale(wanted.pool_id)

    def _delete(self, own_id: str) -> Untyped | None:
        for tried in range(MOST_TRIES):
            try:
                return self._client.delete(self._name(own_id))
            except api.Conflict:  # it is being changed
                time.sleep(tried * PAUSE_S)
        raise self._stale(own_id)

    def _stop(self, found: FoundPool | None) -> list[Untyped]:
        for tried in range(MOST_TRIES):
            if found is None or not found.count:
                return []
            try:
                return [self._client.set_count(found, 0)]
            except (api.Conflict, api.NotFound):  # also by this call, if its answer was lost
                time.sleep(tried * PAUSE_S)
                found = self._client.get(found.name)
        raise self._stale(found.pool_id if found else "")

    def _stale(self, own_id: str) -> StaleError:
        return StaleError(
            f"{self._home.kind} {own_id} is changed by another program",
            hint="run the same command again",
        )

    def _under_prefix(self) -> list[FoundPool]:
        """Pools whose id begins with the prefix, but for those of a queue with a longer one."""
        begin = f"{self._names.prefix}-"
        return [one for one in self._client.list(begin) if not self._is_of_longer_prefix(one)]

    def _is_of_longer_prefix(self, found: FoundPool) -> bool:
        queue = found.labels.get(QUEUE_LABEL, "")
        return queue.startswith(f"{self._names.prefix}-") and found.labels.get(APP_LABEL) == APP

    def _is_of_no_tier(self, found: FoundPool) -> bool:
        return self.is_own(found) and TIER_LABEL not in found.labels

    def _name(self, own_id: str) -> str:
        return f"{self._client.run.parent}/{self._home.collection}/{own_id}"


def kept_settings(settings: PoolSettings, found: FoundPool) -> PoolSettings:
    """Settings with what is not configured as a pool has it."""
    container = found.container
    kept = {one["name"]: one["value"] for one in container.get("env", ()) if "value" in one}
    environment = {name: kept[name] for name in (STATE_PATH,) if name in kept}
    return replace(
        settings,
        image=settings.image or container.get("image", ""),
        environment={**environment, **settings.environment},
    )


def _running_note(count: int) -> str:
    return counted(count, "running instance") if count else ""


def not_ready_note(found: FoundPool) -> str:
    """Why Cloud Run cannot run a pool, such as an image that it cannot read."""
    condition = found.fields.get("terminal_condition") or {}
    if condition.get("state") != _FAILED:
        return ""
    return f"not ready: {condition.get('message') or 'no reason is given'}"
