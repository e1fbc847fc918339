"""Simulator of worker pools: judges a scaling policy by what it costs, kills and leaves running.

One queue per tier and one pool per tier. The metric is two minutes late and sampled each minute,
the policy is called every 30 s and its counts reach the pools a second later, an instance takes
20 s to start and is billed from the order on. A scale-in takes whichever instances; the shard of a
busy one goes back into the queue, as in the cloud. Receipts and heartbeats are seen at once.
"""

import heapq
import itertools
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from infra.scaling_policy import Caps, Left, desired_counts
from memmodel.tiers import Tier

POLL_S: Final = 30.0
WRITE_S: Final = 1.0  # from reading ledger and pools until a new count holds
START_S: Final = 20.0
SAMPLE_S: Final = 60.0
LATE_S: Final = 120.0
MOST_S: Final = 30 * 24 * 3600.0  # after which a run does not end any more
NEXT_OF: Final = 3  # one of the next so many comes: queues are roughly first in, first out

Event = Callable[[], None]


@dataclass(frozen=True)
class SimulatedShard:
    """A shard of a plan.

    Attributes:
        key: unique among all runs.
        tier: of its plan.
        seconds: of work.
        inputs: keys of shards that are done before it is published.
        needs: tier on which it is done; on the tier before it takes `seconds`, then is escalated.
    """

    key: str
    tier: str
    seconds: float
    inputs: tuple[str, ...] = ()
    needs: str | None = None


@dataclass(frozen=True)
class Arrival:
    """A run: its shards in the order of publishing, and when it is enqueued."""

    at_s: float
    shards: Sequence[SimulatedShard]


@dataclass(frozen=True)
class World:
    """What the policy can see.

    Attributes:
        metrics: whether Monitoring answers.
        notes: whether the ledger tells at once to which tier a shard was escalated; otherwise it is
            seen when a worker of that tier has it.
        ledger: whether the ledger can be read, at a time.
    """

    metrics: bool = True
    notes: bool = True
    ledger: Callable[[float], bool] = lambda _now: True


@dataclass
class Sample:
    """State at one call of the policy."""

    at_s: float
    ready: dict[str, int]
    counts: dict[str, int]


@dataclass
class Outcome:
    """What a simulated policy did.

    Attributes:
        kills: instances stopped with a shard.
        billed_s: instance-seconds.
        work_s: seconds of work, without what was done twice after kills.
        off_s: from a last receipt until no instance was left, the longest.
        starved: calls after which a tier with a ready shard had no instance.
        most: most instances of each tier, and in all (`""`).
        end_s: of the last receipt.
        samples: one for each call.
    """

    kills: int = 0
    billed_s: float = 0.0
    work_s: float = 0.0
    off_s: float = 0.0
    starved: int = 0
    most: Counter[str] = field(default_factory=Counter)
    end_s: float = 0.0
    samples: list[Sample] = field(default_factory=list)

    @property
    def billed_ratio(self) -> float:
        """Billed seconds per second of work."""
        return self.billed_s / self.work_s


@dataclass(eq=False)
class _Instance:
    tier: str
    since_s: float
    up: bool = False
    shard: SimulatedShard | None = None
    gone: bool = False


