"""Workers for every tier, run within one machine's budget."""

from contextlib import AbstractContextManager, nullcontext

from consumer import forced_exit
from consumer.actions.serving import (
    check_roots,
    end,
    find_runs,
    tier_names,
    warn_of_missing_run,
)
from consumer.commands.options import ServingOptions
from consumer.exit_condition import ExitCondition
from consumer.fleet.fleet import Fleet, FleetConfig
from consumer.fleet.host_resources import cpus, free_bytes
from consumer.fleet.screen import fleet_screen, print_log
from consumer.forced_exit import ForcedExit
from consumer.revision_check import check_revisions
from consumer.run_supervisor import RunSupervisor
from consumer.signals import ShutdownFlags
from delivery.broker import open_broker, queue_path
from delivery.broker.base import Broker
from delivery.broker.fleet_lock import FleetLock
from delivery.ledger.run import Run
from memmodel.capacity import Budget
from memmodel.tiers import parse_size, tier_of
from runtime import log, log_events
from runtime.machine import raise_file_limit

_log = log.get()


def run_fleet(serving: ServingOptions, *, cpus_wanted: int | None) -> None:
    """Serve every tier until it is time to end.

    Args:
        serving: what is served, with what, and until when.
        cpus_wanted: workers at once; None for as many as there are CPUs.
    """
    raise_file_limit()
    flags = ShutdownFlags()
    flags.listen()
    discovery = find_runs(serving)
    names = tier_names(serving.tiers, discovery)
    memory_bytes = parse_size(serving.memory) if serving.memory else free_bytes()
    budget = Budget(memory_bytes, cpus_wanted or cpus())
    with (
        fleet_screen() as screen,
        open_broker(discovery.queue, names, serving.lease) as broker,
        _fleet_lock(broker),
    ):
        check_roots(broker, discovery)
        check_revisions(discovery)
        config = FleetConfig(
            budget=budget,
            tiers=tuple(tier_of(name) for name in broker.tiers),
            options=_worker_options(broker, budget, discovery.roots, serving.slots),
            roots=discovery.roots,
            planned=discovery.planned(),
            on_log=print_log if screen.live else None,
        )
        _log.info(
            log_events.FLEET_STARTED, queue=broker.url, roots=[*discovery.roots], cpus=budget.cpus
        )
        warn_of_missing_run(discovery)
        ForcedExit(flags, forced_exit.FLEET_S).watch()
        workers = Fleet(broker, config, flags, lambda uri: discovery.add(Run(uri)))
        exit_condition = ExitCondition(
            broker,
            RunSupervisor(broker, discovery, on_status=screen.show),
            busy=lambda: workers.busy,
        )
        workers.run(exit_condition, until_drained=serving.until_drained)
        _log.info(log_events.FLEET_STOPPED)
    end(flags, exit_condition if serving.until_drained else None, workers.trouble)


def _fleet_lock(broker: Broker) -> AbstractContextManager[object]:
    """Lock that shows other programs of this machine that a fleet serves the queue."""
    if not broker.one_machine:
        return nullcontext()
    lock = FleetLock(queue_path(broker.url))
    lock.take_when_free()  # held by another fleet, or by the program that started this one
    return lock


def _worker_options(
    broker: Broker, budget: Budget, roots: tuple[str, ...], slots: int | None
) -> tuple[str, ...]:
    tiers = ",".join(str(tier_of(name).limit_bytes / (1 << 30)) for name in broker.tiers)
    given = ["--queue", broker.url, "--tiers", tiers]
    given += ["--lease", str(round(broker.lease_s))]
    if broker.one_machine:  # elsewhere a worker may share its machine
        given += ["--memory", f"{budget.memory_bytes / (1 << 20):.3f}MiB"]
        given += ["--threads", str(budget.cpus)]
    else:
        given += ["--threads", "1"]
    if slots is not None:
        given += ["--slots", str(slots)]
    return (*given, *(part for root in roots for part in ("--state", root)))
