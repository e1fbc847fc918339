"""Progress of a run as data: counts, rates and an estimate of the time left.

Counts are exact: plan minus receipts. Backlogs come from the broker and may be unknown. Rates are
defined in `delivery.scale_progress`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from delivery.broker.base import DEAD, Backlog, Broker
from delivery.ledger.run import Heartbeat, Run
from delivery.ledger.shard_status import RunStatus, ShardState
from delivery.publishing import ChooseTier
from delivery.scale_progress import ScaleProgress, rate_window, scale_progress

STALE: Final = timedelta(minutes=3)  # a heartbeat comes each minute


class InFlight(BaseModel):
    """A shard in work, by its worker's heartbeat."""

    model_config = ConfigDict(frozen=True)

    key: str
    worker: str
    tier: str
    chunks: int
    rss_bytes: int
    age_s: float
    stale: bool


class Progress(BaseModel):
    """Progress of a whole run.

    Attributes:
        started: first start of a finished shard; before it has ended, or of a shard in work.
        finished: when the run ended; None before.
        backlogs: by tier, with the dead letters; a None in one means unknown.
        ready_by_tier: ready shards by the tier that the plan or their inputs give them.
        eta_s: seconds until the run ends; None if unknown.
        workers: number of those with a recent heartbeat.
        memory_bytes: of their executors.
        unplanned: records and heartbeats of shards that the plan lacks, such as `failed/s0/beef`.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    at: datetime
    ended: bool
    started: datetime | None = None
    finished: datetime | None = None
    scales: tuple[ScaleProgress, ...]
    in_flight: tuple[InFlight, ...]
    workers: int
    memory_bytes: int = 0
    chunks_per_s: float
    eta_s: float | None
    backlogs: dict[str, Backlog]
    ready_by_tier: dict[str, int] = Field(default_factory=dict)
    unplanned: tuple[str, ...] = ()

    @property
    def took_s(self) -> float | None:
        """Seconds from start to end of a run that has ended."""
        if self.started is None or self.finished is None:
            return None
        return (self.finished - self.started).total_seconds()

    @property
    def elapsed_s(self) -> float | None:
        """Seconds since the start of a run that goes on; of one that has ended, what it took."""
        if self.ended or self.started is None:
            return self.took_s
        return max((self.at - self.started).total_seconds(), 0.0)

    @property
    def percent(self) -> int:
        """Share of the shards that are done, rounded down: 100 is all."""
        return 100 * self.done // self.total if self.total else 100

    @property
    def chunks(self) -> int:
        """Chunks that finished shards store."""
        return sum(scale.chunks for scale in self.scales)

    @property
    def bytes_out(self) -> int:
        """Bytes that finished shards have written."""
        return sum(scale.bytes_out for scale in self.scales)

    @property
    def dead(self) -> int:
        """Number of shards that failed or were given up."""
        return sum(scale.dead for scale in self.scales)

    @property
    def blocked(self) -> int:
        """Number of shards that a dead one blocks."""
        return sum(scale.blocked for scale in self.scales)

    @property
    def done(self) -> int:
        """Number of shards that this run has finished."""
        return sum(scale.done for scale in self.scales)

    @property
    def total(self) -> int:
        """Number of shards that this run makes."""
        return sum(scale.total for scale in self.scales)


def measure(
    run: Run,
    status: RunStatus,
    heartbeats: Sequence[Heartbeat],
    backlogs: Mapping[str, Backlog],
    now: datetime,
) -> Progress:
    """Progress at `now` from a status that was read before."""
    receipts = status.receipts.values()
    window = rate_window(receipts, now, over=status.ended)
    scales = scale_progress(status, now)
    busy_s = sum(map(window.busy_s, receipts))
    busy_workers = 0.0 if status.ended else busy_s / window.seconds
    recent = [heartbeat for heartbeat in heartbeats if now - heartbeat.at < STALE]
    return Progress(
        run_id=run.run_id,
        at=now,
        ended=status.ended,
        started=_started(status, heartbeats),
        finished=_finished(status),
        scales=scales,
        in_flight=tuple(_in_flight(status, heartbeats, now)),
        workers=len(recent),
        memory_bytes=sum(heartbeat.rss_bytes for heartbeat in recent),
        chunks_per_s=window.rate(receipts),
        eta_s=_eta_s(scales, busy_workers),
        backlogs=dict(backlogs),
        unplanned=(*status.unplanned, *_unplanned(status, heartbeats)),
    )


def read_progress(
    run: Run,
    broker: Broker | None,
    status: RunStatus,
    now: datetime,
    choose_tier: ChooseTier | None = None,
) -> Progress:
    """Read heartbeats and backlogs, then measure.

    Args:
        run: to be measured.
        broker: of its queues; None where they cannot be reached: all backlogs are unknown.
        status: of the run, read a moment ago.
        now: the present.
        choose_tier: counts ready shards by tier, too.
    """
    tiers = (*(broker.tiers if broker else run.info.tiers), DEAD)
    backlogs = {name: broker.backlog(name) if broker else Backlog() for name in tiers}
    found = measure(run, status, run.heartbeats(), backlogs, now)
    if choose_tier is None:
        return found
    return found.model_copy(update={"ready_by_tier": ready_by_tier(run, status, choose_tier)})


def ready_by_tier(run: Run, status: RunStatus, choose_tier: ChooseTier) -> dict[str, int]:
    """Number of ready shards by tier, by the ledger alone; those that no tier holds are dead."""
    counted: Counter[str] = Counter()
    for row in run.plan.rows_of(status.keys(ShardState.READY)):
        choice = row.tier or choose_tier(row, status.input_receipts(row))
        counted[choice if isinstance(choice, str) else DEAD] += 1
    return {name: counted[name] for name in (*run.info.tiers, DEAD) if counted[name]}


def _started(status: RunStatus, heartbeats: Iterable[Heartbeat]) -> datetime | None:
    """When the first shard was begun, as far as receipts and, of an open run, heartbeats know."""
    begun = [receipt.started for receipt in status.receipts.values()]
    if not status.ended:
        shards = [shard for heartbeat in heartbeats for shard in heartbeat.all_shards]
        begun += [one.since for one in shards if one.since is not None and one.key in status.plan]
    return min(begun, default=None)


def _finished(status: RunStatus) -> datetime | None:
    """When the last shard was done or failed, of a run that has ended."""
    receipts, failures = status.receipts.values(), status.failures.values()
    times = [*(one.finished for one in receipts), *(one.at for one in failures)]
    return max(times, default=None) if status.ended else None


def _eta_s(scales: Iterable[ScaleProgress], busy_workers: float) -> float | None:
    """Work left, divided among as many workers as were busy in the rate window."""
    work_s = [scale.work_left_s for scale in scales if scale.left]
    known = [seconds for seconds in work_s if seconds is not None]
    if not work_s:
        return 0.0
    return sum(known) / busy_workers if busy_workers and len(known) == len(work_s) else None


def _unplanned(status: RunStatus, heartbeats: Iterable[Heartbeat]) -> Iterator[str]:
    for beat in heartbeats:
        for shard in beat.all_shards:
            if shard.key not in status.plan:
                yield f"workers/{beat.worker} ({shard.key})"


def _in_flight(
    status: RunStatus, heartbeats: Iterable[Heartbeat], now: datetime
) -> Iterator[InFlight]:
    """Shards of the heartbeats, except those with a receipt since."""
    pairs = [(one, shard) for one in heartbeats for shard in one.all_shards]
    for beat, shard in pairs:
        if shard.key not in status.plan:
            continue
        receipt = status.receipts.get(shard.key)
        if receipt is not None and receipt.finished >= beat.at:
            continue
        age = now - beat.at
        yield InFlight(
            key=shard.key,
            worker=beat.worker,
            tier=beat.tier,
            chunks=shard.chunks,
            rss_bytes=beat.rss_bytes,
            age_s=max(age.total_seconds(), 0.0),
            stale=age > STALE,
        )
