"""Byte ranges joined into as few requests as pay off, and cut into windows."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from braid.typing import BoolArray, Int64Array

__all__ = ["merge_pages", "merge_ranges", "plan_windows"]

MERGE_GAP_BYTES = 64 << 10  # one request more costs longer than reading this much in vain


def merge_ranges(
    starts: Int64Array,
    ends: Int64Array,
    gap_bytes: int = MERGE_GAP_BYTES,
    all_gaps_bytes: float = math.inf,
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Merge ranges that lie close together, so that each becomes one request.

    Args:
        starts: (n,) first bytes, in any order; ranges may overlap.
        ends: (n,) bytes past the last.
        gap_bytes: ranges no further apart than this are joined.
        all_gaps_bytes: what all gaps may add; the smallest are closed first.

    Returns:
        (starts, ends) of the merged ranges, ascending, and for every input the merged range that
        holds it.
    """
    order = np.argsort(starts, kind="stable")
    reach = np.maximum.accumulate(ends[order])
    fresh = np.ones(len(order), bool)
    fresh[1:] = ~_closed(starts[order][1:] - reach[:-1], gap_bytes, all_gaps_bytes)
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(fresh) - 1
    last = np.append(np.flatnonzero(fresh)[1:], len(order)) - 1 if len(order) else order
    return starts[order][fresh], reach[last], group


def merge_pages(
    starts: Int64Array, ends: Int64Array, size: int, spare_share: float, page_bytes: int
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Merge the pages that hold ranges, as `merge_ranges` does.

    Args:
        starts: (n,) first bytes, in any order.
        ends: (n,) bytes past the last.
        size: of the object.
        spare_share: of the bytes wanted: most that is read in vain if pages alone do not take it.
        page_bytes: of a page; 1 where ranges are read as they are.
    """
    wanted = int((ends - starts).sum())
    beyond = ends > size  # whose error names the range itself
    ends = np.where(beyond, ends, np.minimum(-(-ends // page_bytes) * page_bytes, size))
    starts = starts // page_bytes * page_bytes
    begins, stops, _ = merge_ranges(starts, ends, gap_bytes=0)
    spare = (1 + spare_share) * wanted - float((stops - begins).sum())
    return merge_ranges(starts, ends, all_gaps_bytes=max(0.0, spare))


def _closed(gaps: Int64Array, gap_bytes: int, all_gaps_bytes: float) -> BoolArray:
    """Gaps to read in vain; ranges that touch or overlap have none."""
    gaps = np.maximum(gaps, 0)
    closed = gaps <= gap_bytes
    if all_gaps_bytes < math.inf:
        ascending = np.argsort(gaps, kind="stable")
        closed[ascending] &= np.cumsum(gaps[ascending]) <= all_gaps_bytes
    return closed


def plan_windows(
    starts: Sequence[int],
    ends: Sequence[int],
    limit_bytes: int,
    gap_bytes: int = MERGE_GAP_BYTES,
    first_limit_bytes: int | None = None,
) -> Iterator[tuple[int, int, int, int]]:
    """Cut ranges, taken in the order given, into reads of at most `limit_bytes`.

    A range larger than that is a read of its own; one that lies before the current read, or more
    than `gap_bytes` behind it, begins another. The first read may have a limit of its own.

    Yields:
        (first range, range past the last, first byte, byte past the last) of each read.
    """
    first, begin, stop = 0, 0, 0
    limit = limit_bytes if first_limit_bytes is None else first_limit_bytes
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        joins = begin <= start <= stop + gap_bytes and max(end, stop) - begin <= limit
        if i > first and not joins:
            yield first, i, begin, stop
            first, limit = i, limit_bytes
        begin, stop = (start, end) if i == first else (begin, max(end, stop))
    if len(starts):
        yield first, len(starts), begin, stop
