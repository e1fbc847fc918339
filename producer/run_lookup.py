"""The run that a command is about, its queue, and its volume."""

import sys
from typing import Annotated

import typer

from braid.precomputed.volume_spec import VolumeSpec
from delivery.broker import open_broker
from delivery.broker.base import Broker
from delivery.dead_letters import drain
from delivery.ledger.run import Run, find_run
from runtime import settings
from runtime.errors import UsageError
from runtime.storage import absolute, open_storage

RunQueueOption = Annotated[
    str | None,
    typer.Option("--queue", metavar="URL", help="The queue. Default: the one of the run."),
]


def find(run: str | None, state: str | None, dest: str | None) -> Run:
    """The run that was named, else the newest one, which is then said on stderr.

    Args:
        run: id or URI.
        state: root of the runs.
        dest: the volume, from which the root follows.

    Raises:
        UsageError: nothing says where runs are, or there is none.
    """
    if run is not None and "/" in run:
        return Run.open(run)
    found = find_run(state_root(state, dest), run)
    if run is None:
        print(f"run {found.run_id} (the newest)", file=sys.stderr)  # noqa: T201 - which run
    return found


def state_root(state: str | None, dest: str | None) -> str:
    """Absolute URL of the folder that holds runs.

    Raises:
        UsageError: neither says where that is.
    """
    if state is None and dest is None:
        raise UsageError("whose runs?", hint=f"pass --dest or --state, or set {settings.DEST_PATH}")
    return absolute(state or settings.default_state_url(dest or ""))


def broker_of(run: Run, queue: str | None = None) -> Broker:
    """The run's queues."""
    return open_broker(queue or run.info.queue, run.info.tiers, settings.lease_s())


def volume_of(run: Run) -> VolumeSpec:
    """The volume that the run makes."""
    return VolumeSpec.parse(run.info.volume, run.info.dest)


def find_drained(run: str | None, state: str | None, dest: str | None, queue: str | None) -> Run:
    """As `find`, with the dead letters of its queue in the ledger."""
    found = find(run, state, dest)
    with broker_of(found, queue) as broker:
        drain_dead_letters(found, broker)
    return found


def drain_dead_letters(run: Run, broker: Broker) -> None:
    """Bring dead letters into the ledger, so that what follows sees them."""
    drain(broker, open_storage(run.state_url))
