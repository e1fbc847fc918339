"""Facts of a run that its report shows, as the ledger has them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from delivery.ledger.receipts import Receipt, ReceiptSummary
from delivery.ledger.run import Run
from delivery.ledger.shard_status import RunStatus
from delivery.progress import Progress, measure
from runtime.urls import is_remote

_READS_AT_ONCE = 32


@dataclass(frozen=True)
class RunFacts:
    """Content of the page.

    Attributes:
        status: of every shard.
        receipts: in the order of their finish.
        special: in full, of shards that were moved to a larger tier or lack chunks, likewise.
        workers: number of those that finished a shard.
        skipped_outside: rows.
        at: time of reading.
    """

    run: Run
    status: RunStatus
    receipts: Sequence[ReceiptSummary]
    special: Sequence[Receipt]
    workers: int
    skipped_outside: int
    progress: Progress
    at: datetime


def read_facts(run: Run, status: RunStatus, at: datetime) -> RunFacts:
    """Read every receipt of the run, one request each; few are kept in full."""
    workers, skipped, special = set(), 0, []
    for one in _in_full(run, status):
        workers.add(one.worker)
        skipped += one.skipped_outside
        special += [one] if len(one.tiers_tried) > 1 or one.bad_chunks else []
    return RunFacts(
        run,
        status,
        sorted(status.receipts.values(), key=_finish),
        sorted(special, key=_finish),
        len(workers),
        skipped,
        measure(run, status, (), {}, at),
        at,
    )


def _in_full(run: Run, status: RunStatus) -> Iterator[Receipt]:
    """The receipts, one after another; from a bucket many requests wait at the same time."""
    if is_remote(run.uri):
        with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
            yield from filter(None, pool.map(run.receipts.get, status.receipts))
    else:
        yield from filter(None, map(run.receipts.get, status.receipts))


def _finish(receipt: ReceiptSummary) -> datetime:
    return receipt.finished


def wall_s(receipts: Sequence[ReceiptSummary]) -> float:
    """Seconds from the first start to the last finish."""
    if not receipts:
        return 0.0
    began, ended = min(r.started for r in receipts), max(r.finished for r in receipts)
    return (ended - began).total_seconds()
