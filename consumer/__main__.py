"""`python -m consumer work | fleet`: the programs that make shards."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Final

import typer

from consumer.exit_condition import ExitCondition
from consumer.fleet.fleet import Fleet, FleetConfig
from consumer.fleet.host_resources import cpus, free_bytes, parse_size, work_limit_bytes
from consumer.fleet.worker_process import WorkerReport
from consumer.run_discovery import RunDiscovery
from consumer.run_supervisor import RunSupervisor
from consumer.signals import ShutdownFlags
from consumer.worker.disposition import WorkerConfig, worker_id
from consumer.worker.loop import WorkerLoop
from consumer.worker.worker import Worker
from delivery.broker import absolute_queue_url, open_broker, queue_path
from delivery.broker.base import Broker
from delivery.broker.fleet_lock import FleetLock
from delivery.ledger.run import Run, find_run
from memmodel import process_memory
from memmodel.capacity import Budget
from memmodel.tiers import Tier, parse_tiers, tier_of
from runtime import cli, log, settings
from runtime.errors import EXIT_INTERRUPTED, UsageError
from runtime.storage import absolute

PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h

app = cli.new_app("Workers: take shards from the queue, make them, keep the ledger.")

_log = log.get()

TierOption = Annotated[
    str, typer.Option("--tier", metavar="NAME", help="Whose queue to serve, such as 4gi or 512mi.")
]
DrainedOption = Annotated[
    bool, typer.Option("--until-drained", help="End when every known run has ended.")
]
MemoryOption = Annotated[
    str | None,
    typer.Option(
        "--memory",
        envvar=settings.WORKER_MEMORY,
        metavar="SIZE",
        help="What this machine may spend on work, such as 16GiB. Default: what is free.",
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
OwnerOption = Annotated[
    int | None, typer.Option("--owner", hidden=True, help="Process id of the fleet.")
]


@app.command()
def work(
    *,
    tier: TierOption,
    queue: cli.QueueOption = settings.DEFAULT_QUEUE_URL,
    tiers: cli.TiersOption = settings.DEFAULT_TIERS,
    run: cli.RunOption = None,
    state: cli.StateOption = None,
    dest: cli.OptionalDestOption = None,
    lease: cli.LeaseOption = settings.DEFAULT_LEASE_S,
    memory: MemoryOption = None,
    threads: ThreadsOption = None,
    until_drained: DrainedOption = False,
    owner: OwnerOption = None,
) -> None:
    """Serve one tier; what a container runs. Ctrl-C or SIGTERM hands the present shard back."""
    flags = ShutdownFlags()
    flags.listen()
    own = tier_of(tier)
    known = _known(queue, run, state, dest)
    with open_broker(queue, _names(tiers, known, own), lease) as broker:
        given_bytes = parse_size(memory) if memory else process_memory.memory_limit().limit_bytes
        post = WorkerConfig(
            tier=own,
            limit_bytes=work_limit_bytes(own, given_bytes),
            threads=threads or cpus(),
            machine_bytes=given_bytes if broker.one_machine else None,
            state=known.state.url if known.state else None,
            worker=worker_id(),
        )
        _log.info(log.WORKER_STARTED, worker=post.worker, tier=tier, queue=broker.url)
        tell = _teller(owner)
        worker = Worker(
            broker,
            post,
            flags,
            learned=lambda met: _met(met, known, tell),
            published=lambda name: tell(WorkerReport(tier=name)),
        )
        ending = ExitCondition(broker, RunSupervisor(broker, known), busy=lambda: False)
        shift = WorkerLoop(
            broker, tier, worker, flags, tell=lambda busy: tell(WorkerReport(busy=busy))
        )
        shift.run(ending.look if until_drained else lambda: False)
        _log.info(log.WORKER_STOPPED, worker=post.worker)
    if owner is None:
        _end(flags, ending if until_drained else None)


@app.command()
def fleet(
    *,
    queue: cli.QueueOption = settings.DEFAULT_QUEUE_URL,
    tiers: cli.TiersOption = settings.DEFAULT_TIERS,
    run: cli.RunOption = None,
    state: cli.StateOption = None,
    dest: cli.OptionalDestOption = None,
    lease: cli.LeaseOption = settings.DEFAULT_LEASE_S,
    memory: MemoryOption = None,
    cpus_wanted: CpusOption = None,
    until_drained: DrainedOption = False,
) -> None:
    """Run workers for every tier within one machine's budget."""
    flags = ShutdownFlags()
    flags.listen()
    known = _known(queue, run, state, dest)
    names = _names(tiers, known)
    budget = Budget(parse_size(memory) if memory else free_bytes(), cpus_wanted or cpus())
    with open_broker(queue, names, lease) as broker, _present(broker):
        state_url = known.state.url if known.state else None
        crew = FleetConfig(
            budget=budget,
            tiers=tuple(tier_of(name) for name in broker.tiers),
            options=_worker_options(broker, budget, state_url),
            state=state_url,
            planned=known.planned(),
        )
        _log.info(log.FLEET_STARTED, queue=broker.url, cpus=budget.cpus)
        workers = Fleet(broker, crew, flags, lambda uri: known.learn(Run(uri)))
        ending = ExitCondition(broker, RunSupervisor(broker, known), busy=lambda: workers.busy)
        workers.run(ending, until_drained=until_drained)
        _log.info(log.FLEET_STOPPED)
    _end(flags, ending if until_drained else None)


