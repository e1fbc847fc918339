"""Fleet: starts, moves, replaces and stops workers of every tier within one machine's budget."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from consumer.exit_condition import ExitCondition
from consumer.fleet.host_resources import served_tiers
from consumer.fleet.start_probe import start_failure
from consumer.fleet.worker_process import COMMAND, WorkerProcess, WorkerReport
from consumer.signals import ShutdownFlags
from consumer.worker.config import WorkerConfig
from consumer.worker.loop import MAX_ERRORS
from consumer.worker.worker import Worker
from delivery.broker.base import Broker
from memmodel.capacity import Budget, allocate
from memmodel.tiers import Tier
from runtime import log, log_events
from runtime.clock import uptime_s
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
FROZEN_S: Final = 1.5  # a pause of `TICK_S` that takes so long was not slept, but frozen
GRACE_S: Final = 8.0  # for workers to release their shards; Cloud Run gives ten seconds in all
EMPTY_S: Final = 30.0  # how long a queue of unknown length counts as empty, at first
MAX_EMPTY_S: Final = 240.0  # ... and after it was found empty several times in a row
MAX_DEATHS: Final = 20  # of workers in a row, without any shard begun

StartWorker = Callable[[Tier, Callable[[WorkerReport], None]], WorkerProcess]

_log = log.get()


class WorkersFailed(ShardliftError):  # noqa: N818 - a summary
    """A worker gave up, or workers die as soon as they start; the fleet ends with its exit code."""

    def __init__(self, message: str, hint: str, exit_code: int) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class FleetConfig:
    """Configuration of a fleet.

    Attributes:
        budget: memory and CPUs for all workers together.
        tiers: of all known runs.
        options: of `consumer work`, for every worker.
        roots: URLs of the state roots that were given.
        command: the worker program.
        on_log: called with each line that a worker logs; None: workers log to stderr themselves.
        planned: shards per tier by the plans; where queue lengths are unknown, tiers without any
            are probed last.
    """

    budget: Budget
    tiers: tuple[Tier, ...]
    options: tuple[str, ...]
    roots: tuple[str, ...] = ()
    command: tuple[str, ...] = COMMAND
    planned: Mapping[str, int] = field(default_factory=dict)
    on_log: Callable[[str], None] | None = None


@dataclass(slots=True)
class _TierProbe:
    """What workers found in a queue of unknown length.

    Attributes:
        planned: shards by the plans, until a worker finds the queue empty.
        empty_until_s: the queue counts as empty until then.
    """

    planned: int = 0
    empty_until_s: float = 0.0
    empty_for_s: float = EMPTY_S / 2

    def found_empty(self, now_s: float) -> None:
        """Let the queue count as empty for a while, twice as long each time in a row."""
        self.planned = 0
        if now_s >= self.empty_until_s:
            self.empty_for_s = min(MAX_EMPTY_S, 2 * self.empty_for_s)
            self.empty_until_s = now_s + self.empty_for_s

    def found_message(self) -> None:
        """Let the queue count as not empty: a worker leased or published a message."""
        self.empty_until_s, self.empty_for_s = 0.0, EMPTY_S / 2


class Fleet:
    """Starts, moves, replaces and stops workers.

    Args:
        broker: the queues.
        config: budget, tiers and options of the workers.
        flags: requests to shut down.
        on_run_discovered: called with the URI of each run that a worker discovered.
        start_worker: starts a worker process of a tier; another one in tests.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        broker: Broker,
        config: FleetConfig,
        flags: ShutdownFlags,
        on_run_discovered: Callable[[str], None],
        *,
        start_worker: StartWorker | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broker = broker
        self._config = config
        self._flags = flags
        self._on_run_discovered = on_run_discovered
        self._start_worker = start_worker or self._start_process
        self._clock = clock
        self._workers: list[WorkerProcess] = []
        self._probes = {t.name: _TierProbe(config.planned.get(t.name, 0)) for t in config.tiers}
        for probe in self._probes.values():
            if config.planned and not probe.planned:
                probe.found_empty(clock())
        self._deaths = 0
        self._errors = 0
        self._trouble: str | None = None
        self._tiers = config.tiers
        if broker.one_machine:
            self._tiers = served_tiers(config.tiers, config.budget.memory_bytes)

    @property
    def busy(self) -> bool:
        """Whether a worker has a shard, or was just started and may get one."""
        return any(worker.state != "idle" for worker in self._workers)

    @property
    def trouble(self) -> str | None:
        """What last kept workers from their work, if anything did."""
        if self._deaths and self._trouble is None:
            ended = "workers ended as soon as they started; the log has their last words"
            return start_failure(self._config.command) or ended
        return self._trouble

    def run(self, exit_condition: ExitCondition, *, until_drained: bool) -> None:
        """Run until a shutdown is requested, or until all runs have ended.

        Raises:
            UsageError, UnreachableError: what workers gave up over.
        """
        try:
            while not self._flags.wanted:
                if self._tick_with_backoff(exit_condition) and until_drained:
                    break
                began_s = uptime_s()
                self._flags.immediate.wait(TICK_S)
                if uptime_s() - began_s > FROZEN_S:
                    exit_condition.resume()
        finally:
            self._stop_all()

    def tick(self) -> None:
        """Compare workers with backlogs once: forget, start and retire workers."""
        self._dead_letter_shards_beyond_machine()
        self._reap()
        backlog = {tier.name: self._backlog(tier.name) for tier in self._tiers}
        self._move(allocate(backlog, self._tiers, self._config.budget).workers)

    def _tick_with_backoff(self, exit_condition: ExitCondition) -> bool:
        """Tick; whether all runs have ended. Pause after an error, longer each time in a row."""
        try:
            self.tick()
            ended = exit_condition.should_exit()
        except UnreachableError as error:
            self._errors += 1
            if self._errors >= MAX_ERRORS:
                raise
            seconds = 2**self._errors
            _log.warning(log_events.WORKER_BACKOFF, reason=str(error), seconds=seconds)
            self._flags.immediate.wait(seconds)
            return False
        self._errors = 0
        return ended

    def _reap(self) -> None:
        """Forget workers that ended; one that gave up ends the fleet with its exit code."""
        for worker in [worker for worker in self._workers if worker.exit_code is not None]:
            self._workers.remove(worker)
            code = worker.exit_code
            if code in {EXIT_USAGE, EXIT_UNREACHABLE}:
                cause = f": {worker.error}" if worker.error else ""
                message = f"a worker of tier {worker.tier.name} gave up{cause}"
                raise WorkersFailed(message, "mend that; the same command continues", code)
            # Asked for by nobody: OpenBLAS interrupts a process that it has no threads for.
            uncalled = code == EXIT_INTERRUPTED and worker.state == "new"
            if code not in {EXIT_DONE, EXIT_INTERRUPTED} or uncalled:
                self._count_death(worker)

    def _count_death(self, worker: WorkerProcess) -> None:
        """Log a worker that died; the next tick replaces it, unless many died at their start."""
        self._deaths = 0 if worker.state != "new" else self._deaths + 1
        _log.warning(
            log_events.WORKER_DIED, tier=worker.tier.name, pid=worker.pid, code=worker.exit_code
        )
        if self._deaths >= MAX_DEATHS:
            cause = worker.error or start_failure(self._config.command)
            raise WorkersFailed(
                f"{self._deaths} workers in a row ended as soon as they started"
                + (f": {cause}" if cause else ""),
                f"try one: python -m consumer work --tier {worker.tier.name}",
                EXIT_FINDINGS,
            )

    def _move(self, wanted: Mapping[str, int]) -> None:
        """Start workers where a tier has too few; without room, retire those of too many."""
        for tier in sorted(self._tiers, key=lambda tier: -tier.limit_bytes):
            missing = wanted[tier.name] - len(self._of(tier))
            while missing > 0 and self._room_for(tier):
                self._workers.append(self._start_worker(tier, self._on_report))
                missing -= 1
            if missing > 0:
                self._retire_surplus(wanted)

    def _retire_surplus(self, wanted: Mapping[str, int]) -> None:
        """Retire idle workers first; a busy one finishes its shard."""
        for tier in self._tiers:
            workers = sorted(self._of(tier), key=lambda worker: worker.state == "busy")
            for worker in workers[: max(0, len(workers) - wanted[tier.name])]:
                worker.retire()

    def _of(self, tier: Tier) -> list[WorkerProcess]:
        return [worker for worker in self._workers if worker.tier == tier and not worker.retiring]

    def _room_for(self, tier: Tier) -> bool:
        used_bytes = sum(worker.tier.limit_bytes for worker in self._workers)
        budget = self._config.budget
        return (
            len(self._workers) < budget.cpus
            and used_bytes + tier.limit_bytes <= budget.memory_bytes
        )

    def _backlog(self, tier: str) -> int | None:
        """Shards waiting or leased; where the queue length is unknown, an estimate from probes."""
        backlog = self._broker.backlog(tier)
        if backlog.waiting is not None:
            return backlog.waiting + (backlog.leased or 0)
        probe = self._probes[tier]
        workers = [w for w in self._workers if w.tier.name == tier and not w.retiring]
        if any(worker.state == "busy" for worker in workers):
            probe.found_message()
        elif workers and all(worker.state == "idle" for worker in workers):
            probe.found_empty(self._clock())
        if self._clock() < probe.empty_until_s:
            return 0
        not_idle = [worker for worker in workers if worker.state != "idle"]
        if len(not_idle) < len(workers):
            return len(not_idle)
        return max(2 * len(workers), probe.planned) or None

    def _start_process(
        self, tier: Tier, on_report: Callable[[WorkerReport], None]
    ) -> WorkerProcess:
        config = self._config
        return WorkerProcess(tier, config.options, on_report, config.command, config.on_log)

    def _on_report(self, report: WorkerReport) -> None:
        if report.error is not None:
            self._trouble = report.error or None
        if report.run is not None:
            self._on_run_discovered(report.run)
        if report.tier in self._probes:
            self._probes[report.tier].found_message()

    def _dead_letter_shards_beyond_machine(self) -> None:
        """Dead-letter shards of tiers that no worker of these queues can ever serve."""
        if not self._broker.one_machine:
            return
        served = {tier.name for tier in self._tiers}
        for tier in self._config.tiers:
            if tier.name not in served and self._broker.backlog(tier.name).waiting:
                self._dead_letter_tier(tier)

    def _dead_letter_tier(self, tier: Tier) -> None:
        memory_bytes = self._config.budget.memory_bytes
        config = WorkerConfig(tier, None, machine_bytes=memory_bytes, roots=self._config.roots)
        worker = Worker(self._broker, config, self._flags)
        while (delivery := self._broker.lease(tier.name)) is not None:
            worker.handle(delivery)

    def _stop_all(self) -> None:
        for worker in self._workers:
            worker.stop()
        until_s = self._clock() + GRACE_S
        for worker in self._workers:
            if not worker.wait(max(0.0, until_s - self._clock())):
                worker.kill()
                worker.wait(GRACE_S)
        self._workers.clear()
