"""Progress of each scale of a run: counts, bytes, seconds, a rate, and the work that is left.

There is one definition of a rate: chunks of the shards that were finished in a span of time, over
that span. The span is the last ten minutes; of what is over, a scale or the whole run, it goes from
the first start to the last finish.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict

from delivery.ledger.plan import PlanState
from delivery.ledger.receipts import ReceiptSummary
from delivery.ledger.shard_status import RunStatus, ShardState

RATE_WINDOW: Final = timedelta(minutes=10)  # of rates; shorter in a younger run or scale
_LEAST_S: Final = 1.0  # of the window while work goes on: a first shard is no rate yet


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


class RateWindow(NamedTuple):
    """The time that rates are taken over."""

    begin: datetime
    end: datetime
    over: bool  # whether the work in it is over

    @property
    def seconds(self) -> float:
        """Its length; at least a second while work goes on."""
        seconds = (self.end - self.begin).total_seconds()
        return seconds if self.over else max(seconds, _LEAST_S)

    def rate(self, receipts: Iterable[ReceiptSummary]) -> float:
        """Chunks of the shards finished in the window, per second."""
        chunks = sum(receipt.chunks for receipt in receipts if receipt.finished >= self.begin)
        return chunks / self.seconds if self.seconds > 0 else 0.0

    def busy_s(self, receipt: ReceiptSummary) -> float:
        """The part of a shard's seconds of work that falls into the window."""
        if receipt.finished <= self.begin:  # as most of a long run
            return 0.0
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


def scale_progress(status: RunStatus, now: datetime) -> tuple[ScaleProgress, ...]:
    """Every planned scale, ascending; one without receipts takes the mean time of the last."""
    found = []
    mean_s = None
    for scale, shards in _by_scale(status).items():
        mean_s = _mean_s(shards, mean_s)
        found.append(_scale(scale, shards, now, mean_s))
    return tuple(found)


def _by_scale(status: RunStatus) -> dict[int, list[_Shard]]:
    found: dict[int, list[_Shard]] = {scale: [] for scale in status.plan.scales}
    receipts, incomplete = status.receipts, status.incomplete
    rows = zip(status.plan.relations, status.plan.row_scales, status.states.values(), strict=True)
    for (key, planned, _), scale, state in rows:
        role: PlanState = "make" if _is_made(status, key, planned) else planned
        shard = _Shard(role, state, receipts.get(key), incomplete.get(key, 0))
        found[scale].append(shard)
    return found


def made_keys(status: RunStatus) -> list[str]:
    """Keys of the shards that the run makes, also of those that were present before."""
    return [key for key, planned, _ in status.plan.relations if _is_made(status, key, planned)]


def _is_made(status: RunStatus, key: str, planned: PlanState) -> bool:
    """Whether the run makes a shard: as planned, or because a present one was requested again."""
    if planned != "present":
        return planned == "make"
    return key in status.receipts or status.redo.get(key, 0) > 0


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
        chunks_per_s=rate_window(receipts, now, over=not left).rate(receipts),
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


def rate_window(receipts: Iterable[ReceiptSummary], now: datetime, *, over: bool) -> RateWindow:
    """The last minutes up to now; of work that is over, all of its time."""
    spans = [(receipt.started, receipt.finished) for receipt in receipts]
    first = min((begin for begin, _ in spans), default=now)
    if over and spans:
        return RateWindow(first, max(end for _, end in spans), over)
    return RateWindow(max(now - RATE_WINDOW, first), now, over=False)
