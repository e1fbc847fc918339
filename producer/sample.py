"""Sample: the densest shards of an export are made first, and say what the whole will take."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from delivery.ledger.receipts import Receipt
from delivery.ledger.run import Run
from delivery.ledger.selection import Selection
from memmodel.bill import bill
from memmodel.cost import Offer
from memmodel.throughput import START_S
from producer.bill_table import dollars, shares_of
from producer.data_places import find_places
from producer.planner import ShardForecast
from producer.preflight import LaunchConfig, LaunchOptions, Preflight, preflight
from producer.render import counted, duration, size, table
from producer.run_request import Request
from runtime.document import DocumentPart
from runtime.errors import UsageError

SHARDS: Final = 3


class SampledShard(DocumentPart):
    """A shard of the sample: measured, and as it was estimated.

    Attributes:
        bytes_in: of its source files.
        chunks: that it holds.
        seconds: of its worker.
        peak_bytes: largest memory; null where it was not measured.
        estimated_seconds: of a worker, by the model.
        estimated_bytes: peak memory, by the model.
    """

    key: str
    bytes_in: int
    chunks: int
    seconds: float
    peak_bytes: int | None
    estimated_seconds: float
    estimated_bytes: int

    @property
    def pace(self) -> float:
        """Seconds by those of the estimate."""
        return (self.seconds + START_S) / self.estimated_seconds

    @property
    def load(self) -> float | None:
        """Memory by that of the estimate."""
        return None if self.peak_bytes is None else self.peak_bytes / self.estimated_bytes


class SampleRange(DocumentPart):
    """What the whole will take.

    Attributes:
        low: as if every shard were as cheap as the cheapest of the sample, by its estimate.
        likely: as the sample was in all.
        high: as the dearest.
    """

    low: float
    likely: float
    high: float


class SampleResult(DocumentPart):
    """What a sample says of the whole.

    Attributes:
        scale: of the sampled shards, the finest that is converted.
        shards: of the sample.
        of_shards: of this scale; `all_shards` of all scales that the request makes.
        chunks_per_s: of one worker, in the sample.
        worker_seconds: of all shards, one worker each.
        workers: that this machine runs at once, at one processor each.
        seconds_here: with so many workers; null where the queue is not on this machine.
        largest_bytes: memory of the largest shard; null where none was measured.
        dollars: of workers, requests and transfer, by the way to rent workers.
    """

    scale: int
    shards: tuple[SampledShard, ...]
    of_shards: int
    all_shards: int
    chunks_per_s: float
    worker_seconds: SampleRange
    workers: int
    seconds_here: SampleRange | None
    largest_bytes: SampleRange | None
    dollars: dict[str, SampleRange]


def whole_of(request: Request, config: LaunchConfig, options: LaunchOptions) -> list[ShardForecast]:
    """Forecasts of all shards of a request, made or not.

    Raises:
        UsageError: nothing is converted, or the request cannot be served.
    """
    if not request.scales:
        raise UsageError(
            "--sample measures how shards are converted, and no scale is",
            hint="name a scale of the export with --scales",
        )
    look = replace(options, dry_run=True, new_run=True, run_id=None)
    found = preflight(replace(request, overwrite=True), config, look)
    return list(found.planned.forecasts) if found.planned else []


def sample_of(request: Request, whole: Sequence[ShardForecast]) -> Request:
    """The request of the sample: the shards of the finest converted scale with most bytes.

    Raises:
        UsageError: there is none.
    """
    finest = min(request.scales)
    own = [one for one in whole if one.row.scale == finest and one.row.sources]
    if not own:
        raise UsageError(f"no file of the export meets scale {finest}: there is nothing to sample")
    densest = sorted(own, key=lambda one: (-one.row.bytes_in, one.row.key))[:SHARDS]
    keys = tuple(sorted(one.row.key for one in densest))
    return replace(request, scales=(finest,), downres=(), selection=Selection(shards=keys))


def sampled_receipts(found: Preflight, run: Run | None) -> dict[str, Receipt]:
    """Receipts of the sample, made now or by prior runs; those of adopted shards are not known."""
    runs = [*([run] if run else []), *(prior.run for prior in found.history.runs)]
    receipts = {}
    for key in found.request.selection.shards if found.request.selection else ():
        made = (one.receipts.get(key) for one in runs)
        receipt = next((one for one in made if one is not None), None)
        if receipt is not None:
            receipts[key] = receipt
    return receipts


def measure(
    request: Request,
    whole: Sequence[ShardForecast],
    receipts: Mapping[str, Receipt],
    *,
    here: bool,
) -> SampleResult:
    """What the receipts of a sample say of the whole.

    Args:
        request: of the whole.
        whole: its forecasts.
        receipts: of the sample, by key.
        here: the workers are on this machine.

    Raises:
        UsageError: there is no receipt, so that nothing was measured.
    """
    shards = [_sampled(one, receipts[one.row.key]) for one in whole if one.row.key in receipts]
    if not shards:
        raise UsageError(
            "no receipt tells how the sampled shards were made",
            hint="`enqueue --sample` into another --dest makes them",
        )
    estimated_s = sum(shard.estimated_seconds for shard in shards)
    measured_s = sum(shard.seconds for shard in shards)
    paces = [shard.pace for shard in shards]
    likely = (measured_s + START_S * len(shards)) / estimated_s
    pace = SampleRange(low=min(paces), likely=likely, high=max(paces))
    seconds = _times(pace, sum(one.seconds for one in whole))
    workers = _processors()
    largest = max(one.needed_bytes for one in whole)
    finest = min(request.scales)
    return SampleResult(
        scale=finest,
        shards=tuple(shards),
        of_shards=sum(one.row.scale == finest for one in whole),
        all_shards=len(whole),
        chunks_per_s=sum(shard.chunks for shard in shards) / max(measured_s, 1e-9),
        worker_seconds=seconds,
        workers=workers,
        seconds_here=_times(seconds, 1 / min(workers, len(whole))) if here else None,
        largest_bytes=_memory(shards, largest),
        dollars=_dollars(request, whole, pace),
    )


def sample_lines(found: SampleResult) -> str:
    """The result of a sample as text."""
    rows = [
        [
            shard.key,
            size(shard.bytes_in),
            f"{shard.chunks:,}",
            duration(shard.seconds),
            f"{shard.chunks / max(shard.seconds, 1e-9):,.0f}",
            size(shard.peak_bytes),
            size(shard.estimated_bytes),
        ]
        for shard in found.shards
    ]
    head = ["sample", "input", "chunks", "took", "chunk/s", "memory", "estimate"]
    shards = counted(found.all_shards, "shard")
    whole = [["worker time", *_cells(found.worker_seconds, duration)]]
    if found.seconds_here is not None:
        processors = counted(found.workers, "processor")
        whole.append([f"here, {processors}", *_cells(found.seconds_here, duration)])
    if found.largest_bytes is not None:
        whole.append(["memory of the largest", *_cells(found.largest_bytes, size)])
    whole += [[f"dollars, {name}", *_cells(one, dollars)] for name, one in found.dollars.items()]
    heads = [f"the whole, {shards}", "low", "likely", "high"]
    return (
        f"{table(head, rows)}\n\n{table(heads, whole)}\n"
        "low and high: as if every shard went as the best and the worst of the sample did, by its "
        "estimate; dollars are without storage"
    )


def _cells(found: SampleRange, formatted: Callable[[float], str]) -> list[str]:
    return [formatted(found.low), formatted(found.likely), formatted(found.high)]


def _sampled(forecast: ShardForecast, receipt: Receipt) -> SampledShard:
    return SampledShard(
        key=forecast.row.key,
        bytes_in=forecast.row.bytes_in,
        chunks=receipt.chunks,
        seconds=receipt.seconds,
        peak_bytes=receipt.peak_bytes,
        estimated_seconds=forecast.seconds,
        estimated_bytes=forecast.needed_bytes,
    )


def _times(found: SampleRange, factor: float) -> SampleRange:
    return SampleRange(
        low=found.low * factor, likely=found.likely * factor, high=found.high * factor
    )


def _memory(shards: Sequence[SampledShard], largest: int) -> SampleRange | None:
    loads = [shard.load for shard in shards if shard.load is not None]
    if not loads:
        return None
    mean = sum(loads) / len(loads)
    return _times(SampleRange(low=min(loads), likely=mean, high=max(loads)), largest)


def _dollars(
    request: Request, whole: Sequence[ShardForecast], pace: SampleRange
) -> dict[str, SampleRange]:
    """Dollars of the whole by offer: time as in the sample, requests and transfer as estimated."""
    places = find_places(request.source, request.dest)
    bills = [
        bill(shares_of([replace(one, seconds=one.seconds * factor) for one in whole]), places)
        for factor in (pace.low, pace.likely, pace.high)
    ]
    totals = {offer: [one.total(offer) for one in bills] for offer in Offer}
    return {
        str(offer): SampleRange(low=low, likely=likely, high=high)
        for offer, (low, likely, high) in totals.items()
    }


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1
