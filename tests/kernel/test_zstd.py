"""Frames decompressed in one call: the bytes are zstandard's, and damage is refused by item."""

import contextlib
import random
from itertools import accumulate, pairwise

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

import _braid
from braid.dvid import block_batch
from braid.dvid.rows import Rows
from braid.exceptions import DecompressionError
from braid.native_symbols import libzstd
from producer.export_writer import compress


def decompressed(frames: list[bytes], sizes: list[int]) -> list[bytes]:
    """Frames through the kernel, each with its expected size."""
    functions = libzstd()
    assert functions is not None
    ends = np.array(list(accumulate(map(len, frames))), np.int64)
    begins = ends - np.array([len(frame) for frame in frames], np.int64)
    start = np.array(list(accumulate(sizes, initial=0)), np.int64)
    out = np.zeros(int(start[-1]), np.uint8)
    _braid.decompress_frames(b"".join(frames), begins, ends, start, out, functions)
    return [out[begin:end].tobytes() for begin, end in pairwise(start.tolist())]


@given(st.lists(st.binary(max_size=400), max_size=12), st.integers(1, 19), st.booleans())
def test_frames_come_back(contents: list[bytes], level: int, with_size: bool) -> None:
    """Of any level, with their size inside or without."""
    compress_one = zstandard.ZstdCompressor(level=level, write_content_size=with_size).compress
    frames = [compress_one(content) for content in contents]
    assert decompressed(frames, [len(content) for content in contents]) == contents


@pytest.mark.parametrize("off", [-1, 1])
def test_another_size_is_refused(off: int) -> None:
    """A frame longer or shorter than its output range is refused."""
    frames = [compress(b"first"), compress(b"second" * 9), compress(b"third")]
    with pytest.raises(_braid.KernelError, match=r"too small|it holds 54 bytes") as error:
        decompressed(frames, [5, 54 + off, 5])
    assert error.value.item == 1


@given(seed=st.integers(0, 2**32))
def test_a_flipped_bit_is_an_error_or_other_bytes(seed: int) -> None:
    """Never a crash, and never a range that was not filled."""
    rng = random.Random(seed)
    content = bytes(rng.choices(b"abc", k=500))
    frame = bytearray(compress(content))
    frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
    with contextlib.suppress(_braid.KernelError):
        (found,) = decompressed([bytes(frame)], [500])
        assert found.strip(b"\0")


def test_what_is_no_frame() -> None:
    """Nothing, noise, half a frame and a frame with more behind it."""
    whole = compress(b"something" * 20)
    for frame in (b"", b"noise and more noise", whole[: len(whole) // 2], whole + b"more"):
        with pytest.raises(_braid.KernelError) as error:
            decompressed([whole, frame], [180, 180])
        assert error.value.item == 1


@pytest.mark.parametrize(
    ("begin", "end", "start"),
    [
        ([0], [99], [0, 5]),
        ([-1], [9], [0, 5]),
        ([9], [3], [0, 5]),
        ([0], [9], [0, 99]),
        ([0], [9], [-5, 5]),
        ([0], [9], [5, 0]),
        ([2**63 - 1], [2**63 - 1], [0, 0]),
    ],
)
def test_places_are_checked(begin: list[int], end: list[int], start: list[int]) -> None:
    """Before anything is read or written."""
    functions = libzstd()
    assert functions is not None
    out = np.zeros(5, np.uint8)
    with pytest.raises(_braid.KernelError, match=r"lies outside the data|^out: expected"):
        _braid.decompress_frames(
            compress(b"12345"), np.array(begin), np.array(end), np.array(start), out, functions
        )


def test_counts_that_differ_are_refused() -> None:
    """The arrays must describe the same frames."""
    functions = libzstd()
    assert functions is not None
    one, two = np.zeros(1, np.int64), np.zeros(2, np.int64)
    for begin, end, start in ((one, two, two), (one, one, one), (two, two, two)):
        with pytest.raises(_braid.KernelError, match=r"begins and . ends|expected . starts"):
            _braid.decompress_frames(b"", begin, end, start, np.zeros(0, np.uint8), functions)


def rows_of(frames: list[bytes], sizes: list[int]) -> Rows:
    """Rows with nothing but frames."""
    nothing, no_lists = np.zeros(0, np.uint64), np.zeros(len(frames) + 1, np.int64)
    return Rows(
        coords=np.zeros((len(frames), 3), np.int32),
        blocks=np.frombuffer(b"".join(frames), np.uint8),
        block_start=np.array(list(accumulate(map(len, frames), initial=0)), np.int64),
        uncompressed_size=np.array(sizes, np.uint32),
        labels=nothing,
        label_start=no_lists,
        supervoxels=nothing,
        supervoxel_start=no_lists,
    )


@pytest.mark.parametrize("chosen", [[0, 1, 2], [2, 0], [1], []])
def test_without_its_functions_the_bytes_are_the_same(
    chosen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another build of the package may hide them; errors still name their frame."""
    contents = [bytes([i]) * (40 + i) for i in range(3)]
    rows = rows_of([compress(c) for c in contents], [len(c) for c in contents])
    torn = rows_of([compress(contents[0]), b"torn", b"torn"], [40, 40, 40])
    places = np.array(chosen, np.int64)
    expected = [contents[i] for i in chosen]
    for hidden in (False, True):
        if hidden:
            monkeypatch.setattr(block_batch, "libzstd", lambda: None)
        found = block_batch.decompress_blocks(rows, places, mapped=False, describe_row=str)
        assert bytes(found.data) == b"".join(expected)
        assert np.diff(found.start).tolist() == [len(content) for content in expected]
        with pytest.raises(DecompressionError, match=r"^1: damaged zstd frame \("):
            block_batch.decompress_blocks(torn, np.array([0, 1]), mapped=False, describe_row=str)


@pytest.mark.parametrize("hidden", [False, True])
def test_a_frame_that_claims_much_takes_no_memory(
    hidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its header is anyone's bytes: 2^60 of them cannot be had."""
    if hidden:
        monkeypatch.setattr(block_batch, "libzstd", lambda: None)
    bomb = b"\x28\xb5\x2f\xfd" + b"\xe0" + (2**60).to_bytes(8, "little") + b"\x01\0\0"
    assert zstandard.frame_content_size(bomb) == 2**60
    with pytest.raises(DecompressionError, match=r"^0: damaged zstd frame \("):
        block_batch.decompress_blocks(
            rows_of([bomb], [40]), np.array([0]), mapped=False, describe_row=str
        )


def test_libzstd_is_found_here() -> None:
    """Or conversions in several threads would quietly be slower than measured."""
    assert libzstd() is not None
