"""One worker, served from its start to its end."""

from collections.abc import Callable

from consumer import forced_exit
from consumer.actions.serving import (
    check_roots,
    end,
    find_runs,
    tier_names,
    warn_of_missing_run,
)
from consumer.actions.worker_reports import Report, error_report, reported, reporter
from consumer.canary import CanaryReply
from consumer.commands.options import ServingOptions
from consumer.early_fork import fork_early
from consumer.exit_condition import ExitCondition, IdleTimeout
from consumer.fleet.host_resources import cpus, work_limit_bytes
from consumer.fleet.worker_process import WorkerReport
from consumer.forced_exit import ForcedExit
from consumer.idle_notice import IdleNotice
from consumer.revision_check import check_revisions
from consumer.run_discovery import RunDiscovery
from consumer.run_supervisor import RunSupervisor
from consumer.signals import ShutdownFlags
from consumer.worker.config import WorkerConfig, worker_id
from consumer.worker.fork_server import ForkServer, Server
from consumer.worker.loop import WorkerLoop
from consumer.worker.slots import automatic_slots, executors_for
from consumer.worker.worker import Worker
from delivery.broker import open_broker
from delivery.broker.base import Broker
from delivery.ledger.run import Run
from memmodel import process_memory
from memmodel.tiers import MIB, Tier, parse_size, tier_of
from runtime import log, log_events, settings
from runtime.machine import raise_file_limit
from runtime.urls import is_remote

_log = log.get()


def run_worker(
    serving: ServingOptions,
    *,
    tier: str,
    threads: int | None,
    idle_s: float | None,
    owner: int | None,
) -> None:
    """Serve one tier until it is time to end.

    Args:
        serving: what is served, with what, and until when.
        tier: its name.
        threads: per shard, at most; None for as many as there are CPUs.
        idle_s: without a message, before the worker ends; None for never.
        owner: process id of the fleet.
    """
    raise_file_limit()
    report = reporter(owner)
    own = tier_of(tier)
    early = fork_early() if _may_be_remote(serving) else None
    flags = ShutdownFlags()
    flags.listen()
    with reported(report):
        discovery = find_runs(serving)
        names = tier_names(serving.tiers, discovery, own)
    with reported(report), open_broker(discovery.queue, names, serving.lease) as broker:
        check_roots(broker, discovery)
        check_revisions(discovery)
        config = _config(
            serving, own, broker, discovery, threads=threads or cpus(), of_fleet=bool(owner)
        )
        _log_start(broker, config)
        if owner is None:  # else its fleet says so
            warn_of_missing_run(discovery)
        worker = Worker(
            broker,
            config,
            flags,
            forks=_fork_server(early, config),
            on_run_discovered=lambda found: _add_run(found, discovery, report),
            on_published=lambda name: report(WorkerReport(tier=name)),
        )
        ForcedExit(flags, forced_exit.WORKER_S, worker.give_back).watch()
        exit_condition = ExitCondition(broker, RunSupervisor(broker, discovery), busy=lambda: False)
        notice = IdleNotice(tier, discovery) if owner is None else None  # a fleet serves all tiers
        watch = _Watch(CanaryReply(broker, config), IdleTimeout(idle_s), notice, report)
        loop = WorkerLoop(
            broker, tier, worker, flags, on_busy=watch.on_busy,
            on_trouble=lambda text: report(error_report(text)),
        )  # fmt: skip
        drained = exit_condition.should_exit if serving.until_drained else lambda: False
        loop.run(lambda: watch.idle_for_long() or drained())
        _log.info(log_events.WORKER_STOPPED, worker=config.worker)
    if owner is None:
        end(flags, exit_condition if serving.until_drained else None)


class _Watch:
    """Watches whether the worker has work, and tells of it.

    Args:
        canary: sent as soon as the worker serves.
        idle: after which the worker ends.
        notice: why there is no work; None if its fleet knows.
        report: to the fleet.
    """

    def __init__(
        self, canary: CanaryReply, idle: IdleTimeout, notice: IdleNotice | None, report: Report
    ) -> None:
        self._canary = canary
        self._idle = idle
        self._notice = notice
        self._report = report

    def on_busy(self, busy: bool) -> None:
        """Begin anew: the worker got or finished a shard."""
        self._canary.send_once()
        self._report(WorkerReport(busy=busy))
        self._idle.reset()
        if self._notice is not None:
            self._notice.reset()

    def idle_for_long(self) -> bool:
        """Whether the worker has been idle for as long as it may be."""
        if self._notice is not None:
            self._notice.tick()
        return self._idle.met


def _config(
    serving: ServingOptions,
    tier: Tier,
    broker: Broker,
    discovery: RunDiscovery,
    *,
    threads: int,
    of_fleet: bool,
) -> WorkerConfig:
    """Configuration of the worker, as far as this machine's memory allows."""
    memory = serving.memory
    given_bytes = parse_size(memory) if memory else process_memory.memory_limit().limit_bytes
    limit_bytes = work_limit_bytes(tier, given_bytes)
    slots = serving.slots
    if slots is None and discovery.remote():  # a fleet's worker stands for one CPU
        slots = automatic_slots(1 if of_fleet else threads, limit_bytes)
    return WorkerConfig(
        tier=tier,
        limit_bytes=limit_bytes,
        threads=threads,
        machine_bytes=given_bytes if broker.one_machine else None,
        roots=discovery.roots,
        slots=slots or 1,
        worker=worker_id(),
    )


def _log_start(broker: Broker, config: WorkerConfig) -> None:
    _log.info(
        log_events.WORKER_STARTED,
        worker=config.worker,
        tier=config.tier.name,
        queue=broker.url,
        roots=[*config.roots],
        slots=config.slots,
        memory_mib=config.limit_bytes and config.limit_bytes // MIB,
    )


def _may_be_remote(serving: ServingOptions) -> bool:
    """Whether a worker with these options may have several executors, and remote storage."""
    if serving.slots == 1:
        return False
    named = (serving.run, serving.dest, settings.get(settings.STATE_PATH))
    return any(place and is_remote(place) for place in (*named, *(serving.state or ())))


def _fork_server(early: Server | None, config: WorkerConfig) -> ForkServer | None:
    """The fork server that was forked early, if executors are to be forked."""
    if early is None:
        return None
    forks = ForkServer(early=early)
    if executors_for(config.slots) > 1:
        return forks
    forks.close()
    return None


def _add_run(run: Run, discovery: RunDiscovery, report: Callable[[WorkerReport], None]) -> None:
    discovery.add(run)
    report(WorkerReport(run=run.uri))
