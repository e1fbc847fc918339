"""Autoscaler of a queue's worker pools: looks at pools and ledgers, decides by the policy, writes.

Pools are read first, with their etags, then the ledgers; each count is written with the etag that
was read. So an `enqueue` between the two makes the write fail, and everything is read anew: a 0 is
never written over a run that came meanwhile. For the same reason two autoscalers do no harm.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from google.api_core import exceptions as api

from delivery.broker.base import Broker
from delivery.broker.pubsub_names import PubSubNames
from delivery.ledger import autoscaler_note
from delivery.ledger.autoscaler_note import AutoscalerNote
from delivery.messages import now
from infra import queue_pools
from infra.autoscaler_pool import keep_pool
from infra.cloud_run import StaleError
from infra.pool_client import FoundPool, PoolClient
from infra.queue_pools import QueuePools
from infra.queue_runs import OpenRun, QueueRuns
from infra.run_care import RunCare
from infra.scaling_policy import Caps, Left, desired_counts
from infra.tiers_left import left_by_tier
from runtime import log, log_events
from runtime.errors import ShardliftError, UnreachableError, UsageError
from runtime.storage import open_storage

MOST_LOOKS: Final = 50  # each shows what another program has written
LEAST_PAUSE_S: Final = 0.02  # before the second look, then longer: a change takes its time
MOST_PAUSE_S: Final = 1.0

_log = log.get()


@dataclass(frozen=True)
class Look:
    """One look at pools and ledgers, and what was written.

    Attributes:
        counts: instances by tier from now on.
        left: by tier; None where a ledger could not be read.
        over: nothing is left and all pools are at 0, so that the autoscaler can end.
    """

    counts: Mapping[str, int]
    left: Mapping[str, Left] | None
    over: bool


class Autoscaler:
    """Autoscaler of one queue.

    Args:
        client: of the pools' project and region.
        names: of the queue.
        runs: of the queue.
        open_broker: the queue with these tiers.
        caps: of the policy.
        region: of the pools; for the note.
        in_own_pool: whether this program runs in the autoscaler's pool.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        client: PoolClient,
        names: PubSubNames,
        runs: QueueRuns,
        open_broker: Callable[[Sequence[str]], Broker],
        *,
        caps: Caps,
        region: str,
        in_own_pool: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._names = names
        self._runs = runs
        self._caps = caps
        self._region = region
        self._in_own_pool = in_own_pool
        self._care = RunCare(open_broker, runs.roots, clock)
        self._without_pool: frozenset[str] = frozenset()

    def tick(self, watched_for_s: float, *, start: bool = False) -> Look:
        """Reconcile the runs, then look and write until nothing comes between.

        Args:
            watched_for_s: after which the next tick is overdue.
            start: the caller has published something: make sure that whatever is about to stop
                pools looks again, and start the pool of the autoscaler.

        Raises:
            UsageError: the queue has no pools, or this account may not do what is needed.
            UnreachableError: Cloud Run cannot be reached, or pools were changed each time.
        """
        self._care.drain()
        look = self._until_undisturbed(start=start)
        self._note(look, watched_for_s)
        return look

    @property
    def given_up(self) -> str | None:
        """Why the runs are given up, if so."""
        return self._care.given_up

    def close(self) -> None:
        """Close the connections."""
        self._care.close()
        self._client.close()

    def _until_undisturbed(self, *, start: bool) -> Look:
        again = start
        for tried in range(MOST_LOOKS):
            try:
                look = self._look(start=start, all_again=again)
            except (api.Conflict, api.NotFound):  # a write of another, or a lost answer to ours
                time.sleep(min(MOST_PAUSE_S, LEAST_PAUSE_S * 2**tried))
                continue
            if look is not None:
                return look
            again = True
        raise StaleError(
            f"the pools of {self._names.url} were changed each time they were read",
            hint="look who else sets their counts; then run the same command again",
        )

    def _look(self, *, start: bool, all_again: bool) -> Look | None:
        """One look; None: pools would be stopped, which needs a look at all runs, old ones too."""
        pools = queue_pools.read_pools(self._client, self._names)
        if not pools.tiers:
            raise UsageError(
                f"{self._names.url} has no worker pools in {self._region}",
                hint="`python -m infra up` makes them",
            )
        if self._in_own_pool and pools.own is not None and not pools.own.count:
            return Look(pools.counts, None, over=False)  # this program is about to be stopped
        runs = self._open_runs(pools.counts, all_again=all_again)
        left = None if runs is None else left_by_tier(runs, now())
        if runs is not None:
            self._care.mend(runs, pools.counts)
        wanted = self._decide(pools, left, start=start)
        if not all_again and any(wanted[name] < count for name, count in pools.counts.items()):
            return None
        if start:
            self._start(pools, wanted, left)
        else:
            self._write(pools, wanted)
        over = left is not None and not left and not any(pools.counts.values())
        if over and not all_again:
            return None
        if over and not start and pools.own is not None and pools.own.count:
            self._set(pools.own, 0)
        return Look(wanted, left, over)

    def _open_runs(self, counts: Mapping[str, int], *, all_again: bool) -> list[OpenRun] | None:
        try:
            runs = self._runs.read(all_again=all_again)
        except UnreachableError as error:
            _log.warning(log_events.LEDGER_UNKNOWN, reason=str(error))
            return None
        return [] if self._care.gives_up(runs, counts) else runs

    def _decide(
        self, pools: QueuePools, left: Mapping[str, Left] | None, *, start: bool
    ) -> dict[str, int]:
        self._note_missing(frozenset(left or ()) - frozenset(pools.by_tier))
        backlog = self._care.backlog([tier.name for tier in pools.tiers])
        return desired_counts(
            pools.tiers, pools.counts, left, backlog, self._caps, give_way=not start
        )

    def _note_missing(self, tiers: frozenset[str]) -> None:
        for tier in sorted(tiers - self._without_pool):
            _log.warning(log_events.POOL_MISSING, tier=tier, queue=self._names.url)
        self._without_pool = tiers

    def _start(
        self, pools: QueuePools, wanted: Mapping[str, int], left: Mapping[str, Left] | None
    ) -> None:
        """Write every count that is not to be 0, changed or not, so that older etags are stale.

        The autoscaler comes first: whatever ends this program after, the pools are watched. No
        pool is stopped: who starts knows the state root of its own run, perhaps not all.
        """
        stamp = now().isoformat()
        if left != {} and (own := self._own_pool(pools)) is not None:
            self._set(own, 1, stamp)
        for name, count in wanted.items():
            if count or name in (left or {}):
                self._set(pools.by_tier[name], count, stamp)

    def _own_pool(self, pools: QueuePools) -> FoundPool | None:
        """The autoscaler's pool, made anew where needed; None where it cannot be made."""
        try:
            return keep_pool(self._client, self._names, self._region, pools)
        except ShardliftError as error:  # the pools of workers matter more
            _log.warning(log_events.AUTOSCALER_MISSING, queue=self._names.url, reason=str(error))
            return pools.own

    def _write(self, pools: QueuePools, wanted: Mapping[str, int]) -> None:
        """Write the counts that change: more first."""
        changes = {n: wanted[n] - count for n, count in pools.counts.items() if wanted[n] != count}
        for name in sorted(changes, key=lambda name: -changes[name]):
            self._set(pools.by_tier[name], wanted[name])

    def _set(self, pool: FoundPool, count: int, stamp: str | None = None) -> None:
        self._client.set_count(pool, count, stamp)
        if count != pool.count:
            _log.info(log_events.POOL_SCALED, pool=pool.pool_id, before=pool.count, count=count)

    def _note(self, look: Look, watched_for_s: float) -> None:
        moment = now()
        note = AutoscalerNote(
            queue=self._names.url,
            region=self._region,
            at=moment,
            until=moment + timedelta(seconds=watched_for_s),
            counts=dict(look.counts),
            dollars_per_hour=queue_pools.dollars_per_hour(look.counts),
            given_up=self.given_up,
        )
        for root in self._runs.roots:
            try:
                autoscaler_note.write(open_storage(root), note)
            except ShardliftError as error:  # it only informs
                _log.warning(log_events.HEARTBEAT_FAILED, run=root, reason=str(error))
