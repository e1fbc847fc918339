"""Progress of a run as data: counts, rates and an estimate of the time left.

Counts are exact: plan minus receipts. Backlogs come from the broker and may be unknown.

There is one definition of a rate: chunks of the shards that were finished in a span of time, over
that span. The span is the last ten minutes; of what is over, a scale or the whole run, it goes from
the first start to the last finish.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from delivery.broker.base import DEAD, Backlog, Broker
from delivery.ledger.plan import PlanState
from delivery.ledger.receipts import ReceiptSummary
from delivery.ledger.run import Heartbeat, Run
from delivery.ledger.shard_status import RunStatus, ShardState
from delivery.messages import parse_key
from delivery.publishing import ChooseTier

RATE_WINDOW: Final = timedelta(minutes=10)  # of rates; shorter in a younger run or scale
_LEAST_S: Final = 1.0  # of the window while work goes on: a first shard is no rate yet
STALE: Final = timedelta(minutes=3)  # a heartbeat comes each minute


class ScaleProgress(BaseModel):
    """Progress of one scale.

    Attributes:
        total: shards this run makes, without `present` and `empty` ones.
        incomplete: done shards that lack chunks, since these do not decode: `bad_chunks` in all.
        chunks: stored by finished shards, as are bytes and seconds.
        wall_s: from the first start to the last finish.
        peak_bytes: the largest memory of an executor.
        chunks_per_s: over the last ten minutes; of a scale that is over, over its whole time.
        work_left_s: seconds of work in shards not finished, judged by finished ones.
    """

    model_config = ConfigDict(frozen=True)

    scale: int
    total: int
    present: int
    empty: int
    done: int
    failed: int
    given_up: int
    blocked: int
    ready: int
    waiting: int
    incomplete: int = 0
    bad_chunks: int = 0
    chunks: int
    bytes_in: int
    bytes_out: int
    labels: int
    seconds: float
    cpu_s: float | None
    wall_s: float
    peak_bytes: int | None
    chunks_per_s: float
    work_left_s: float | None

    @property
    def dead(self) -> int:
        """Number of shards that failed or were given up."""
        return self.failed + self.given_up

    @property
    def left(self) -> int:
        """Number of shards that can still be done."""
        return self.ready + self.waiting


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


class _RateWindow(NamedTuple):
    """The time that rates are taken over."""

    begin: datetime
    end: datetime
    over: bool  # whether the work in it is over

    @property
    def seconds(self) -> float:
        seconds = (self.end - self.begin).total_seconds()
        return seconds if self.over else max(seconds, _LEAST_S)

    def rate(self, receipts: Iterable[ReceiptSummary]) -> float:
        """Chunks of the shards finished in the window, per second."""
        chunks = sum(receipt.chunks for receipt in receipts if receipt.finished >= self.begin)
        return chunks / self.seconds if self.seconds > 0 else 0.0

    def busy_s(self, receipt: ReceiptSummary) -> float:
        """The part of a shard's seconds of work that falls into the window."""
        begin, end = max(receipt.started, self.begin), min(receipt.finished, self.end)
        inside_s = max((end - begin).total_seconds(), 0.0)
        whole_s = (receipt.finished - receipt.started).total_seconds()
        return receipt.seconds * inside_s / whole_s if whole_s > 0 else 0.0


class _Shard(NamedTuple):
    """A shard of the plan, for counting."""

    role: PlanState
    state: ShardState
    receipt: ReceiptSummary | None
    bad_chunks: int


def measure(
    run: Run,
    status: RunStatus,
    heartbeats: Sequence[Heartbeat],
    backlogs: Mapping[str, Backlog],
    now: datetime,
) -> Progress:
    """Progress at `now` from a status that was read before."""
    receipts = status.receipts.values()
    window = _rate_window(receipts, now, over=status.ended)
    scales = _scales(status, now)
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


