"""Plan of windows: which chunks are read at once, so that a window's rows fit its bytes.

Rows lie in the order of the export, chunks are made in the order of ids. Whole record batches are
read while that costs about what they weigh. Large ones would come again in window after window; of
those only the rows of a window are read.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NamedTuple

import numpy as np

from braid.dvid.row_reader import in_order_of_use
from braid.transcode.block_assignment import BlockAssignment
from braid.typing import Int64Array
from memmodel.estimate import KEPT_BATCHES_BYTES


class Span(NamedTuple):
    """Slice of the pairs of an assignment.

    Attributes:
        keep: record batches to be held for later windows once this one is read.
    """

    first: int
    end: int
    keep: frozenset[int] = frozenset()


_READ_SHARE: Final = 0.12  # of a file: may be read twice, for fewer requests
_ROWS_SHARE: Final = 0.05  # of a file: read in vain where rows are read without their batches
_OUTLINE_BYTES: Final = 512  # the same for each batch: beyond its metadata
_OUTLINE_PAGES: Final = 4  # the same by whole pages: also those at edges of rows
_LARGEST_SHARE: Final = 1.5  # bytes of whole batches in one window, by the limit
_BATCHES_AT_ONCE: Final = 32  # whose rows' sizes are looked up together


@dataclass(frozen=True)
class WindowPlan:
    """How a shard's rows are read.

    Attributes:
        spans: of whole chunks, one for each window; found while they are taken.
        whole_batches: read the record batches that hold the rows, not the rows alone.
    """

    spans: Iterable[Span]
    whole_batches: bool


def plan_windows(
    assigned: BlockAssignment,
    batches: Int64Array,
    batch_bytes: Int64Array,
    bytes_of_rows: Callable[[Int64Array], Int64Array],
    limit: int,
    *,
    page_bytes: int = 1,
) -> WindowPlan:
    """Plan the windows of a shard.

    Args:
        assigned: its pairs of chunks and rows.
        batches: (pairs,) number of the record batch of each pair's row.
        batch_bytes: (pairs,) bytes of that batch.
        bytes_of_rows: bytes that rows take without the rest of their batches.
        limit: bytes to hold at once; a chunk that needs more is a window of its own.
        page_bytes: of the pages that files are read by.
    """
    distinct, first = np.unique(batches, return_index=True)
    total = int(batch_bytes[first].sum())
    if total <= limit:
        spans = [Span(0, len(batches))] if len(batches) else []
        return WindowPlan(spans, whole_batches=True)
    again = _read_again(assigned, batches, batch_bytes)
    cut = list(_cut(batches.tolist(), batch_bytes.tolist(), again, limit))
    spans, read = _with_kept([span for span, _ in cut], batches, batch_bytes)
    in_vain = _OUTLINE_PAGES * page_bytes if page_bytes > 1 else _OUTLINE_BYTES
    by_rows = (1 + _ROWS_SHARE) * total + in_vain * len(distinct)
    most = max((1 + _READ_SHARE) * total, by_rows)
    if max(held for _, held in cut) <= _LARGEST_SHARE * limit and read <= most:
        return WindowPlan(spans, whole_batches=True)
    sizes = _row_sizes(assigned.blocks, batches, bytes_of_rows)
    by_row = _cut(assigned.blocks.tolist(), sizes, again, limit)
    return WindowPlan((span for span, _ in by_row), whole_batches=False)


def _with_kept(
    spans: list[Span], batches: Int64Array, batch_bytes: Int64Array
) -> tuple[list[Span], int]:
    """The spans with the batches to keep after each, those needed next first; and bytes to read."""
    needed = [
        dict(
            zip(
                batches[s.first : s.end].tolist(),
                batch_bytes[s.first : s.end].tolist(),
                strict=True,
            )
        )
        for s in spans
    ]
    uses: dict[int, list[int]] = {}  # windows that need a batch, the last first
    for number in range(len(spans) - 1, -1, -1):
        for batch in needed[number]:
            uses.setdefault(batch, []).append(number)
    found, read = [], 0
    kept: dict[int, int] = {}
    for span, own in zip(spans, needed, strict=True):
        read += sum(size for batch, size in own.items() if batch not in kept)
        for batch in own:
            uses[batch].pop()
        later = sorted(
            (uses[batch][-1], batch, size) for batch, size in (kept | own).items() if uses[batch]
        )
        sums = accumulate(size for _, _, size in later)
        kept = {
            batch: size
            for (_, batch, size), reach in zip(later, sums, strict=True)
            if reach <= KEPT_BATCHES_BYTES
        }
        found.append(span._replace(keep=frozenset(kept)))
    return found, read


def _read_again(
    assigned: BlockAssignment, batches: Int64Array, batch_bytes: Int64Array
) -> list[float]:
    """Bytes of the batches that a cut before each pair parts; endless within a chunk."""
    distinct, first, batch = np.unique(batches, return_index=True, return_inverse=True)
    last = np.zeros(len(distinct), np.int64)
    np.maximum.at(last, batch, np.arange(len(batches)))
    change = np.zeros(len(batches) + 1)
    np.add.at(change, first + 1, batch_bytes[first])
    np.add.at(change, last + 1, -batch_bytes[first])
    parted = np.cumsum(change)[:-1]
    begins_chunk = np.diff(assigned.ids, prepend=assigned.ids[:1] ^ 1) != 0
    found: list[float] = np.where(begins_chunk, parted, np.inf).tolist()
    return found


def _row_sizes(
    rows: Int64Array, batches: Int64Array, bytes_of_rows: Callable[[Int64Array], Int64Array]
) -> Iterator[int]:
    """Bytes of the row of each pair, some batches at a time, as they are taken."""
    _, rank = in_order_of_use(batches)
    part = np.maximum.accumulate(rank // _BATCHES_AT_ONCE)
    ends = np.flatnonzero(np.diff(part, append=part[-1:] + 1)) + 1
    begin = 0
    for end in ends.tolist():
        yield from bytes_of_rows(rows[begin:end]).tolist()
        begin = end


def _cut(
    units: list[int], sizes: Iterable[int], again: list[float], limit: int
) -> Iterator[tuple[Span, int]]:
    """Spans of the pairs, whole chunks each, whose units take about the limit; and their bytes.

    Of the cuts that leave a window at least half full, the one that has least read again is taken.
    """
    coming = iter(sizes)
    known: list[int] = []
    first = 0
    while first < len(units):
        seen: set[int] = set()
        held, end = 0, len(units)
        best, best_end, best_held = math.inf, end, 0
        for pair in range(first, end):
            if pair == len(known):
                known.append(next(coming))
            if again[pair] < math.inf and held:
                if 2 * held >= limit and again[pair] <= best:
                    best, best_end, best_held = again[pair], pair, held
                if units[pair] not in seen and held + known[pair] > limit:
                    end, held = (best_end, best_held) if best < math.inf else (pair, held)
                    break
            if units[pair] not in seen:
                seen.add(units[pair])
                held += known[pair]
        yield Span(first, end), held
        first = end
