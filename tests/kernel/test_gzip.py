"""Chunks compressed in one call: the bytes are those of one call each."""

import gzip
import random
from concurrent.futures import ThreadPoolExecutor

import deflate
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braid import gzipped
from braid.gzipped import gzip_all

LARGER_THAN_SCRATCH = random.Random(0).randbytes(3 << 20)


@given(st.lists(st.binary(max_size=300), max_size=20), st.integers(0, 12))
def test_one_call_gives_what_many_give(chunks: list[bytes], level: int) -> None:
    """At every level, empty chunks included."""
    members = gzip_all(chunks, level)
    assert members == [bytes(deflate.gzip_compress(chunk, level)) for chunk in chunks]
    assert [gzip.decompress(member) for member in members] == chunks


def test_more_than_the_scratch_holds() -> None:
    """Chunks that do not compress, and one that alone is larger."""
    parts = [
        LARGER_THAN_SCRATCH[i : i + 300_000] for i in range(0, len(LARGER_THAN_SCRATCH), 300_000)
    ]
    chunks = [*parts, LARGER_THAN_SCRATCH, b"", *parts]
    assert [gzip.decompress(member) for member in gzip_all(chunks, 1)] == chunks


def test_any_buffer() -> None:
    """Slices of a batch are not copied first."""
    batch = memoryview(LARGER_THAN_SCRATCH)
    (member,) = gzip_all([batch[5:5000]], 6)
    assert gzip.decompress(member) == LARGER_THAN_SCRATCH[5:5000]


def test_threads_do_not_meet() -> None:
    """Each call has a compressor and a scratch of its own."""
    chunks = [bytes([i]) * 5000 + LARGER_THAN_SCRATCH[i : i + 5000] for i in range(60)]
    expected = gzip_all(chunks, 6)
    with ThreadPoolExecutor(4) as pool:
        assert all(
            found == expected for found in pool.map(lambda _: gzip_all(chunks, 6), range(16))
        )


def test_libdeflate_is_found_here() -> None:
    """Or conversions in several threads would quietly be slower than measured."""
    assert gzipped._libdeflate() is not None


def test_without_its_functions_the_bytes_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another build of the package may hide them."""
    chunks = [LARGER_THAN_SCRATCH[:4000], b"", b"a" * 9000]
    expected = gzip_all(chunks, 6)
    monkeypatch.setattr(gzipped, "_libdeflate", lambda: None)
    assert gzip_all(chunks, 6) == expected


def test_a_level_that_there_is_not() -> None:
    """No crash where the library makes no compressor."""
    with pytest.raises(MemoryError, match="no compressor of level 13"):
        gzip_all([b"x"], 13)
