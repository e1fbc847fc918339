"""Ranges of a remote object: pages at their edges are requested once."""

import random

from hypothesis import given
from hypothesis import strategies as st

from consumer.executor.range_prefetch import RangePrefetch
from runtime.storage.checked_reads import PAGE_BYTES

DATA = random.Random(0).randbytes(20 * PAGE_BYTES + 77)


class Far:
    """A remote object that notes what is requested."""

    name, size, requests, stamp = "far", len(DATA), 0, "s"

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def read_at(self, offset: int, length: int) -> bytes:
        """A range."""
        self.asked.append((offset, length))
        return DATA[offset : offset + length]

    def changed(self) -> bool:
        """It never does."""
        return False

    def verify(self, *, doubted: bool = False) -> None:
        """Nothing to prove."""

    def close(self) -> None:
        """Nothing to close."""


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6)), min_size=1, max_size=4),
        max_size=5,
    ),
    st.sampled_from([0, 0, 1, 100]),
)
def test_any_ranges_are_the_objects(calls: list[list[tuple[int, int]]], shift: int) -> None:
    """Whatever was kept of those before, whether they are whole pages or not."""
    source = RangePrefetch(Far())
    for pages in calls:
        begins = [page * PAGE_BYTES + shift for page, _ in pages]
        ends = [min(b + n * PAGE_BYTES, len(DATA)) for b, (_, n) in zip(begins, pages, strict=True)]
        begins = [min(b, e) for b, e in zip(begins, ends, strict=True)]
        lengths = [end - begin for begin, end in zip(begins, ends, strict=True)]
        expected = [DATA[begin:end] for begin, end in zip(begins, ends, strict=True)]
        assert source.read_many(begins, lengths) == expected


def test_pages_at_edges_are_requested_once() -> None:
    """The page where one range ends and the next begins; a page between is requested again."""
    far = Far()
    source = RangePrefetch(far)
    source.read_many([0], [3 * PAGE_BYTES])
    source.read_many([2 * PAGE_BYTES], [2 * PAGE_BYTES])
    source.read_many([PAGE_BYTES], [PAGE_BYTES])
    source.read_many([3 * PAGE_BYTES], [PAGE_BYTES])
    assert far.asked == [
        (0, 3 * PAGE_BYTES),
        (3 * PAGE_BYTES, PAGE_BYTES),
        (PAGE_BYTES, PAGE_BYTES),
    ]
