"""Kernel entries that take bytes.

The first bytes of an input are choices (shape, mapping, repair), the rest is the data. Most random
changes to a DVID block break its length, which the first check refuses; so half of all blocks are
repaired: cut or filled up to the length that their own counts ask for.
"""

import contextlib
import zlib
from itertools import pairwise

import numpy as np
import numpy.typing as npt

import _braid
from braid.native_symbols import libdeflate, libzstd

CHUNK = (64, 64, 64)
SHAPES = [(8, 8, 8), (8, 16, 8), (5, 9, 17), (16, 8, 24)]  # z, y, x
BLOCK_SIZES = [(8, 8, 8), (4, 2, 8), (16, 16, 16), (3, 5, 7)]  # x, y, z
MOST_BYTES = 1 << 14  # of a repaired block
ROOM_BYTES = 120  # for decompressed frames: starts may lie behind it
GZIP_LEVELS = 12
GZIP_WBITS = 31  # zlib's word for a gzip member
ONE_IN = 64  # how rarely the slow comparison is made

Labels = npt.NDArray[np.uint64]
Mapping = tuple[Labels, npt.NDArray[np.int64], Labels, npt.NDArray[np.int64]]


def arrow_metadata(data: bytes) -> None:
    """Metadata of an Arrow message: refused, or no more than wanted."""
    with contextlib.suppress(_braid.KernelError):
        *_, nodes, buffers = _braid.arrow_metadata(data, 3)
        assert len(nodes) <= 3, "more nodes than wanted"
        assert len(buffers) <= 6, "more buffers than wanted"


def arrow_rows(data: bytes) -> None:
    """A byte of rows, then a record batch: refused, or so many lists that fill their arrays."""
    if not data:
        return
    rows = np.arange(data[0] & 7, dtype=np.int64)
    lengths = np.array([len(rows)], np.int64)
    batch = np.zeros(len(rows), np.int64)
    buffer, begin, end = np.zeros(1, np.int64), np.ones(1, np.int64), np.array([len(data)])
    with contextlib.suppress(_braid.KernelError):
        found = _braid.arrow_rows([data], buffer, begin, end, lengths, batch, rows[::-1].copy())
        for values, start in ((found[1], found[2]), (found[4], found[5]), (found[6], found[7])):
            assert start[0] == 0, "lists do not begin at 0"
            assert start[-1] == len(values), "lists do not end at the end"
            assert (start[1:] >= start[:-1]).all(), "lists overlap"
            values.sum()  # every byte is there


def block_decode(data: bytes) -> None:
    """Small DVID blocks, mapped or not, at any address."""
    if len(data) < 2:
        return
    shape = [(8, 8, 8), (8, 16, 8), (16, 16, 16), (8, 8, 24)][data[0] & 3]
    shift = data[0] >> 2 & 7
    block, mapping = split(data[1:], shape, repair=bool(data[0] & 32), mapped=bool(data[0] & 64))
    start = np.array([shift, shift + len(block)])
    out = np.empty((1, *shape), np.uint64)
    with contextlib.suppress(_braid.KernelError):
        _braid.decode_blocks(bytes(shift) + block, start, out, *mapping)


def palette_transcode(data: bytes) -> None:
    """Whole DVID blocks; now and then the chunk is held against the voxel path."""
    if len(data) < 2:
        return
    block, mapping = split(data[1:], CHUNK, repair=bool(data[0] & 1), mapped=bool(data[0] & 2))
    start = np.array([0, len(block)])
    _braid.use_wide_lanes(not data[0] & 4)
    try:
        chunk = _braid.transcode_blocks(block, start, *mapping).data.tobytes()
    except _braid.KernelError:
        return
    if zlib.crc32(data) % ONE_IN == 0:
        voxels = np.empty((1, *CHUNK), np.uint64)
        _braid.decode_blocks(block, start, voxels, *mapping)
        expected = _braid.cseg_encode(voxels[0]) if voxels.any() else b""
        assert chunk == expected, "palette path and voxel path disagree"


def cseg_decode(data: bytes) -> None:
    """Chunks of several shapes, block sizes and label widths."""
    if not data:
        return
    out = np.zeros(SHAPES[data[0] & 3], np.uint32 if data[0] & 16 else np.uint64)
    with contextlib.suppress(_braid.KernelError):
        _braid.cseg_decode(data[1:], out, BLOCK_SIZES[data[0] >> 2 & 3])


