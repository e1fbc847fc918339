"""Damaged bytes give a KernelError or a result, and never more memory than they are worth."""

import resource
import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import _braid
from tests.support.dvid_blocks import Parts, random_parts, starts

pytestmark = pytest.mark.usefixtures("lanes")

WHOLE = random_parts(np.random.default_rng(0), [0, 1, 2, 3, 5, 17, 1, 70, 300], n_labels=310)
BLOCK = WHOLE.to_bytes()
CHUNK = _braid.cseg_encode(WHOLE.voxels())
SMALL = random_parts(np.random.default_rng(1), [3, 1, 400, 2], (2, 1, 2), n_labels=9).to_bytes()


UNWRITTEN = 0x5A17C3E90B64D2F8  # a label that neither BLOCK nor CHUNK holds


def decode(block: bytes, shape: tuple[int, int, int] = (64, 64, 64)) -> None:
    """Decode a block of any bytes; every voxel must be written."""
    out = np.full((1, *shape), UNWRITTEN, np.uint64)
    _braid.decode_blocks(block, starts([len(block)]), out)
    assert (out != UNWRITTEN).all()


def decode_small(block: bytes) -> None:
    """Decode a block of any bytes as 16 x 8 x 16 voxels."""
    decode(block, (16, 8, 16))


def transcode(block: bytes) -> None:
    """Transcode a block of any bytes; the chunk must be readable, or empty."""
    chunks = _braid.transcode_blocks(block, starts([len(block)]))
    assert chunks.start.tolist() == [0, len(chunks.data)]
    if len(chunks.data):
        assert try_kernel(decode_chunk, chunks.data.tobytes()) == ""


def decode_chunk(chunk: bytes) -> None:
    """Decode a chunk of any bytes as 64^3 voxels in 8^3 blocks; every voxel must be written."""
    out = np.full((64, 64, 64), UNWRITTEN, np.uint64)
    _braid.cseg_decode(chunk, out)
    assert (out != UNWRITTEN).all()


def decode_odd_chunk(chunk: bytes) -> None:
    """Decode a chunk of any bytes as 32-bit labels of another shape in other blocks."""
    out = np.full((9, 30, 17), UNWRITTEN >> 32, np.uint32)
    _braid.cseg_decode(chunk, out, (5, 8, 4))
    assert (out != UNWRITTEN >> 32).all()


KERNELS = [
    (decode, BLOCK),
    (decode_small, SMALL),
    (transcode, BLOCK),
    (decode_chunk, CHUNK),
    (decode_odd_chunk, CHUNK),
]
kernels = pytest.mark.parametrize(
    ("kernel", "whole"), KERNELS, ids=[kernel.__name__ for kernel, _ in KERNELS]
)

Kernel = Callable[[bytes], None]


def try_kernel(kernel: Kernel, data: bytes) -> str:
    """The text of the KernelError, which is one line; "" where the kernel accepts the bytes."""
    try:
        kernel(data)
    except _braid.KernelError as error:
        text = str(error)
        assert len(text.splitlines()) == 1
        return text
    return ""


