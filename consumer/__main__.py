"""`python -m consumer work | fleet`: the commands that make shards."""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Final

import typer

from consumer import forced_exit
from consumer.exit_condition import ExitCondition, IdleTimeout
from consumer.fleet.fleet import Fleet, FleetConfig
from consumer.fleet.host_resources import cpus, free_bytes, work_limit_bytes
from consumer.fleet.worker_process import WorkerReport
from consumer.forced_exit import ForcedExit
from consumer.idle_notice import IdleNotice
from consumer.revision_check import check_revisions
from consumer.run_discovery import RunDiscovery, discover_runs
from consumer.run_supervisor import RunSupervisor
from consumer.signals import ShutdownFlags, end_with_parent
from consumer.worker.config import WorkerConfig, worker_id
from consumer.worker.loop import WorkerLoop
from consumer.worker.slots import MOST_SLOTS, automatic_slots
from consumer.worker.worker import Worker
from delivery.broker import open_broker, queue_path
from delivery.broker.base import Broker
from delivery.broker.fleet_lock import FleetLock
from delivery.ledger.run import Run
from delivery.messages import shortened
from memmodel import process_memory
from memmodel.capacity import Budget
from memmodel.tiers import MIB, Tier, parse_size, parse_tiers, tier_of
from runtime import cli, log, settings
from runtime.errors import EXIT_INTERRUPTED, ShardliftError, UsageError
from runtime.machine import raise_file_limit
from runtime.storage import absolute

ERROR_CHARS: Final = 600  # of a report, which must fit into the pipe at once
_STDOUT: Final = 1

app = cli.new_app("Workers: lease shards from the queue, make them, record them in the ledger.")

_log = log.get()

TierOption = Annotated[
    str, typer.Option("--tier", metavar="NAME", help="The tier to serve, such as 4gi or 512mi.")
]
DrainedOption = Annotated[
    bool, typer.Option("--until-drained", help="End when every known run has ended.")
]
IdleOption = Annotated[
    float | None,
    typer.Option(
        "--until-idle",
        min=0,
        metavar="SECONDS",
        help="End when no message came for so long; for jobs, which are paid until they end.",
    ),
]
MemoryOption = Annotated[
    str | None,
    typer.Option(
        "--memory",
        envvar=settings.WORKER_MEMORY,
        metavar="SIZE",
        help="Memory that workers may use, such as 16GiB. Default: what is free.",
    ),
]
CpusOption = Annotated[
    int | None,
    typer.Option("--cpus", min=1, metavar="N", help="Workers at once. Default: all CPUs."),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads", min=1, metavar="N", help="Threads per shard, at most. Default: all CPUs."
    ),
]
SlotsOption = Annotated[
    int | None,
    typer.Option(
        "--slots",
        envvar=settings.WORKER_SLOTS,
        min=1,
        max=MOST_SLOTS,
        metavar="N",
        help="Shards that a worker holds at once; half of them are in work, as far as its memory "
        "allows. Default: 4 per CPU where source, destination or state is in a bucket, else 1.",
    ),
]
# Without `envvar`, which splits at blanks: the variable holds one place.
StatesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--state",
        metavar="DIR|gs://BUCKET/PREFIX",
        help="State root: only runs below it are served. May be repeated. Default: the "
        "destination + '.runs'; a queue in a file names further ones. "
        f"[env var: {settings.STATE_PATH}]",
        show_default=False,
    ),
]
OwnerOption = Annotated[
    int | None, typer.Option("--owner", hidden=True, help="Process id of the fleet.")
]


@app.command()
def work(
    *,
    tier: TierOption,
    queue: cli.QueueOption = None,
    tiers: cli.TiersOption = settings.DEFAULT_TIERS,
    run: cli.RunOption = None,
    state: StatesOption = None,
    dest: cli.OptionalDestOption = None,
    lease: cli.LeaseOption = settings.DEFAULT_LEASE_S,
    memory: MemoryOption = None,
    threads: ThreadsOption = None,
    slots: SlotsOption = None,
    until_drained: DrainedOption = False,
    until_idle: IdleOption = None,
    owner: OwnerOption = None,
) -> None:
    """Serve one tier; what a container runs. Ctrl-C or SIGTERM releases the shard in work."""
    raise_file_limit()
    flags = ShutdownFlags()
    flags.listen()
    report = _reporter(owner)
    own = tier_of(tier)
    with _reported(report):
        discovery = _discover_runs(queue, run, state, dest)
        names = _tier_names(tiers, discovery, own)
    with _reported(report), open_broker(discovery.queue, names, lease) as broker:
        _check_roots(broker, discovery)
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
            log.WORKER_STARTED, worker=config.worker, tier=tier, queue=broker.url,
            roots=[*discovery.roots], slots=config.slots, memory_mib=limit_bytes // MIB,
        )  # fmt: skip
        if owner is None:  # else its fleet says so
            _warn_of_missing_run(discovery)
        worker = Worker(
            broker,
            config,
            flags,
            on_run_discovered=lambda found: _add_run(found, discovery, report),
            on_published=lambda name: report(WorkerReport(tier=name)),
        )
        ForcedExit(flags, forced_exit.WORKER_S, worker.give_back).watch()
        exit_condition = ExitCondition(broker, RunSupervisor(broker, discovery), busy=lambda: False)
        notice = IdleNotice(tier, discovery) if owner is None else None  # a fleet serves all tiers
        idle = IdleTimeout(until_idle)

        def on_busy(busy: bool) -> None:
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
        _log.info(log.WORKER_STOPPED, worker=config.worker)
    if owner is None:
        _end(flags, exit_condition if until_drained else None)