def _rate_window(receipts: Iterable[ReceiptSummary], now: datetime, *, over: bool) -> _RateWindow:
    """The last minutes up to now; of work that is over, all of its time."""
    spans = [(receipt.started, receipt.finished) for receipt in receipts]
    first = min((begin for begin, _ in spans), default=now)
    if over and spans:
        return _RateWindow(first, max(end for _, end in spans), over)
    return _RateWindow(max(now - RATE_WINDOW, first), now, over=False)


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


def _scales(status: RunStatus, now: datetime) -> tuple[ScaleProgress, ...]:
    """Every planned scale, ascending; one without receipts takes the mean time of the last."""
    found = []
    mean_s = None
    for scale, shards in _by_scale(status).items():
        mean_s = _mean_s(shards, mean_s)
        found.append(_scale(scale, shards, now, mean_s))
    return tuple(found)


def _by_scale(status: RunStatus) -> dict[int, list[_Shard]]:
    found: dict[int, list[_Shard]] = {scale: [] for scale in status.plan.scales}
    for key, planned, _ in status.plan.relations:
        receipt = status.receipts.get(key)
        role: PlanState = "make" if _is_made(status, key, planned) else planned
        shard = _Shard(role, status.states[key], receipt, status.incomplete.get(key, 0))
        found[parse_key(key)[0]].append(shard)
    return found


def made_keys(status: RunStatus) -> list[str]:
    """Keys of the shards that the run makes, also of those that were present before."""
    return [key for key, planned, _ in status.plan.relations if _is_made(status, key, planned)]


def _is_made(status: RunStatus, key: str, planned: PlanState) -> bool:
    """Whether the run makes a shard: as planned, or because a present one was requested again."""
    remade = key in status.receipts or status.redo.get(key, 0) > 0
    return planned == "make" or (planned == "present" and remade)


def _mean_s(shards: Iterable[_Shard], otherwise: float | None) -> float | None:
    seconds = [shard.receipt.seconds for shard in shards if shard.receipt]
    return sum(seconds) / len(seconds) if seconds else otherwise


def _scale(
    scale: int, shards: Sequence[_Shard], now: datetime, mean_s: float | None
) -> ScaleProgress:
    roles = Counter(shard.role for shard in shards)
    states = Counter(shard.state for shard in shards if shard.role == "make")
    receipts = [shard.receipt for shard in shards if shard.receipt]
    left = states[ShardState.READY] + states[ShardState.WAITING]
    return ScaleProgress(
        scale=scale,
        total=roles["make"],
        present=roles["present"],
        empty=roles["empty"],
        done=states[ShardState.DONE],
        failed=states[ShardState.FAILED],
        given_up=states[ShardState.GIVEN_UP],
        blocked=states[ShardState.BLOCKED],
        ready=states[ShardState.READY],
        waiting=states[ShardState.WAITING],
        incomplete=sum(shard.bad_chunks > 0 for shard in shards),
        bad_chunks=sum(shard.bad_chunks for shard in shards),
        chunks_per_s=_rate_window(receipts, now, over=not left).rate(receipts),
        work_left_s=None if left and mean_s is None else left * (mean_s or 0.0),
        **_totals(receipts),
    )


def _totals(receipts: Sequence[ReceiptSummary]) -> dict[str, Any]:
    started = min((receipt.started for receipt in receipts), default=None)
    finished = max((receipt.finished for receipt in receipts), default=None)
    cpu_s = [receipt.cpu_s for receipt in receipts if receipt.cpu_s is not None]
    return {
        "chunks": sum(receipt.chunks for receipt in receipts),
        "bytes_in": sum(receipt.bytes_in for receipt in receipts),
        "bytes_out": sum(receipt.bytes_out for receipt in receipts),
        "labels": sum(receipt.labels for receipt in receipts),
        "seconds": sum(receipt.seconds for receipt in receipts),
        "cpu_s": sum(cpu_s) if cpu_s else None,
        "wall_s": (finished - started).total_seconds() if started and finished else 0.0,
        "peak_bytes": max((receipt.peak_bytes or 0 for receipt in receipts), default=0) or None,
    }


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
