"""Ranges of one object: what is remembered of them, what proves them, what it costs."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import DamagedInTransit
from runtime.storage.checked_reads import PAGE_BYTES, CheckedReads, read_again
from runtime.storage.checksum import crc32c, encode

SIZE = 5 * PAGE_BYTES + 77
DATA = random.Random(1).randbytes(SIZE)


class Wire:
    """An object far away; bits of the next answers may turn on the way."""

    def __init__(self, data: bytes = DATA) -> None:
        self.data = data
        self.asked: list[tuple[int, int]] = []
        self.turned: list[int] = []  # position, of the first answer that holds it

    def read(self, offset: int, length: int) -> bytes:
        """As a storage answers."""
        self.asked.append((offset, length))
        answer = bytearray(self.data[offset : offset + length])
        for position in [p for p in self.turned if offset <= p < offset + length]:
            answer[position - offset] ^= 1
            self.turned.remove(position)
        return bytes(answer)

    def reads(self, *, checksum: bool = True) -> CheckedReads:
        """Reads of the object, whose checksum is known or not."""
        expected = encode(crc32c(self.data)) if checksum else None
        return CheckedReads("far", len(self.data), expected, self.read)


@given(
    st.integers(0, 3 * PAGE_BYTES),
    st.lists(
        st.tuples(st.integers(0, 4 * PAGE_BYTES), st.integers(-1, 2 * PAGE_BYTES)), max_size=6
    ),
    st.booleans(),
)
def test_ranges_are_the_objects_and_prove_right(
    size: int, ranges: list[tuple[int, int]], checksum: bool
) -> None:
    """Whatever is read in whatever order, it is the object's, and a proof finds nothing."""
    wire = Wire(DATA[:size])
    reads = wire.reads(checksum=checksum)
    for offset, length in ranges:
        expected = DATA[offset : min(size, offset + max(length, 0))]
        assert reads.read_at(offset, length) == expected
    reads.verify()
    asked = len(wire.asked)
    reads.verify()
    assert len(wire.asked) == asked  # proven already


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("pages", [1, 5])
def test_a_bit_that_turned_is_found(checksum: bool, pages: int) -> None:
    """Whether a small or a large part was read, with the object's checksum or without."""
    wire = Wire()
    wire.turned = [PAGE_BYTES + 5]
    reads = wire.reads(checksum=checksum)
    assert reads.read_at(PAGE_BYTES, pages * PAGE_BYTES) != DATA[PAGE_BYTES:][: pages * PAGE_BYTES]
    with pytest.raises(DamagedInTransit, match="far: damaged on the way"):
        reads.verify()


def test_a_page_that_is_read_twice_is_the_same_twice() -> None:
    """Windows overlap: then the second read tells, without any proof."""
    wire = Wire()
    reads = wire.reads()
    reads.read_at(0, 10)
    wire.turned = [5]
    with pytest.raises(DamagedInTransit, match="read twice"):
        reads.read_at(20, 30)


def test_a_proof_reads_the_smaller_part() -> None:
    """What is missing for the checksum, or what was read."""
    wire = Wire()
    reads = wire.reads()
    reads.read_at(0, 4 * PAGE_BYTES)
    reads.verify()
    assert wire.asked[1:] == [(4 * PAGE_BYTES, SIZE - 4 * PAGE_BYTES)]
    wire.asked.clear()
    reads = wire.reads()
    reads.read_at(3 * PAGE_BYTES, 1)
    reads.verify()
    assert wire.asked == [(3 * PAGE_BYTES, PAGE_BYTES)] * 2


def test_threads_share_the_reads() -> None:
    """All pages are known in the end, and none is read for the proof."""
    wire = Wire()
    reads = wire.reads()
    with ThreadPoolExecutor(8) as pool:
        pieces = list(pool.map(lambda at: reads.read_at(at, 1000), range(0, SIZE, 1000)))
    assert b"".join(pieces) == DATA
    asked = len(wire.asked)
    reads.verify()
    assert len(wire.asked) == asked


def test_a_file_that_was_cut_is_not_remembered() -> None:
    """Its reads are short, as the reader notices."""
    reads = CheckedReads("cut", SIZE, None, lambda offset, length: DATA[offset:][:length][:100])
    assert len(reads.read_at(0, SIZE)) < SIZE
    reads.verify()


def test_reading_is_begun_anew_while_bytes_are_damaged() -> None:
    """Twice; then it is trouble."""
    left = [2]

    def action() -> str:
        if left[0]:
            left[0] -= 1
            raise DamagedInTransit("a bit turned")
        return "right"

    assert read_again(action) == "right"
    left[0] = 3
    with pytest.raises(DamagedInTransit):
        read_again(action)
