"""Checksums of pieces combine to the checksum of the whole."""

from itertools import pairwise
from random import Random

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braid.io.crc32c import RangeChecksum, crc32c, crc32c_combine, crc32c_text
from runtime.storage.checksum import combine


@given(st.binary(max_size=400), st.binary(max_size=400))
def test_two_pieces(first: bytes, second: bytes) -> None:
    """Two CRCs and a length give the CRC of both pieces; braid's and runtime's copies agree."""
    whole = google_crc32c.value(first + second)
    assert crc32c_combine(crc32c(first), crc32c(second), len(second)) == whole
    assert combine(crc32c(first), crc32c(second), len(second)) == whole
    assert crc32c(second, crc32c(first)) == whole


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6), st.randoms())
def test_ranges_in_any_order(data: bytes, cuts: list[int], rng: Random) -> None:
    """Ranges of one object, taken in any order, give its CRC; gaps are listed."""
    edges = sorted({0, len(data), *(min(c, len(data)) for c in cuts)})
    ranges = list(pairwise(edges))
    rng.shuffle(ranges)
    sums = RangeChecksum()
    for start, end in ranges[1:]:
        sums.add(start, data[start:end])
    assert sums.gaps(len(data)) == ranges[:1]
    copied = sums.copy()
    for start, end in ranges[:1]:
        sums.add(start, data[start:end])
    assert sums.gaps(len(data)) == []
    assert sums.value() == google_crc32c.value(data)
    assert copied.gaps(len(data)) == ranges[:1]


def test_a_length_beyond_4_gib() -> None:
    """Combining with a long piece of zeros equals extending piece by piece."""
    first, block = b"shard", bytes(1 << 26)
    crc = crc32c(first)
    for _ in range(80):
        crc = crc32c(block, crc)
    zeros = 0
    for _ in range(80):
        zeros = crc32c(block, zeros)
    assert crc32c_combine(crc32c(first), zeros, 80 << 26) == crc


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_like(kind: type) -> None:
    """All kinds of byte buffers, empty ones too."""
    assert crc32c(kind(b"123456789")) == 0xE3069283  # the check value of CRC-32C
    assert crc32c(kind(b"")) == 0


def test_text_is_what_gcs_prints() -> None:
    """Base64 of the big-endian bytes."""
    assert crc32c_text(0xE3069283) == "4waSgw=="
    assert crc32c_text(0) == "AAAAAA=="
