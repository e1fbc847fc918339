"""Byte ranges: merged for fewer requests, cut into bounded windows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from braid.io.ranges import merge_ranges, plan_windows

RANGES = st.lists(st.tuples(st.integers(0, 500), st.integers(1, 50)), max_size=30)


@given(RANGES, st.integers(0, 60))
def test_merged_ranges(ranges: list[tuple[int, int]], gap: int) -> None:
    """Merged ranges hold every range, lie further apart than the gap, and are ascending."""
    starts = np.array([start for start, _ in ranges], np.int64)
    ends = starts + np.array([size for _, size in ranges], np.int64)
    begins, stops, group = merge_ranges(starts, ends, gap)
    assert (begins[1:] > stops[:-1] + gap).all()
    assert (begins[group] <= starts).all()
    assert (ends <= stops[group]).all()
    covered = {b for start, size in ranges for b in range(start, start + size)}
    for begin, stop in zip(begins.tolist(), stops.tolist(), strict=True):
        assert {begin, stop - 1} <= covered


@given(RANGES, st.integers(1, 200), st.integers(0, 60), st.none() | st.integers(1, 200))
def test_windows(
    ranges: list[tuple[int, int]], limit: int, gap: int, first_limit: int | None
) -> None:
    """Windows take the ranges in order, each inside its window, none above the limit but alone."""
    starts = [start for start, _ in ranges]
    ends = [start + size for start, size in ranges]
    seen: list[int] = []
    for first, last, begin, stop in plan_windows(starts, ends, limit, gap, first_limit):
        assert begin == min(starts[first:last])
        assert stop == max(ends[first:last])
        most = limit if first or first_limit is None else first_limit
        assert stop - begin <= most or last == first + 1
        seen += range(first, last)
    assert seen == list(range(len(ranges)))