def cseg_encode(data: bytes) -> None:
    """Voxels made of the bytes; what is encoded must come back."""
    if len(data) < 3:
        return
    shape, block_size = SHAPES[data[0] & 3], BLOCK_SIZES[data[0] >> 2 & 3]
    dtype = np.uint32 if data[0] & 16 else np.uint64
    bytes_each = 1 + (data[0] >> 5 & 1) * (np.dtype(dtype).itemsize - 1)
    text = data[1 : 1 + len(data[1:]) // bytes_each * bytes_each]
    labels = np.frombuffer(text, np.uint8 if bytes_each == 1 else dtype).astype(dtype)
    if labels.size == 0:
        return
    voxels = np.resize(labels, shape)
    if data[0] & 64:
        voxels = voxels[::-1, :, ::-1]
    out = np.empty(shape, dtype)
    _braid.cseg_decode(_braid.cseg_encode(voxels, block_size), out, block_size)
    assert np.array_equal(out, voxels), "voxels differ after a round trip"


def zstd_frames(data: bytes) -> None:
    """A byte of frames, three signed bytes of offsets for each and one more, then the frames."""
    count = data[0] & 7 if data else 0
    offsets = np.frombuffer(data[1 : 2 + 3 * count], np.int8).astype(np.int64)
    functions = libzstd()
    if functions is None or len(offsets) < 1 + 3 * count:
        return
    begin, end, start = offsets[:count], offsets[count : 2 * count], offsets[2 * count :]
    out = np.zeros(ROOM_BYTES, np.uint8)
    with contextlib.suppress(_braid.KernelError):
        _braid.decompress_frames(data[1 + len(offsets) :], begin, end, start, out, functions)
        assert not out[max(start.max(), 0) :].any(), "written beyond the last frame"


def gzip_chunks(data: bytes) -> None:
    """A byte of chunks, a signed byte of offset for each and one more, then the chunks."""
    count, level = (data[0] & 7, data[0] >> 3 & 15) if data else (0, 0)
    start = np.frombuffer(data[1 : 2 + count], np.int8).astype(np.int64)
    functions = libdeflate()
    if functions is None or len(start) < 1 + count or level > GZIP_LEVELS:
        return
    text = data[2 + count :]
    with contextlib.suppress(_braid.KernelError):
        members, ends = _braid.gzip_chunks(text, start, level, functions)
        found = [zlib.decompress(members[a:b], GZIP_WBITS) for a, b in pairwise(ends.tolist())]
        assert found == [text[a:b] for a, b in pairwise(start.tolist())], "chunks differ"


def split(
    data: bytes, shape: tuple[int, int, int], *, repair: bool, mapped: bool
) -> tuple[bytes, tuple[()] | Mapping]:
    """A block and, in front of it, the mapping that the first byte's count asks for."""
    mapping: tuple[()] | Mapping = ()
    if mapped:
        n = min(data[0], (len(data) - 1) // 2)
        labels = np.frombuffer(data[1 : 1 + n], np.uint8).astype(np.uint64)
        ids = np.frombuffer(data[1 + n : 1 + 2 * n], np.uint8).astype(np.uint64)
        start = np.array([0, n])
        mapping = labels, start, ids, start
        data = data[1 + 2 * n :]
    return (repaired(data, shape) if repair else data), mapping


def repaired(block: bytes, shape: tuple[int, int, int]) -> bytes:
    """The block with the right header, plausible counts and exactly as many bytes as they need."""
    gz, gy, gx = (edge // 8 for edge in shape)
    cells = gx * gy * gz
    header = np.array([gx, gy, gz], "<u4").tobytes()
    n_labels = 1 + (block[12] if len(block) > 12 else 0) % 64
    counts_at = 16 + 8 * n_labels
    block = header + np.uint32(n_labels).tobytes() + block[16:]
    if n_labels == 1:
        return block[:24].ljust(24, b"\0")
    block = block.ljust(counts_at + 2 * cells, b"\0")
    counts = np.frombuffer(block, "<u2", cells, counts_at) % 513
    bits = np.ceil(np.log2(np.maximum(counts, 1))).astype(int)
    size = counts_at + 2 * cells + 4 * int(counts.sum()) + 64 * int(bits.sum())
    body = block[counts_at + 2 * cells :] or b"\0"
    if size > MOST_BYTES:
        return block
    rest = np.resize(np.frombuffer(body, np.uint8), size - counts_at - 2 * cells)
    places = np.frombuffer(rest[: 4 * int(counts.sum())].tobytes(), "<u4") % (n_labels + 1)
    head = block[:counts_at] + counts.astype("<u2").tobytes()
    return head + places.astype("<u4").tobytes() + rest[4 * int(counts.sum()) :].tobytes()
