"""Facts of a run that its report shows, as the ledger has them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from delivery.ledger.receipts import Receipt, ReceiptSummary
from delivery.ledger.run import Run
from delivery.ledger.shard_status import RunStatus
from delivery.progress import Progress, measure
from memmodel.bill import Bill
from producer.coverage import CoverageMap, coverage_maps
from producer.report.cost_table import bill_so_far
from producer.report.picture import Picture, read_picture
from runtime.urls import is_remote

MOST_IN_FULL = 200
"""Receipts of one kind that are read in full, since the page shows no more."""

_READS_AT_ONCE = 32


@dataclass(frozen=True)
class RunFacts:
    """Content of the page.

    Attributes:
        status: of every shard.
        receipts: in the order of their finish.
        special: in full, the first of shards that were moved to a larger tier and of those that
            lack chunks, likewise.
        workers: number of those that finished a shard.
        skipped_outside: rows.
        maps: where the shards of each scale lie, and their states.
        picture: of the volume.
        bill: of the finished shards.
        at: time of reading.
    """

    run: Run
    status: RunStatus
    receipts: Sequence[ReceiptSummary]
    special: Sequence[Receipt]
    workers: int
    skipped_outside: int
    progress: Progress
    maps: Sequence[CoverageMap]
    picture: Picture
    bill: Bill
    at: datetime


def read_facts(run: Run, status: RunStatus, at: datetime) -> RunFacts:
    """Facts from the listing of the receipts; few of them are read in full, one request each."""
    receipts = sorted(_with_workers(run, status), key=_finish)
    return RunFacts(
        run,
        status,
        receipts,
        list(_in_full(run, _special(receipts))),
        len({one.worker for one in receipts}),
        sum(one.skipped_outside for one in receipts),
        measure(run, status, (), {}, at),
        coverage_maps(run, status),
        read_picture(run),
        bill_so_far(run, receipts),
        at,
    )


def _with_workers(run: Run, status: RunStatus) -> list[ReceiptSummary]:
    """The receipts; those in full whose listing in a bucket does not say who wrote them."""
    found = status.receipts.values()
    silent = [one for one in found if one.worker is None]
    return [*(one for one in found if one.worker is not None), *_in_full(run, silent)]


def _special(receipts: Sequence[ReceiptSummary]) -> list[ReceiptSummary]:
    moved = [one for one in receipts if was_moved(one)][:MOST_IN_FULL]
    lacking = [one for one in receipts if one.bad_chunk_count][:MOST_IN_FULL]
    chosen = {one.key for one in (*moved, *lacking)}
    return [one for one in receipts if one.key in chosen]


def was_moved(receipt: ReceiptSummary) -> bool:
    """Whether a shard was moved to a larger tier."""
    return len(receipt.tiers_tried) > 1


def _in_full(run: Run, summaries: Sequence[ReceiptSummary]) -> Iterator[Receipt]:
    """The receipts, one after another; from a bucket many requests wait at the same time."""
    keys = [one.key for one in summaries]
    if is_remote(run.uri) and keys:
        with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
            yield from filter(None, pool.map(run.receipts.get, keys))
    else:
        yield from filter(None, map(run.receipts.get, keys))


def _finish(receipt: ReceiptSummary) -> datetime:
    return receipt.finished


def wall_s(receipts: Sequence[ReceiptSummary]) -> float:
    """Seconds from the first start to the last finish."""
    if not receipts:
        return 0.0
    began, ended = min(r.started for r in receipts), max(r.finished for r in receipts)
    return (ended - began).total_seconds()
