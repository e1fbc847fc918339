"""Every chunk of the real shard, against other people's codecs."""

import numpy as np
import pytest

import _braid
from tests.kernel.conftest import RealShard
from tests.support.oracles import cloudvolume_decode, tensorstore_decode, tensorstore_encode

SHAPE = (64, 64, 64)


@pytest.mark.parametrize("mapped", [True, False], ids=["labels", "supervoxels"])
def test_chunks_equal_tensorstores(real_shard: RealShard, lanes: str, mapped: bool) -> None:
    """Transcoded bytes are TensorStore's own, and read back they are the block's voxels."""
    mapping = real_shard.mapping if mapped else ()
    chunks = _braid.transcode_blocks(real_shard.blocks, real_shard.start, *mapping)
    voxels = np.empty((len(real_shard), *SHAPE), np.uint64)
    _braid.decode_blocks(real_shard.blocks, real_shard.start, voxels, *mapping)
    for i, expected in enumerate(voxels):
        chunk = chunks.data[chunks.start[i] : chunks.start[i + 1]].tobytes()
        assert chunks.labels[i] == len(np.unique(expected))
        assert bool(chunk) == bool(expected.any())
        if not chunk:
            continue
        assert chunk == _braid.cseg_encode(expected)
        if lanes == "wide":  # the portable loops were just held equal to the voxel path
            assert chunk == tensorstore_encode(expected)
            assert np.array_equal(tensorstore_decode(chunk, SHAPE), expected)
            assert np.array_equal(cloudvolume_decode(chunk, SHAPE), expected)


def test_voxels_equal_a_plain_readers(real_shard: RealShard) -> None:
    """Three blocks decode to what the format says, read value by value in Python."""
    for i in (0, 100, 257):
        block = real_shard.blocks[real_shard.start[i] : real_shard.start[i + 1]].tobytes()
        out = np.empty((1, *SHAPE), np.uint64)
        _braid.decode_blocks(block, np.array([0, len(block)]), out)
        assert np.array_equal(out[0], plain_voxels(block))


def plain_voxels(block: bytes) -> np.ndarray:
    """A 64^3 block's voxels, without any of our kernels."""
    gx, gy, gz, n_labels = np.frombuffer(block, "<u4", 4).tolist()
    table = np.frombuffer(block, "<u8", n_labels, 16)
    if n_labels == 1:
        return np.full(SHAPE, table[0])
    at = 16 + 8 * n_labels
    counts = np.frombuffer(block, "<u2", gx * gy * gz, at).astype(int)
    at += 2 * len(counts)
    indices = np.frombuffer(block, "<u4", counts.sum(), at)
    at += 4 * len(indices)
    bits = np.unpackbits(np.frombuffer(block, np.uint8, offset=at))
    out = np.zeros((gz, 8, gy, 8, gx, 8), np.uint64)
    entry = bit = 0
    for number, count in enumerate(counts):
        width = max(int(count) - 1, 0).bit_length()
        palette = table[indices[entry : entry + count]]
        weights = 1 << np.arange(width)[::-1]
        values = bits[bit : bit + 512 * width].reshape(512, width) @ weights
        if count:
            z, y, x = number // (gx * gy), number // gx % gy, number % gx
            out[z, :, y, :, x, :] = palette[values.astype(int)].reshape(8, 8, 8)
        entry += count
        bit += 512 * width
    return out.reshape(SHAPE)
