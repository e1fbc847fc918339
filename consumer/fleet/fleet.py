"""Workers for every tier within one machine's budget, moved to where shards wait."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from consumer.exit_condition import ExitCondition
from consumer.fleet.host_resources import served_tiers
from consumer.fleet.worker_process import COMMAND, WorkerProcess, WorkerReport
from consumer.signals import ShutdownFlags
from consumer.worker.disposition import WorkerConfig
from consumer.worker.loop import MOST_TROUBLES
from consumer.worker.worker import Worker
from delivery.broker.base import Broker
from memmodel.capacity import Budget, allocate
from memmodel.tiers import Tier
from runtime import log
from runtime.errors import (
    EXIT_DONE,
    EXIT_FINDINGS,
    EXIT_INTERRUPTED,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    ShardliftError,
    UnreachableError,
)

TICK_S: Final = 0.25
GRACE_S: Final = 8.0  # for workers to hand back; Cloud Run gives ten seconds in all
EMPTY_S: Final = 30.0  # how long a queue that tells no numbers counts as empty, at first
MOST_EMPTY_S: Final = 240.0  # ... and after it was found empty several times in a row
MOST_DEATHS: Final = 20  # of workers, without any shard begun in between

_log = log.get()


class WorkersFailed(ShardliftError):  # noqa: N818 - what is said at the end
    """Workers gave up, or die as soon as they start; ends the fleet as it ended them."""

    def __init__(self, message: str, hint: str, exit_code: int) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class FleetConfig:
    """What every worker of a fleet is started with.

    Attributes:
        budget: of this machine.
        tiers: of all known runs.
        options: for `consumer work`.
        state: URL of the state root, where known.
        command: the program.
        planned: shards per tier that plans name, for queues that tell no numbers: other tiers are
            looked at later.
    """

    budget: Budget
    tiers: tuple[Tier, ...]
    options: tuple[str, ...]
    state: str | None = None
    command: tuple[str, ...] = COMMAND
    planned: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Probes:
    """What workers found in the queue of a tier that tells no numbers.

    Attributes:
        planned: shards that plans name there, until a worker finds nothing.
    """

    planned: int = 0
    empty_until_s: float = 0.0
    empty_for_s: float = EMPTY_S / 2

    def found_nothing(self) -> None:
        """Look again later, and later still if that is in vain too."""
        now_s, self.planned = time.monotonic(), 0
        if now_s >= self.empty_until_s:
            self.empty_for_s = min(MOST_EMPTY_S, 2 * self.empty_for_s)
            self.empty_until_s = now_s + self.empty_for_s

    def found_something(self) -> None:
        """Or a worker published something there."""
        self.empty_until_s, self.empty_for_s = 0.0, EMPTY_S / 2


class Fleet:
    """Starts, moves, replaces and stops workers.

    Args:
        broker: the queues.
        crew: what workers are started with.
        flags: whether to stop.
        met: told each run that a worker met.
    """

    def __init__(
        self, broker: Broker, crew: FleetConfig, flags: ShutdownFlags, met: Callable[[str], None]
    ) -> None:
        self._broker = broker
        self._crew = crew
        self._flags = flags
        self._met = met
        self._hands: list[WorkerProcess] = []
        self._probes = {t.name: _Probes(crew.planned.get(t.name, 0)) for t in crew.tiers}
        for probes in self._probes.values():
            if crew.planned and not probes.planned:
                probes.found_nothing()
        self._deaths = 0
        self._troubles = 0
        self._tiers = crew.tiers
        if broker.one_machine:
            self._tiers = served_tiers(crew.tiers, crew.budget.memory_bytes)

    @property
    def busy(self) -> bool:
        """Whether a worker has a shard, or was just started and may get one."""
        return any(hand.state != "idle" for hand in self._hands)

    def run(self, ending: ExitCondition, *, until_drained: bool) -> None:
        """Work until told to stop, or until all is drained.

        Raises:
            UsageError, UnreachableError: what workers gave up over.
        """
        try:
            while not self._flags.wanted:
                if self._patiently(ending) and until_drained:
                    break
                self._flags.immediate.wait(TICK_S)
        finally:
            self._stop_all()

    def _patiently(self, ending: ExitCondition) -> bool:
        """One look at everything; whether all is over. A queue may be out of reach for a while."""
        try:
            self._tick()
            over = ending.look()
        except UnreachableError as error:
            self._troubles += 1
            if self._troubles >= MOST_TROUBLES:
                raise
            _log.warning(log.WORKER_BACKOFF, reason=str(error))
            self._flags.immediate.wait(2**self._troubles)
            return False
        self._troubles = 0
        return over

    def _tick(self) -> None:
        self._bury_what_is_beyond_us()
        self._reap()
        backlog = {tier.name: self._backlog(tier.name) for tier in self._tiers}
        wanted = allocate(backlog, self._tiers, self._crew.budget).workers
        self._move(wanted)

    def _reap(self) -> None:
        """Forget workers that ended; those that gave up end the fleet with their exit code."""
        for hand in [hand for hand in self._hands if hand.exit_code is not None]:
            self._hands.remove(hand)
            code = hand.exit_code
            if code in {EXIT_USAGE, EXIT_UNREACHABLE}:
                said = f"a worker of tier {hand.tier.name} gave up"
                raise WorkersFailed(said, "its last lines say why", code)
            if code not in {EXIT_DONE, EXIT_INTERRUPTED}:
                self._replace(hand)

    def _replace(self, hand: WorkerProcess) -> None:
        """A worker died: another will start. Where all die at once, something else is wrong."""
        self._deaths = 0 if hand.state != "new" else self._deaths + 1
        _log.warning(log.WORKER_DIED, tier=hand.tier.name, pid=hand.pid, code=hand.exit_code)
        if self._deaths >= MOST_DEATHS:
            raise WorkersFailed(
                f"{self._deaths} workers in a row ended as soon as they started",
                f"try one: python -m consumer work --tier {hand.tier.name}",
                EXIT_FINDINGS,
            )

    def _move(self, wanted: Mapping[str, int]) -> None:
        """Start workers where there are too few; without room, retire where there are too many."""
        for tier in sorted(self._tiers, key=lambda tier: -tier.limit_bytes):
            missing = wanted[tier.name] - len(self._of(tier))
            while missing > 0 and self._room_for(tier):
                crew = self._crew
                self._hands.append(WorkerProcess(tier, crew.options, self._hear, crew.command))
                missing -= 1
            if missing > 0:
                self._retire_surplus(wanted)

    def _retire_surplus(self, wanted: Mapping[str, int]) -> None:
        """Those that are idle first; one with a shard finishes it."""
        for tier in self._tiers:
            hands = sorted(self._of(tier), key=lambda hand: hand.state == "busy")
            for hand in hands[: max(0, len(hands) - wanted[tier.name])]:
                hand.retire()

    def _of(self, tier: Tier) -> list[WorkerProcess]:
        return [hand for hand in self._hands if hand.tier == tier and not hand.retiring]

    def _room_for(self, tier: Tier) -> bool:
        used_bytes = sum(hand.tier.limit_bytes for hand in self._hands)
        budget = self._crew.budget
        return (
            len(self._hands) < budget.cpus and used_bytes + tier.limit_bytes <= budget.memory_bytes
        )

    def _backlog(self, tier: str) -> int | None:
        """Shards waiting or in work; where the queue does not tell, what our workers find."""
        backlog = self._broker.backlog(tier)
        if backlog.waiting is not None:
            return backlog.waiting + (backlog.leased or 0)
        probes = self._probes[tier]
        hands = [hand for hand in self._hands if hand.tier.name == tier and not hand.retiring]
        if any(hand.state == "busy" for hand in hands):
            probes.found_something()
        elif hands and all(hand.state == "idle" for hand in hands):
            probes.found_nothing()
        if time.monotonic() < probes.empty_until_s:
            return 0
        found = [hand for hand in hands if hand.state != "idle"]
        if len(found) < len(hands):
            return len(found)
        return max(2 * len(hands), probes.planned) or None

    def _hear(self, word: WorkerReport) -> None:
        if word.run is not None:
            self._met(word.run)
        if word.tier in self._probes:
            self._probes[word.tier].found_something()

    def _bury_what_is_beyond_us(self) -> None:
        """Where this machine is all there is, what needs more would wait for ever."""
        if not self._broker.one_machine:
            return
        served = {tier.name for tier in self._tiers}
        for tier in self._crew.tiers:
            if tier.name not in served and self._broker.backlog(tier.name).waiting:
                self._bury(tier)

    def _bury(self, tier: Tier) -> None:
        memory_bytes = self._crew.budget.memory_bytes
        post = WorkerConfig(tier, None, machine_bytes=memory_bytes, state=self._crew.state)
        worker = Worker(self._broker, post, self._flags)
        while (delivery := self._broker.lease(tier.name)) is not None:
            worker.handle(delivery)

    def _stop_all(self) -> None:
        for hand in self._hands:
            hand.stop()
        until_s = time.monotonic() + GRACE_S
        for hand in self._hands:
            if not hand.wait(max(0.0, until_s - time.monotonic())):
                hand.kill()
                hand.wait(GRACE_S)
        self._hands.clear()