@kernels
@settings(max_examples=200)
@given(data=st.data())
def test_flipped_bits(kernel: Kernel, whole: bytes, data: st.DataObject) -> None:
    """Up to eight flipped bits, some of them in the counts and headers."""
    at = st.integers(0, 8 * len(whole) - 1) | st.integers(0, 8 * 1100)
    damaged = bytearray(whole)
    for bit in data.draw(st.lists(at, min_size=1, max_size=8)):
        damaged[bit % (8 * len(whole)) // 8] ^= 1 << bit % 8
    try_kernel(kernel, bytes(damaged))


@kernels
@settings(max_examples=100)
@given(data=st.data())
def test_truncated(kernel: Kernel, whole: bytes, data: st.DataObject) -> None:
    """Any prefix; a block that is short is always refused."""
    size = data.draw(st.integers(0, len(whole) - 1))
    text = try_kernel(kernel, whole[:size])
    assert text or whole is CHUNK


@kernels
@given(data=st.binary(max_size=200))
def test_noise(kernel: Kernel, whole: bytes, data: bytes) -> None:
    """Bytes that are nothing at all, also behind a true header."""
    try_kernel(kernel, data)
    try_kernel(kernel, whole[:16] + data)


@pytest.mark.parametrize("extra", [1, 2, 4, 64])
def test_bytes_behind_a_block_are_refused(extra: int) -> None:
    """A block ends where its counts say: anything behind it shows that they are wrong."""
    for block in (BLOCK, Parts((8, 8, 8), [4]).to_bytes()):
        assert "size does not fit" in try_kernel(transcode, block + bytes(extra))


@pytest.mark.parametrize("n_labels", [2**32 - 1, 2**31, 10**6, 400])
def test_a_claim_of_many_labels_allocates_nothing(n_labels: int) -> None:
    """A table that cannot fit is refused before memory of its size is allocated."""
    block = struct.pack("<4I", 8, 8, 8, n_labels) + bytes(2000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for kernel in (decode, transcode):
        assert "label table does not fit" in try_kernel(kernel, block)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 16 * 1024  # KiB


def broken(change: Callable[[Parts], None]) -> bytes:
    """A sound block of one sub-block, damaged at one offset."""
    parts = Parts(
        (8, 8, 8), [5, 6, 7], [[0, 1, 2]] * 512, [np.arange(512, dtype=np.uint16) % 3] * 512
    )
    change(parts)
    return parts.to_bytes()


def out_of_table(parts: Parts) -> None:
    """A palette entry beyond the table."""
    parts.palettes = [*parts.palettes[:300], [0, 3, 1], *parts.palettes[301:]]


def out_of_table_unused(parts: Parts) -> None:
    """The same where no voxel uses it."""
    parts.palettes = [*parts.palettes[:300], [0, 1, 3], *parts.palettes[301:]]
    parts.values[300] = np.zeros(512, np.uint16)


def out_of_palette(parts: Parts) -> None:
    """A value beyond its palette."""
    values = parts.values[3].copy()
    values[100] = 3
    parts.values[3] = values


def empty_table(parts: Parts) -> None:
    """No labels at all."""
    parts.table = []


def other_shape(parts: Parts) -> None:
    """The right number of sub-blocks, arranged otherwise."""
    parts.grid = (8, 4, 16)


@pytest.mark.parametrize("kernel", [decode, transcode])
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (out_of_table, "sub-block 300 points outside the label table: expected below 3, found 3"),
        (out_of_table_unused, "sub-block 300 points outside the label table"),
        (out_of_palette, "sub-block 3 holds a value outside its labels: expected below 3, found 3"),
        (empty_table, "empty label table: expected at least 1 label, found 0"),
        (other_shape, "another shape: expected 8 sub-blocks on an axis, found 4"),
    ],
)
def test_each_fault_is_named(kernel: Kernel, change: Callable[[Parts], None], text: str) -> None:
    """The text says what was expected and what was found."""
    assert text in try_kernel(kernel, broken(change))


def test_too_many_labels_in_a_sub_block() -> None:
    """512 voxels cannot have 513 labels."""
    block = bytearray(broken(lambda _: None))
    block[16 + 24 + 2 * 7 : 16 + 24 + 2 * 7 + 2] = struct.pack("<H", 513)
    assert "sub-block 7 claims too many labels" in try_kernel(transcode, bytes(block))


