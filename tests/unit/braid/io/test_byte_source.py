"""Ranges come back exactly, and neighbours share a read."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braid.exceptions import BraidError, InvalidShardFormatError, SourceNotFoundError
from braid.io.byte_source import (
    ByteSource,
    BytesSource,
    FileSource,
    merge_ranges,
    open_source,
    plan_windows,
    read_exactly,
    source_name,
)

RANGES = st.lists(st.tuples(st.integers(0, 500), st.integers(1, 50)), max_size=30)


@pytest.fixture(params=["file", "bytes"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> BytesSource | FileSource:
    """Sources of the same 256 bytes."""
    data = bytes(range(256))
    if request.param == "bytes":
        return BytesSource(data, "made")
    (tmp_path / "made").write_bytes(data)
    return FileSource(tmp_path / "made")


def test_ranges(source: BytesSource | FileSource) -> None:
    """A source knows its size and name, gives any range, and counts what it was asked."""
    assert isinstance(source, ByteSource)
    assert source.size == 256
    assert source_name(source).endswith("made")
    assert bytes(read_exactly(source, 10, 5)) == bytes([10, 11, 12, 13, 14])
    assert bytes(read_exactly(source, 0, 256)) == bytes(range(256))
    assert source.requests == 2
    assert bytes(read_exactly(source, 256, 0)) == b""
    assert open_source(source) is source


@pytest.mark.parametrize(("offset", "length"), [(250, 7), (257, 0), (-1, 2), (0, -1)])
def test_ranges_beyond(source: ByteSource, offset: int, length: int) -> None:
    """A range that is not wholly inside is refused, naming the source."""
    with pytest.raises(InvalidShardFormatError, match="made: bytes"):
        read_exactly(source, offset, length)


def test_a_file_that_shrinks(tmp_path: Path) -> None:
    """A file cut while it is read is found out."""
    path = tmp_path / "made"
    path.write_bytes(bytes(100))
    with FileSource(path) as source:
        path.write_bytes(bytes(10))
        with pytest.raises(InvalidShardFormatError, match="wanted 50 bytes at 0, got 10"):
            read_exactly(source, 0, 50)


def test_no_such_file(tmp_path: Path) -> None:
    """A missing file is an error of ours, and a FileNotFoundError for those who catch that."""
    with pytest.raises(SourceNotFoundError, match="no such file") as caught:
        open_source(tmp_path / "absent")
    assert isinstance(caught.value, BraidError)
    assert isinstance(caught.value, FileNotFoundError)


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


@given(RANGES, st.integers(1, 200), st.integers(0, 60))
def test_windows(ranges: list[tuple[int, int]], limit: int, gap: int) -> None:
    """Windows take the ranges in order, each inside its window, none above the limit but alone."""
    starts = [start for start, _ in ranges]
    ends = [start + size for start, size in ranges]
    seen: list[int] = []
    for first, last, begin, stop in plan_windows(starts, ends, limit, gap):
        assert begin == min(starts[first:last])
        assert stop == max(ends[first:last])
        assert stop - begin <= limit or last == first + 1
        seen += range(first, last)
    assert seen == list(range(len(ranges)))
