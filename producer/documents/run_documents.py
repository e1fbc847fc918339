"""Documents about a run: `runs`, `status`, `cancel`, `report`."""

from datetime import datetime
from typing import Literal

from delivery.broker.base import Backlog
from delivery.ledger.run import Run
from delivery.ledger.selection import Selection
from delivery.ledger.shard_status import RunStatus, ShardState
from delivery.ledger.trouble import Trouble
from delivery.progress import InFlight, Progress
from delivery.scale_progress import ScaleProgress
from producer.trouble_note import last_trouble
from producer.worker_pools import PoolState
from runtime.document import Document

RunState = Literal["unfinished", "done", "incomplete", "failed", "cancelled", "damaged"]


class RunDocument(Document):
    """A document of one run.

    Attributes:
        run: URI of the run's folder.
        run_id: name of the run.
    """

    run: str | None
    run_id: str | None


class RunEntry(Document):
    """One run of `runs --json`, which prints a list of them.

    Attributes:
        run: name of the run, as `run_id`; `uri` is what other documents call `run`.
        uri: URI of the run's folder.
        created: null of a damaged run, as all that its files would tell.
        state: `incomplete` is done, but without chunks that do not decode.
        scales: converted from the export.
        downres: made from the scale before each.
        total: shards that the run makes.
        lost: shards that failed, were given up or are blocked.
        unplanned: records of shards that the plan lacks.
        selection: null of a run of the whole.
    """

    run: str
    run_id: str
    uri: str
    created: datetime | None = None
    state: RunState
    dest: str | None
    source: str | None = None
    scales: tuple[int, ...] = ()
    downres: tuple[int, ...] = ()
    label_type: str | None = None
    fingerprint: str | None = None
    total: int | None = None
    done: int | None = None
    lost: int | None = None
    unplanned: tuple[str, ...] = ()
    selection: Selection | None = None


class StatusDocument(RunDocument):
    """A run as plan and ledger have it.

    Attributes:
        cancelled: why the run was cancelled; null if it was not.
        succeeded: every shard is done, and none lacks a chunk.
        at: when it was read.
        ended: every shard is done, failed, given up or blocked.
        started: first start of a finished shard.
        finished: when the run ended.
        took_s: from start to end, of a run that has ended.
        done: shards that the run has finished, of `total`.
        workers: those heard of lately.
        memory_bytes: of their executors.
        chunks_per_s: over the last ten minutes; of a run that is over, over its whole time.
        eta_s: seconds until the run ends.
        backlogs: messages by tier, with the dead letters.
        ready_by_tier: ready shards by the tier that the plan or their inputs give them.
        unplanned: records and heartbeats of shards that the plan lacks.
        queue: URL.
        queue_unknown: why the queue cannot be asked, if so.
        shards: state of each shard of the plan.
        blocked_by: failed shards behind each blocked one.
        incomplete: chunks that shards lack, because they do not decode.
        partial: what the export lacked.
        selection: null of a run of the whole.
        trouble: the last error that no shard caused.
        pools: worker pools of the queue; null where there are none.
    """

    run: str
    run_id: str
    cancelled: str | None
    succeeded: bool
    at: datetime
    ended: bool
    started: datetime | None
    finished: datetime | None
    took_s: float | None
    done: int
    total: int
    scales: tuple[ScaleProgress, ...]
    in_flight: tuple[InFlight, ...]
    workers: int
    memory_bytes: int
    chunks_per_s: float
    eta_s: float | None
    backlogs: dict[str, Backlog]
    ready_by_tier: dict[str, int]
    unplanned: tuple[str, ...]
    queue: str
    queue_unknown: str | None
    shards: dict[str, ShardState]
    blocked_by: dict[str, tuple[str, ...]]
    incomplete: dict[str, int]
    partial: tuple[str, ...]
    selection: Selection | None
    trouble: Trouble | None
    pools: PoolState | None


def status_document(
    run: Run,
    ledger: RunStatus,
    progress: Progress,
    *,
    queue_unknown: str = "",
    pools: PoolState | None = None,
) -> StatusDocument:
    """The document of a run whose status and progress were read."""
    cancelled = run.cancelled()
    facts = {
        "run": run.uri,
        "cancelled": cancelled.why if cancelled else None,
        "succeeded": ledger.succeeded,
        "done": progress.done,
        "total": progress.total,
        "took_s": progress.took_s,
        "queue": run.queue,
        "queue_unknown": queue_unknown or None,
        "shards": ledger.states,
        "blocked_by": {key: ledger.causes(key) for key in ledger.keys(ShardState.BLOCKED)},
        "incomplete": ledger.incomplete,
        "partial": run.info.partial,
        "selection": run.info.selection,
        "trouble": last_trouble(run, ledger),
        "pools": pools,
    }
    return StatusDocument.model_validate({**dict(progress), **facts})


class CancelDocument(RunDocument):
    """Outcome of `cancel`.

    Attributes:
        outcome: what the run is: cancelled now, before, or ended, which it stays.
        why: reason of the cancellation; null of a run that has ended.
    """

    outcome: Literal["cancelled", "cancelled before", "ended"]
    why: str | None


class ReportDocument(RunDocument):
    """Page that `report` wrote.

    Attributes:
        out: path of the page.
        bytes: of the page.
    """

    out: str
    bytes: int
