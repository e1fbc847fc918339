"""Reads of a local file: exact ranges, and a doubted one is made again."""

import pytest

from runtime.errors import DamagedInTransit
from runtime.storage.remembered_reads import RememberedReads

DATA = bytes(range(256)) * 40


class Disk:
    """A file whose bytes can turn; notes what is read."""

    def __init__(self) -> None:
        self.data = bytearray(DATA)
        self.asked: list[tuple[int, int]] = []

    def read(self, offset: int, length: int) -> bytes:
        """A range."""
        self.asked.append((offset, length))
        return bytes(self.data[offset : offset + length])


@pytest.fixture
def disk() -> Disk:
    """The file."""
    return Disk()


@pytest.fixture
def reads(disk: Disk) -> RememberedReads:
    """Its reads."""
    return RememberedReads("/f", len(DATA), disk.read)


def test_ranges_are_read_as_they_are(disk: Disk, reads: RememberedReads) -> None:
    """No byte beside them; beyond the end there are none."""
    assert reads.read_at(5000, 3) == DATA[5000:5003]
    assert reads.read_at(len(DATA) - 2, 9) == DATA[-2:]
    assert reads.read_at(len(DATA), 1) == reads.read_at(0, 0) == b""
    assert disk.asked == [(5000, 3), (len(DATA) - 2, 2)]


def test_a_bit_that_turned_is_found(disk: Disk, reads: RememberedReads) -> None:
    """In what was read, not beside it."""
    reads.read_at(100, 10)
    disk.data[110] ^= 1
    reads.verify()
    reads.read_at(300, 10)
    disk.data[309] ^= 1
    with pytest.raises(DamagedInTransit, match="/f: damaged on the way: read twice"):
        reads.verify()


def test_what_is_proven_is_not_read_again(disk: Disk, reads: RememberedReads) -> None:
    """Each range once more, however often it is doubted."""
    reads.read_at(0, 10)
    reads.verify()
    reads.read_at(20, 10)
    reads.verify()
    reads.verify()
    assert disk.asked == [(0, 10), (0, 10), (20, 10), (20, 10)]
