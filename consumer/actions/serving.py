"""Which runs a worker or fleet serves, and how its command ends."""

import typer

from consumer.commands.options import ServingOptions
from consumer.exit_condition import ExitCondition
from consumer.run_discovery import RunDiscovery, discover_runs
from consumer.signals import ShutdownFlags
from delivery.broker.base import Broker
from memmodel.tiers import Tier, parse_tiers, tier_of
from runtime import log, log_events, settings
from runtime.errors import EXIT_INTERRUPTED, UsageError
from runtime.storage import absolute

_log = log.get()


def find_runs(serving: ServingOptions) -> RunDiscovery:
    """Discovery of the runs that the options name."""
    states, dest = serving.state, serving.dest
    if not states:
        given = settings.default_state_url(dest) if dest else settings.get(settings.STATE_PATH)
        states = [given] if given else []
    return discover_runs(serving.queue, serving.run, [absolute(root) for root in states])


def check_roots(broker: Broker, discovery: RunDiscovery) -> None:
    """Refuse to serve whatever run a message names.

    Raises:
        UsageError: no state root is known, nor ever will be.
    """
    if not discovery.roots and not broker.names_state_roots:
        raise UsageError(
            f"which runs may be served? No state root is given, and {broker.url} names none",
            hint="set STATE_PATH, or pass --state, --dest or --run: only runs below are served",
        )


def warn_of_missing_run(discovery: RunDiscovery) -> None:
    """Warn where no run is found; no error, since one may be enqueued later."""
    if reason := discovery.missing():
        hint = "a run that is enqueued later is served; else check --dest, --state and --queue"
        _log.warning(log_events.RUN_MISSING, reason=reason, hint=hint)


def tier_names(tiers: str, discovery: RunDiscovery, own: Tier | None = None) -> list[str]:
    """Every tier that a known run uses, else those of the settings; ascending."""
    names = set(discovery.tiers()) or {tier.name for tier in parse_tiers(tiers)}
    if own is not None:
        names.add(own.name)
    return sorted(names, key=lambda name: tier_of(name).limit_bytes)


def end(
    flags: ShutdownFlags, exit_condition: ExitCondition | None, trouble: str | None = None
) -> None:
    """Exit with 130 after an immediate shutdown; else raise for failed runs."""
    if flags.immediate.is_set():
        raise typer.Exit(EXIT_INTERRUPTED)
    if exit_condition is not None:
        exit_condition.raise_for_failures(trouble)
