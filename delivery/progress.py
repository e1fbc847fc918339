"""Progress of a run as data: counts, rates and an estimate of the time left.

Counts are exact: plan minus receipts. Backlogs come from the broker and may be unknown.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict

from delivery.broker.base import DEAD, Backlog, Broker
from delivery.ledger.plan import PlanState
from delivery.ledger.receipts import ReceiptSummary
from delivery.ledger.run import Heartbeat, Run
from delivery.ledger.shard_status import RunStatus, ShardState
from delivery.messages import parse_key

RATE_WINDOW: Final = timedelta(minutes=10)  # of rates; shorter in a younger run
STALE: Final = timedelta(minutes=3)  # a heartbeat comes each minute


class ScaleProgress(BaseModel):
    """Progress of one scale.

    Attributes:
        total: shards this run makes, without `present` and `empty` ones.
        chunks: stored by finished shards, as are bytes and seconds.
        wall_s: from the first start to the last finish.
        peak_bytes: the largest memory of an executor.
        chunks_per_s: over the last ten minutes.
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
        backlogs: by tier, with the dead letters; a None in one means unknown.
        eta_s: seconds until the run ends; None if unknown.
        workers: number of those with a recent heartbeat.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    at: datetime
    ended: bool
    scales: tuple[ScaleProgress, ...]
    in_flight: tuple[InFlight, ...]
    workers: int
    chunks_per_s: float
    eta_s: float | None
    backlogs: dict[str, Backlog]

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

    @property
    def seconds(self) -> float:
        return max((self.end - self.begin).total_seconds(), 1.0)

    def busy_s(self, receipt: ReceiptSummary) -> float:
        """The part of a shard's work that falls into the window."""
        begin, end = max(receipt.started, self.begin), min(receipt.finished, self.end)
        return max((end - begin).total_seconds(), 0.0)


class _Shard(NamedTuple):
    """A shard of the plan, for counting."""

    role: PlanState
    state: ShardState
    receipt: ReceiptSummary | None


def measure(
    run: Run,
    status: RunStatus,
    heartbeats: Sequence[Heartbeat],
    backlogs: Mapping[str, Backlog],
    now: datetime,
) -> Progress:
    """Progress at `now` from a status that was read before."""
    receipts = status.receipts.values()
    first = min((receipt.started for receipt in receipts), default=now)
    window = _RateWindow(max(now - RATE_WINDOW, first), now)
    scales = _scales(status, window)
    busy_workers = sum(map(window.busy_s, receipts)) / window.seconds
    return Progress(
        run_id=run.run_id,
        at=now,
        ended=status.ended,
        scales=scales,
        in_flight=tuple(_in_flight(status, heartbeats, now)),
        workers=sum(now - heartbeat.at < STALE for heartbeat in heartbeats),
        chunks_per_s=sum(scale.chunks_per_s for scale in scales),
        eta_s=_eta_s(scales, busy_workers),
        backlogs=dict(backlogs),
    )


def read_progress(run: Run, broker: Broker, status: RunStatus, now: datetime) -> Progress:
    """Read heartbeats and backlogs, then measure."""
    backlogs = {name: broker.backlog(name) for name in (*broker.tiers, DEAD)}
    return measure(run, status, run.heartbeats(), backlogs, now)


def _scales(status: RunStatus, window: _RateWindow) -> tuple[ScaleProgress, ...]:
    """Every planned scale, ascending; one without receipts takes the mean time of the last."""
    found = []
    mean_s = None
    for scale, shards in _by_scale(status).items():
        mean_s = _mean_s(shards, mean_s)
        found.append(_scale(scale, shards, window, mean_s))
    return tuple(found)


def _by_scale(status: RunStatus) -> dict[int, list[_Shard]]:
    found: dict[int, list[_Shard]] = {scale: [] for scale in status.plan.scales}
    for key, planned, _ in status.plan.relations:
        receipt = status.receipts.get(key)
        remade = planned == "present" and (receipt is not None or status.redo.get(key, 0) > 0)
        role: PlanState = "make" if remade else planned
        found[parse_key(key)[0]].append(_Shard(role, status.states[key], receipt))
    return found


def _mean_s(shards: Iterable[_Shard], otherwise: float | None) -> float | None:
    seconds = [shard.receipt.seconds for shard in shards if shard.receipt]
    return sum(seconds) / len(seconds) if seconds else otherwise


def _scale(
    scale: int, shards: Sequence[_Shard], window: _RateWindow, mean_s: float | None
) -> ScaleProgress:
    roles = Counter(shard.role for shard in shards)
    states = Counter(shard.state for shard in shards if shard.role == "make")
    receipts = [shard.receipt for shard in shards if shard.receipt]
    lately = sum(receipt.chunks for receipt in receipts if receipt.finished >= window.begin)
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
        chunks_per_s=lately / window.seconds,
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


def _in_flight(
    status: RunStatus, heartbeats: Iterable[Heartbeat], now: datetime
) -> Iterator[InFlight]:
    """Shards of the heartbeats, except those with a receipt since."""
    for beat in heartbeats:
        receipt = status.receipts.get(beat.key or "")
        if beat.key is None or (receipt is not None and receipt.finished >= beat.at):
            continue
        age = now - beat.at
        yield InFlight(
            key=beat.key,
            worker=beat.worker,
            tier=beat.tier,
            chunks=beat.chunks,
            rss_bytes=beat.rss_bytes,
            age_s=max(age.total_seconds(), 0.0),
            stale=age > STALE,
        )