def _present(broker: Broker) -> AbstractContextManager[object]:
    """Let others of this machine see that a fleet works on the queue."""
    if not broker.one_machine:
        return nullcontext()
    lock = FleetLock(queue_path(broker.url))
    lock.take_when_free()  # taken: by another fleet, or for us by who started us
    return lock


def _known(queue: str, run: str | None, state: str | None, dest: str | None) -> RunDiscovery:
    """The runs to be there for, from what the command line says."""
    root = state or (settings.default_state_url(dest) if dest else None)
    root = absolute(root) if root else None
    if run is None:
        return RunDiscovery(None, root, queue)
    if root is None and "/" not in run:
        raise UsageError(f"where is run {run}?", hint="give its URI, or --state or --dest")
    return RunDiscovery(find_run(root or "", run), root, queue)


def _names(tiers: str, known: RunDiscovery, own: Tier | None = None) -> list[str]:
    """Every tier that a known run uses, else those of the settings; ascending."""
    names = set(known.tiers()) or {tier.name for tier in parse_tiers(tiers)}
    if own is not None:
        names.add(own.name)
    return sorted(names, key=lambda name: tier_of(name).limit_bytes)


def _worker_options(broker: Broker, budget: Budget, state: str | None) -> tuple[str, ...]:
    tiers = ",".join(str(tier_of(name).limit_bytes / (1 << 30)) for name in broker.tiers)
    options = ["--queue", absolute_queue_url(broker.url), "--tiers", tiers]
    options += ["--lease", str(round(broker.lease_s))]
    if broker.one_machine:  # elsewhere nobody can tell whether a worker has the machine to itself
        options += ["--memory", f"{budget.memory_bytes / (1 << 20):.3f}MiB"]
        options += ["--threads", str(budget.cpus)]
    else:
        options += ["--threads", "1"]
    return (*options, *(["--state", state] if state else []))


def _teller(owner: int | None) -> Callable[[WorkerReport], None]:
    """What tells the fleet how we are; a worker on its own keeps it to itself."""
    if owner is None:
        return lambda _: None
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != owner:  # the fleet died while we started
        raise typer.Exit(EXIT_INTERRUPTED)

    def tell(word: WorkerReport) -> None:
        sys.stdout.write(word.line())
        sys.stdout.flush()

    return tell


def _met(run: Run, known: RunDiscovery, tell: Callable[[WorkerReport], None]) -> None:
    known.learn(run)
    tell(WorkerReport(run=run.uri))


def _end(flags: ShutdownFlags, ending: ExitCondition | None) -> None:
    """130 when told to stop; else what has to be said of the runs."""
    if flags.immediate.is_set():
        raise typer.Exit(EXIT_INTERRUPTED)
    if ending is not None:
        ending.check()


if __name__ == "__main__":
    cli.run(app)
