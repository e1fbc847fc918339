"""Byte ranges joined into as few requests as pay off, and cut into windows."""

from collections.abc import Iterator, Sequence

import numpy as np

from braid.typing import Int64Array

__all__ = ["merge_ranges", "plan_windows"]

MERGE_GAP_BYTES = 64 << 10  # one request more costs longer than reading this much in vain


def merge_ranges(
    starts: Int64Array,
    ends: Int64Array,
    gap_bytes: int = MERGE_GAP_BYTES,
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Merge ranges that lie close together, so that each becomes one request.

    Args:
        starts: (n,) first bytes, in any order; ranges may overlap.
        ends: (n,) bytes past the last.
        gap_bytes: ranges no further apart than this are joined.

    Returns:
        (starts, ends) of the merged ranges, ascending, and for every input the merged range that
        holds it.
    """
    order = np.argsort(starts, kind="stable")
    reach = np.maximum.accumulate(ends[order])
    fresh = np.ones(len(order), bool)
    fresh[1:] = starts[order][1:] > reach[:-1] + gap_bytes
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(fresh) - 1
    last = np.append(np.flatnonzero(fresh)[1:], len(order)) - 1 if len(order) else order
    return starts[order][fresh], reach[last], group


def plan_windows(
    starts: Sequence[int], ends: Sequence[int], limit_bytes: int, gap_bytes: int = MERGE_GAP_BYTES
) -> Iterator[tuple[int, int, int, int]]:
    """Cut ranges, taken in the order given, into reads of at most `limit_bytes`.

    A range larger than that is a read of its own; one that lies before the current read, or more
    than `gap_bytes` behind it, begins another.

    Yields:
        (first range, range past the last, first byte, byte past the last) of each read.
    """
    first, begin, stop = 0, 0, 0
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        joins = begin <= start <= stop + gap_bytes and max(end, stop) - begin <= limit_bytes
        if i > first and not joins:
            yield first, i, begin, stop
            first = i
        begin, stop = (start, end) if i == first else (begin, max(end, stop))
    if len(starts):
        yield first, len(starts), begin, stop
