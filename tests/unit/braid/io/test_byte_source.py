"""Byte sources: exact ranges, errors that name the source."""

from pathlib import Path

import pytest

from braid.exceptions import BraidError, InvalidShardFormatError, SourceNotFoundError
from braid.io.byte_source import (
    ByteSource,
    BytesSource,
    FileSource,
    open_source,
    read_exactly,
    source_name,
)


@pytest.fixture(params=["file", "bytes"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> BytesSource | FileSource:
    """Sources of the same 256 bytes."""
    data = bytes(range(256))
    if request.param == "bytes":
        return BytesSource(data, "made")
    (tmp_path / "made").write_bytes(data)
    return FileSource(tmp_path / "made")


def test_ranges(source: BytesSource | FileSource) -> None:
    """A source knows its size and name, gives any range, and counts requests."""
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
    """A missing file is a BraidError and a FileNotFoundError."""
    with pytest.raises(SourceNotFoundError, match="File not found") as caught:
        open_source(tmp_path / "absent")
    assert isinstance(caught.value, BraidError)
    assert isinstance(caught.value, FileNotFoundError)
