"""How far a run is: counts, rates and an estimate of the time left, as data.

Counts are exact: plan minus receipts. Backlogs come from the broker and may be unknown. How it
looks is the producer's business.
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

WINDOW: Final = timedelta(minutes=10)  # rates are of this long, or of the run's age
STALE: Final = timedelta(minutes=3)  # a heartbeat comes each minute


class ScaleProgress(BaseModel):
    """One scale.

    Attributes:
        total: shards this run makes; `present` and `empty` ones come on top.
        chunks: stored by finished shards; bytes and seconds are theirs too.
        wall_s: from the first start to the last finish.
        peak_bytes: the largest memory of a work process.
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
        """Shards that may still get done."""
        return self.ready + self.waiting


class InFlight(BaseModel):
    """A shard that a worker says it is at."""

    model_config = ConfigDict(frozen=True)

    key: str
    worker: str
    tier: str
    chunks: int
    rss_bytes: int
    age_s: float
    stale: bool


class Progress(BaseModel):
    """A whole run.

    Attributes:
        backlogs: by tier, the dead letters among them; a None in one means unknown.
        eta_s: seconds until the run ends, None where nobody can tell.
        workers: how many were heard of lately.
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
        """Shards that this run has finished."""
        return sum(scale.done for scale in self.scales)

    @property
    def total(self) -> int:
        """Shards that this run makes."""
        return sum(scale.total for scale in self.scales)


class _Window(NamedTuple):
    """The stretch of time that rates are taken over."""

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
    """A shard of the plan as far as it counts here."""

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
    """How far the run is at `now`, from what was read before."""
    receipts = status.receipts.values()
    first = min((receipt.started for receipt in receipts), default=now)
    window = _Window(max(now - WINDOW, first), now)
    scales = _scales(status, window)
    hands = sum(map(window.busy_s, receipts)) / window.seconds
    return Progress(
        run_id=run.run_id,
        at=now,
        ended=status.ended,
        scales=scales,
        in_flight=tuple(_in_flight(status, heartbeats, now)),
        workers=sum(now - heartbeat.at < STALE for heartbeat in heartbeats),
        chunks_per_s=sum(scale.chunks_per_s for scale in scales),
        eta_s=_eta_s(scales, hands),
        backlogs=dict(backlogs),
    )


def read_progress(run: Run, broker: Broker, status: RunStatus, now: datetime) -> Progress:
    """The same, reading heartbeats and the backlog of every tier and the dead letters."""
    backlogs = {name: broker.backlog(name) for name in (*broker.tiers, DEAD)}
    return measure(run, status, run.heartbeats(), backlogs, now)


def _scales(status: RunStatus, window: _Window) -> tuple[ScaleProgress, ...]:
    """Every planned scale, ascending; a scale without receipts takes the last one's mean time."""
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
    scale: int, shards: Sequence[_Shard], window: _Window, mean_s: float | None
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


def _eta_s(scales: Iterable[ScaleProgress], hands: float) -> float | None:
    """Work left, divided among as many hands as were busy lately."""
    work_s = [scale.work_left_s for scale in scales if scale.left]
    known = [seconds for seconds in work_s if seconds is not None]
    if not work_s:
        return 0.0
    return sum(known) / hands if hands and len(known) == len(work_s) else None


def _in_flight(
    status: RunStatus, heartbeats: Iterable[Heartbeat], now: datetime
) -> Iterator[InFlight]:
    """What workers say they are at, but for what has a receipt since."""
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