class Simulator:
    """One simulated queue with its pools.

    Args:
        tiers: smallest first.
        arrivals: the runs.
        caps: of the policy.
        seed: of all chance.
        world: what the policy can see.
    """

    def __init__(
        self,
        tiers: Sequence[Tier],
        arrivals: Iterable[Arrival],
        caps: Caps,
        seed: int,
        world: World | None = None,
    ) -> None:
        self._tiers, self._caps, self._world = tiers, caps, world or World()
        self._random = random.Random(seed)
        self._names = [tier.name for tier in tiers]
        self._now = 0.0
        self._events: list[tuple[float, int, Event]] = []
        self._order = itertools.count()
        self._queues: dict[str, deque[SimulatedShard]] = {name: deque() for name in self._names}
        self._pools: dict[str, list[_Instance]] = {name: [] for name in self._names}
        self._metric: dict[str, deque[tuple[float, int]]] = {name: deque() for name in self._names}
        self._open: dict[str, SimulatedShard] = {}
        self._missing: dict[str, int] = {}
        self._dependents: dict[str, list[str]] = {}
        self._place: dict[str, str] = {}  # tier of each open shard, as the ledger has it
        self._arrivals = sorted(arrivals, key=lambda arrival: arrival.at_s)
        self._expected = len(self._arrivals)
        self._version = 0  # of all pools; the etag
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Simulate until all runs are done and all pools are at 0."""
        for arrival in self._arrivals:
            self._at(arrival.at_s, lambda arrival=arrival: self._enqueue(arrival))  # type: ignore[misc] # bound now
        self._at(self._random.uniform(0, SAMPLE_S), self._sample)
        self._at(self._random.uniform(0, POLL_S), self._poll)
        while self._events and not self._is_over():
            self._now, _, event = heapq.heappop(self._events)
            assert self._now < MOST_S, "the runs do not end"
            event()
        return self.outcome

    def _at(self, at_s: float, event: Event) -> None:
        heapq.heappush(self._events, (at_s, next(self._order), event))

    def _is_over(self) -> bool:
        return not self._expected and not self._open and not any(self._pools.values())

    # -- the queue and the ledger

    def _enqueue(self, arrival: Arrival) -> None:
        """Publish a run; `enqueue` knows the plan, so it sets the first counts itself."""
        self._expected -= 1
        for shard in arrival.shards:
            self._open[shard.key] = shard
            self._place[shard.key] = shard.tier
            self.outcome.work_s += shard.seconds * (2 if shard.needs else 1)
            self._missing[shard.key] = len(shard.inputs)
            for one in shard.inputs:
                self._dependents.setdefault(one, []).append(shard.key)
        for shard in arrival.shards:
            if not shard.inputs:
                self._publish(shard, shard.tier)
        self._apply(self._decide())

    def _publish(self, shard: SimulatedShard, tier: str) -> None:
        self._queues[tier].append(shard)
        idle = [i for i in self._pools[tier] if i.up and i.shard is None]
        if idle:
            self._lease(self._random.choice(idle))

    def _lease(self, instance: _Instance) -> None:
        queue = self._queues[instance.tier]
        if not queue or instance.gone or instance.shard is not None:
            return
        place = self._random.randrange(min(NEXT_OF, len(queue)))
        queue.rotate(-place)
        shard = queue.popleft()
        queue.rotate(place)
        instance.shard = shard
        self._place[shard.key] = instance.tier
        self._at(self._now + shard.seconds, lambda: self._finish(instance, shard))

    def _finish(self, instance: _Instance, shard: SimulatedShard) -> None:
        if instance.gone:
            return
        instance.shard = None
        if shard.needs and instance.tier != shard.needs:
            self._escalate(shard)
        else:
            self._receive(shard)
        self._lease(instance)

    def _escalate(self, shard: SimulatedShard) -> None:
        assert shard.needs
        self._place[shard.key] = shard.needs if self._world.notes else shard.tier
        self._publish(shard, shard.needs)

    def _receive(self, shard: SimulatedShard) -> None:
        """A receipt: dependents whose inputs are all done are published."""
        del self._open[shard.key]
        self.outcome.end_s = self._now
        for key in self._dependents.get(shard.key, ()):
            self._missing[key] -= 1
            if not self._missing[key]:
                self._publish(self._open[key], self._open[key].tier)

    # -- the policy

    def _sample(self) -> None:
        for tier in self._names:
            leased = sum(i.shard is not None for i in self._pools[tier])
            self._metric[tier].append((self._now + LATE_S, len(self._queues[tier]) + leased))
        self._at(self._now + SAMPLE_S, self._sample)

    def _backlog(self, tier: str) -> int | None:
        """The newest sample that can be seen."""
        seen = self._metric[tier]
        while len(seen) > 1 and seen[1][0] <= self._now:
            seen.popleft()
        if not self._world.metrics or not seen or seen[0][0] > self._now:
            return None
        return seen[0][1]

    def _left(self) -> dict[str, Left] | None:
        if not self._world.ledger(self._now):
            return None
        ready: Counter[str] = Counter()
        waiting: Counter[str] = Counter()
        for key in self._open:
            (waiting if self._missing[key] else ready)[self._place[key]] += 1
        return {tier: Left(ready[tier], waiting[tier]) for tier in self._names}

    def _decide(self) -> dict[str, int]:
        left = self._left()
        running = {tier: len(pool) for tier, pool in self._pools.items()}
        backlog = {tier: self._backlog(tier) for tier in self._names}
        counts = desired_counts(self._tiers, running, left, backlog, self._caps)
        if left is not None:
            ready = {tier: left[tier].ready for tier in self._names}
            self.outcome.starved += any(ready[tier] and not counts[tier] for tier in self._names)
            self.outcome.samples.append(Sample(self._now, ready, counts))
        return counts

    def _poll(self) -> None:
        self._look()
        self._at(self._now + POLL_S, self._poll)

    def _look(self) -> None:
        """Decide and write; what was written meanwhile makes the etag stale: look again."""
        counts, version = self._decide(), self._version

        def write() -> None:
            if self._version == version:
                self._apply(counts)
            else:
                self._look()

        self._at(self._now + WRITE_S, write)

    def _apply(self, counts: Mapping[str, int]) -> None:
        self._version += 1
        before = sum(map(len, self._pools.values()))
        for tier, count in counts.items():
            pool = self._pools[tier]
            for _ in range(count - len(pool)):
                self._start(tier)
            for instance in self._random.sample(pool, max(0, len(pool) - count)):
                self._stop(instance)
            self.outcome.most[tier] = max(self.outcome.most[tier], len(pool))
        total = sum(map(len, self._pools.values()))
        self.outcome.most[""] = max(self.outcome.most[""], total)
        if before and not total:
            self.outcome.off_s = max(self.outcome.off_s, self._now - self.outcome.end_s)

    def _start(self, tier: str) -> None:
        instance = _Instance(tier, self._now)
        self._pools[tier].append(instance)
        self._at(self._now + START_S, lambda: self._begin(instance))

    def _begin(self, instance: _Instance) -> None:
        instance.up = True
        self._lease(instance)

    def _stop(self, instance: _Instance) -> None:
        self._pools[instance.tier].remove(instance)
        self.outcome.billed_s += self._now - instance.since_s
        instance.gone = True
        if instance.shard is not None:
            self.outcome.kills += 1
            self._publish(instance.shard, instance.tier)
