"""One look at a run: its ledger, its progress, and what runs for its queue."""

from dataclasses import dataclass

from delivery.broker.base import Broker
from delivery.ledger.run import Run
from delivery.ledger.shard_status import RunStatus, read_status
from delivery.messages import now
from delivery.progress import Progress, read_progress
from delivery.reconciler import Reconciler
from memmodel.run_context import tier_chooser
from producer.worker_pools import PoolLooks, PoolState
from runtime.errors import UnreachableError, UsageError
from runtime.memory import without_collections


@dataclass(frozen=True)
class StatusLook:
    """What was seen of a run.

    Attributes:
        why: its queue could not be asked, if so.
        pools: what runs for its queue; None where there are no pools, or that is not known.
    """

    ledger: RunStatus
    progress: Progress
    why: str
    pools: PoolState | None


def look_at(run: Run, broker: Broker | None, why: str, pools: PoolLooks) -> StatusLook:
    """Drain dead letters, publish missed dependents, then count; without the queue, only count."""
    with without_collections():
        try:
            ledger = _mended(run, broker)
            progress = read_progress(run, broker, ledger, now(), tier_chooser(run))
        except (UsageError, UnreachableError) as error:  # of the queue, or of the right to write
            why = str(error)
            ledger = read_status(run)
            progress = read_progress(run, None, ledger, now(), tier_chooser(run))
    return StatusLook(ledger, progress, why, pools.state())


def _mended(run: Run, broker: Broker | None) -> RunStatus:
    if broker is None:
        return read_status(run)
    reconciler = Reconciler(broker, tier_chooser)
    reconciler.drain(run.state)
    ledger = read_status(run)
    reconciler.publish_dependents(run, ledger)
    return ledger