@pytest.mark.parametrize("kernel", [_braid.decode_blocks, _braid.transcode_blocks])
def test_uneven_mapping(kernel: Callable[..., object]) -> None:
    """Each supervoxel has one label: a row with more of either is damaged."""
    block = Parts((8, 8, 8), [4]).to_bytes()
    rest = () if kernel is _braid.transcode_blocks else (np.empty((1, 64, 64, 64), np.uint64),)
    labels, ids = np.array([1, 2], np.uint64), np.array([4], np.uint64)
    with pytest.raises(_braid.KernelError, match="expected 1 labels"):
        kernel(block, starts([len(block)]), *rest, labels, starts([2]), ids, starts([1]))


@pytest.mark.parametrize(
    "start", [[0], [], [0, 25], [-1, 24], [5, 3], [0, 30, 24], [0, -1, 24]], ids=str
)
def test_starts_outside_the_buffer(start: list[int]) -> None:
    """Starts must ascend inside the buffer, in every entry point."""
    block = Parts((8, 8, 8), [4]).to_bytes()
    out = np.empty((max(len(start) - 1, 0), 64, 64, 64), np.uint64)
    if start == [0]:
        _braid.decode_blocks(block, np.array(start, np.int64), out)
        return
    with pytest.raises(_braid.KernelError, match="start"):
        _braid.decode_blocks(block, np.array(start, np.int64), out)


def test_starts_of_the_mapping_are_checked_too() -> None:
    """The mapping's starts count and ascend like the blocks'."""
    block = Parts((8, 8, 8), [4]).to_bytes()
    ids = np.array([4], np.uint64)
    for wrong in (starts([1, 1]), np.array([0, 2]), np.array([-1, 1]), np.array([1, 0])):
        with pytest.raises(_braid.KernelError, match="start"):
            _braid.transcode_blocks(block, starts([24]), ids, wrong, ids, starts([1]))
        with pytest.raises(_braid.KernelError, match="start"):
            _braid.transcode_blocks(block, starts([24]), ids, starts([1]), ids, wrong)
    with pytest.raises(_braid.KernelError, match="needs labels and supervoxels"):
        _braid.transcode_blocks(block, starts([24]), ids, starts([1]))


def test_room_for_every_block() -> None:
    """`out` has one volume per block."""
    block = Parts((8, 8, 8), [4]).to_bytes()
    with pytest.raises(_braid.KernelError, match="room for 1 blocks, found 2"):
        _braid.decode_blocks(block, starts([24]), np.empty((2, 64, 64, 64), np.uint64))


def chunk_of(*words: int) -> bytes:
    """A chunk of one 8^3 block."""
    return struct.pack(f"<{len(words)}I", *words)


@pytest.mark.parametrize(
    ("chunk", "text"),
    [
        (b"", "not a whole number of 4-byte words: found 0 bytes"),
        (b"123", "not a whole number of 4-byte words: found 3 bytes"),
        (chunk_of(0, 2, 2, 7, 0), "channel offset is wrong: expected 1 to 5, found 0"),
        (chunk_of(6, 2, 2, 7, 0), "channel offset is wrong: expected 1 to 5, found 6"),
        (chunk_of(1, 2), "too short for its block headers: expected 2 words, found 1"),
        (chunk_of(1, 2 | 3 << 24, 2, 7, 0), "wrong encoding bits: expected .*, found 3"),
        (chunk_of(1, 2 | 64 << 24, 2, 7, 0), "wrong encoding bits: expected .*, found 64"),
        (chunk_of(1, 3, 2, 7, 0), "table of block 0 lies outside the chunk"),
        (chunk_of(1, 2 | 1 << 24, 2, 7, 0), "expected an end within 4 words, found 18"),
        (chunk_of(1, 18 | 1 << 24, 2, *[1] * 16, 7, 0), "expected below 1, found 1"),
    ],
)
def test_each_chunk_fault_is_named(chunk: bytes, text: str) -> None:
    """Headers, values and tables must lie inside the chunk."""
    out = np.zeros((8, 8, 8), np.uint64)
    with pytest.raises(_braid.KernelError, match=text):
        _braid.cseg_decode(chunk, out)
    assert not out.any()
