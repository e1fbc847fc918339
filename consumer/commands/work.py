"""`consumer work`: one worker."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import typer

from consumer import forced_exit
from consumer.canary import CanaryReply
from consumer.commands import options
from consumer.commands.serving import (
    check_roots,
    end,
    find_runs,
    tier_names,
    warn_of_missing_run,
)
from consumer.early_fork import fork_early
from consumer.exit_condition import ExitCondition, IdleTimeout
from consumer.fleet.host_resources import cpus, work_limit_bytes
from consumer.fleet.worker_process import WorkerReport
from consumer.forced_exit import ForcedExit
from consumer.idle_notice import IdleNotice
from consumer.revision_check import check_revisions
from consumer.run_discovery import RunDiscovery
from consumer.run_supervisor import RunSupervisor
from consumer.signals import ShutdownFlags, end_with_parent
from consumer.worker.config import WorkerConfig, worker_id
from consumer.worker.fork_server import ForkServer, Server
from consumer.worker.loop import WorkerLoop
from consumer.worker.slots import automatic_slots, executors_for
from consumer.worker.worker import Worker
from delivery.broker import open_broker
from delivery.ledger.run import Run
from delivery.messages import shortened
from memmodel import process_memory
from memmodel.tiers import MIB, parse_size, tier_of
from runtime import common_options, log, log_events, settings
from runtime.errors import EXIT_INTERRUPTED, ShardliftError
from runtime.machine import raise_file_limit
from runtime.urls import is_remote

ERROR_CHARS: Final = 600  # of a report, which must fit into the pipe at once
_STDOUT: Final = 1

_log = log.get()


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(work)


def work(
    *,
    tier: options.TierOption,
    queue: common_options.QueueOption = None,
    tiers: common_options.TiersOption = settings.DEFAULT_TIERS,
    run: common_options.RunOption = None,
    state: options.StatesOption = None,
    dest: common_options.OptionalDestOption = None,
    lease: common_options.LeaseOption = settings.DEFAULT_LEASE_S,
    memory: options.MemoryOption = None,
    threads: options.ThreadsOption = None,
    slots: options.SlotsOption = None,
    until_drained: options.DrainedOption = False,
    until_idle: options.IdleOption = None,
    owner: options.OwnerOption = None,
) -> None:
    """Serve one tier; what a container runs. Ctrl-C or SIGTERM releases the shard in work.

    Example: python -m consumer work --tier 4gi --queue pubsub://my-project/brain --state gs://b/v.runs

    Example: python -m consumer work --tier 2gi --dest out --until-drained
    """
    raise_file_limit()
    report = _reporter(owner)
    own = tier_of(tier)
    early = fork_early() if _may_be_remote(slots, run, dest, state) else None
    flags = ShutdownFlags()
    flags.listen()
    with _reported(report):
        discovery = find_runs(queue, run, state, dest)
        names = tier_names(tiers, discovery, own)
    with _reported(report), open_broker(discovery.queue, names, lease) as broker:
        check_roots(broker, discovery)
        check_revisions(discovery)
        given_bytes = parse_size(memory) if memory else process_memory.memory_limit().limit_bytes
        limit_bytes = work_limit_bytes(own, given_bytes)
        if slots is None and discovery.remote():  # a fleet's worker stands for one CPU
            slots = automatic_slots(1 if owner else threads or cpus(), limit_bytes)
        config = WorkerConfig(
            tier=own,
            limit_bytes=limit_bytes,
            threads=threads or cpus(),
            machine_bytes=given_bytes if broker.one_machine else None,
            roots=discovery.roots,
            slots=slots or 1,
            worker=worker_id(),
        )
        _log.info(
            log_events.WORKER_STARTED, worker=config.worker, tier=tier, queue=broker.url,
            roots=[*discovery.roots], slots=config.slots, memory_mib=limit_bytes // MIB,
        )  # fmt: skip
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
        idle = IdleTimeout(until_idle)

        canary = CanaryReply(broker, config)

        def on_busy(busy: bool) -> None:
            canary.send_once()
            report(WorkerReport(busy=busy))
            idle.reset()
            if notice is not None:
                notice.reset()

        def should_exit() -> bool:
            if notice is not None:
                notice.tick()
            return idle.met or (until_drained and exit_condition.should_exit())

        loop = WorkerLoop(
            broker, tier, worker, flags, on_busy=on_busy,
            on_trouble=lambda text: report(WorkerReport(error=shortened(text, ERROR_CHARS))),
        )  # fmt: skip
        loop.run(should_exit)
        _log.info(log_events.WORKER_STOPPED, worker=config.worker)
    if owner is None:
        end(flags, exit_condition if until_drained else None)


def _may_be_remote(slots: int | None, *given: str | Sequence[str] | None) -> bool:
    """Whether a worker with these options may have several executors, and remote storage."""
    if slots == 1:
        return False
    places = [settings.get(settings.STATE_PATH)]
    for one in given:
        places += [one] if isinstance(one, str) or one is None else one
    return any(place and is_remote(place) for place in places)


def _fork_server(early: Server | None, config: WorkerConfig) -> ForkServer | None:
    """The fork server that was forked early, if executors are to be forked."""
    if early is None:
        return None
    forks = ForkServer(early=early)
    if executors_for(config.slots) > 1:
        return forks
    forks.close()
    return None


def _reporter(owner: int | None) -> Callable[[WorkerReport], None]:
    """Print reports for the fleet, and end with it; without a fleet, print nothing."""
    if owner is None:
        return lambda _: None
    if not end_with_parent(owner):  # the fleet died while this process started
        raise typer.Exit(EXIT_INTERRUPTED)

    os.set_blocking(_STDOUT, False)

    def report(status: WorkerReport) -> None:
        # A fleet that is frozen reads nothing: its workers go on without their reports.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(_STDOUT, status.line().encode())

    return report


@contextlib.contextmanager
def _reported(report: Callable[[WorkerReport], None]) -> Iterator[None]:
    """Report the error that ends this worker, so that its fleet can name the cause."""
    try:
        yield
    except ShardliftError as error:
        text = ". ".join(filter(None, (str(error), error.hint)))
        report(WorkerReport(error=shortened(text, ERROR_CHARS)))
        raise
    except (OSError, MemoryError) as error:
        report(WorkerReport(error=shortened(str(error) or type(error).__name__, ERROR_CHARS)))
        raise


def _add_run(run: Run, discovery: RunDiscovery, report: Callable[[WorkerReport], None]) -> None:
    discovery.add(run)
    report(WorkerReport(run=run.uri))