@app.command()
def fleet(
    *,
    queue: cli.QueueOption = None,
    tiers: cli.TiersOption = settings.DEFAULT_TIERS,
    run: cli.RunOption = None,
    state: StatesOption = None,
    dest: cli.OptionalDestOption = None,
    lease: cli.LeaseOption = settings.DEFAULT_LEASE_S,
    memory: MemoryOption = None,
    cpus_wanted: CpusOption = None,
    slots: SlotsOption = None,
    until_drained: DrainedOption = False,
) -> None:
    """Run workers for every tier within one machine's budget."""
    raise_file_limit()
    flags = ShutdownFlags()
    flags.listen()
    discovery = _discover_runs(queue, run, state, dest)
    names = _tier_names(tiers, discovery)
    budget = Budget(parse_size(memory) if memory else free_bytes(), cpus_wanted or cpus())
    with open_broker(discovery.queue, names, lease) as broker, _fleet_lock(broker):
        _check_roots(broker, discovery)
        check_revisions(discovery)
        config = FleetConfig(
            budget=budget,
            tiers=tuple(tier_of(name) for name in broker.tiers),
            options=_worker_options(broker, budget, discovery.roots, slots),
            roots=discovery.roots,
            planned=discovery.planned(),
        )
        _log.info(log.FLEET_STARTED, queue=broker.url, roots=[*discovery.roots], cpus=budget.cpus)
        _warn_of_missing_run(discovery)
        ForcedExit(flags, forced_exit.FLEET_S).watch()
        workers = Fleet(broker, config, flags, lambda uri: discovery.add(Run(uri)))
        exit_condition = ExitCondition(
            broker, RunSupervisor(broker, discovery), busy=lambda: workers.busy
        )
        workers.run(exit_condition, until_drained=until_drained)
        _log.info(log.FLEET_STOPPED)
    _end(flags, exit_condition if until_drained else None, workers.trouble)


def _fleet_lock(broker: Broker) -> AbstractContextManager[object]:
    """Lock that shows other programs of this machine that a fleet serves the queue."""
    if not broker.one_machine:
        return nullcontext()
    lock = FleetLock(queue_path(broker.url))
    lock.take_when_free()  # held by another fleet, or by the program that started this one
    return lock


def _discover_runs(
    queue: str | None, run: str | None, states: list[str] | None, dest: str | None
) -> RunDiscovery:
    """Discovery of the runs that the options name."""
    if not states:
        given = settings.default_state_url(dest) if dest else settings.get(settings.STATE_PATH)
        states = [given] if given else []
    return discover_runs(queue, run, [absolute(root) for root in states])


def _check_roots(broker: Broker, discovery: RunDiscovery) -> None:
    """Refuse to serve whatever run a message names.

    Raises:
        UsageError: no state root is known, nor ever will be.
    """
    if not discovery.roots and not broker.names_state_roots:
        raise UsageError(
            f"which runs may be served? No state root is given, and {broker.url} names none",
            hint="set STATE_PATH, or pass --state, --dest or --run: only runs below are served",
        )


def _warn_of_missing_run(discovery: RunDiscovery) -> None:
    """Warn where no run is found; no error, since one may be enqueued later."""
    if reason := discovery.missing():
        hint = "a run that is enqueued later is served; else check --dest, --state and --queue"
        _log.warning(log.RUN_MISSING, reason=reason, hint=hint)


def _tier_names(tiers: str, discovery: RunDiscovery, own: Tier | None = None) -> list[str]:
    """Every tier that a known run uses, else those of the settings; ascending."""
    names = set(discovery.tiers()) or {tier.name for tier in parse_tiers(tiers)}
    if own is not None:
        names.add(own.name)
    return sorted(names, key=lambda name: tier_of(name).limit_bytes)


def _worker_options(
    broker: Broker, budget: Budget, roots: tuple[str, ...], slots: int | None
) -> tuple[str, ...]:
    tiers = ",".join(str(tier_of(name).limit_bytes / (1 << 30)) for name in broker.tiers)
    options = ["--queue", broker.url, "--tiers", tiers]
    options += ["--lease", str(round(broker.lease_s))]
    if broker.one_machine:  # elsewhere a worker may share its machine
        options += ["--memory", f"{budget.memory_bytes / (1 << 20):.3f}MiB"]
        options += ["--threads", str(budget.cpus)]
    else:
        options += ["--threads", "1"]
    if slots is not None:
        options += ["--slots", str(slots)]
    return (*options, *(part for root in roots for part in ("--state", root)))


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


def _end(
    flags: ShutdownFlags, exit_condition: ExitCondition | None, trouble: str | None = None
) -> None:
    """Exit with 130 after an immediate shutdown; else raise for failed runs."""
    if flags.immediate.is_set():
        raise typer.Exit(EXIT_INTERRUPTED)
    if exit_condition is not None:
        exit_condition.raise_for_failures(trouble)


if __name__ == "__main__":
    cli.run(app)
