"""Chunks compressed and decompressed in one call: the bytes are those of one call each."""

import gzip
import random
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import deflate
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import _braid
from braid.native_symbols import addresses, libdeflate, libinflate
from braid.precomputed import data_encoding
from braid.precomputed.chunk_batch import ChunkBatch
from braid.precomputed.data_encoding import gunzip_all, gzip_all

NOISE = random.Random(0).randbytes(3 << 20)


def members_of(chunks: list[bytes], level: int) -> list[bytes]:
    """Each chunk's gzip member."""
    made = ChunkBatch.of(enumerate(chunks))
    data, start = gzip_all(made.data, made.start, level)
    assert start[0] == 0
    assert start[-1] == len(data)
    return [data[begin:end] for begin, end in pairwise(start.tolist())]


@given(st.lists(st.binary(max_size=300), max_size=20), st.integers(0, 12))
def test_one_call_gives_what_many_give(chunks: list[bytes], level: int) -> None:
    """At every level, empty chunks included."""
    members = members_of(chunks, level)
    assert members == [bytes(deflate.gzip_compress(chunk, level)) for chunk in chunks]
    assert [gzip.decompress(member) for member in members] == chunks


def test_chunks_that_do_not_compress() -> None:
    """Members are larger than chunks then; there is room for them."""
    parts = [NOISE[i : i + 300_000] for i in range(0, len(NOISE), 300_000)]
    chunks = [*parts, NOISE, b"", *parts]
    assert [gzip.decompress(member) for member in members_of(chunks, 1)] == chunks


def test_any_buffer_and_any_part_of_it() -> None:
    """Slices of a batch are not copied first; what stands outside is left alone."""
    batch = memoryview(NOISE)[5:5000]
    data, _ = gzip_all(batch, np.array([100, 4000]), 6)
    assert gzip.decompress(data) == NOISE[105:4005]


def test_threads_do_not_meet() -> None:
    """Each call has a compressor and a scratch of its own."""
    chunks = [bytes([i]) * 5000 + NOISE[i : i + 5000] for i in range(60)]
    expected = members_of(chunks, 6)
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda _: members_of(chunks, 6), range(16))
        assert all(members == expected for members in found)


def test_libdeflate_is_found_here() -> None:
    """Or conversions in several threads would quietly be slower than measured."""
    assert libdeflate() is not None


@given(st.lists(st.binary(max_size=90), max_size=9))
def test_without_its_functions_the_bytes_are_the_same(chunks: list[bytes]) -> None:
    """Another build of the package may hide them."""
    expected = members_of(chunks, 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_encoding, "libdeflate", lambda: None)
        assert members_of(chunks, 6) == expected


@pytest.mark.parametrize(
    ("extension", "names"),
    [("no_such_module", ["f"]), ("_braid", ["no_such_function"]), ("gzip", ["f"]), ("sys", ["f"])],
)
def test_functions_that_are_not_there(extension: str, names: list[str]) -> None:
    """Neither a missing module nor one that is no library is an error."""
    assert addresses(extension, names) is None


def test_a_level_that_there_is_not() -> None:
    """No crash where the library makes no compressor."""
    with pytest.raises(MemoryError, match="no compressor of level 13"):
        members_of([b"x"], 13)


@pytest.mark.parametrize("start", [[0, 9], [-1, 4], [0, 6, 2], [2**62, 2**63 - 1], [5, 0]])
def test_chunks_outside_the_data_are_refused(start: list[int]) -> None:
    """Offsets are checked before anything is read."""
    functions = libdeflate()
    assert functions is not None
    with pytest.raises(_braid.KernelError, match=r"^chunks: expected (starts within|ascending)"):
        _braid.gzip_chunks(bytes(8), np.array(start), 6, functions)


@pytest.mark.parametrize("start", [[], [0]])
def test_no_chunks(start: list[int]) -> None:
    """Nothing in, nothing out."""
    assert gzip_all(b"", np.array(start, np.int64), 6)[0] == b""


@given(st.lists(st.binary(max_size=300), max_size=20), st.integers(0, 9))
def test_members_come_back(chunks: list[bytes], level: int) -> None:
    """Members of other compressors decompress too."""
    members = [gzip.compress(chunk, level) for chunk in chunks]
    for hidden in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if hidden:
                patch.setattr(data_encoding, "libinflate", lambda: None)
            assert gunzip_all(members, [len(chunk) for chunk in chunks]) == chunks


WHOLE = gzip.compress(b"abc" * 50, mtime=0)
TORN = {  # members and sizes that do not fit each other
    "nothing": (b"", 0),
    "noise": (b"no gzip, though it is long enough", 150),
    "cut": (WHOLE[:-3], 150),
    "a hole": (WHOLE[:20] + WHOLE[-8:], 150),
    "holds more than it claims": (WHOLE[:-4] + (120).to_bytes(4, "little"), 120),
    "holds less": (WHOLE[:-4] + (1500).to_bytes(4, "little"), 1500),
}


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize(("member", "size"), TORN.values(), ids=TORN)
def test_damage_is_refused_by_item(
    member: bytes, size: int, hidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither noise nor a member that is not as long as it claims."""
    if hidden:
        monkeypatch.setattr(data_encoding, "libinflate", lambda: None)
    with pytest.raises(_braid.KernelError) as error:
        gunzip_all([gzip.compress(b"good"), member], [4, size])
    assert error.value.item == 1


@pytest.mark.parametrize("start", [[0, 9], [-1, 4], [3, 2], [2**63 - 1, 2**63 - 1]])
def test_places_are_checked(start: list[int]) -> None:
    """Before anything is written."""
    functions = libinflate()
    assert functions is not None
    out = np.zeros(5, np.uint8)
    with pytest.raises(_braid.KernelError, match=r"^out: expected (starts within|ascending)"):
        _braid.gunzip_chunks([gzip.compress(b"12345")], np.array(start), out, functions)
    with pytest.raises(_braid.KernelError, match="expected 2 starts, found 3"):
        _braid.gunzip_chunks([b""], np.array([*start, 0]), out, functions)
