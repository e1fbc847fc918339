"""compressed_segmentation chunks of any shape and block size."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import _braid
from tests.support.oracles import cloudvolume_decode, tensorstore_decode, tensorstore_encode

pytestmark = pytest.mark.usefixtures("lanes")

Shape = tuple[int, int, int]

shapes = st.tuples(*[st.integers(1, 40)] * 3)
cells = st.just((8, 8, 8))
block_sizes = cells | st.tuples(*[st.integers(1, 20)] * 3)


def some_voxels(seed: int, shape: Shape, n_labels: int, dtype: str, flat: bool) -> np.ndarray:
    """Random labels, in solid boxes if `flat`."""
    rng = np.random.default_rng(seed)
    most = 2**32 if dtype == "uint32" else 2**64
    labels = rng.integers(0, most, n_labels, np.uint64).astype(dtype)
    labels[rng.integers(0, n_labels)] = 0
    if not flat:
        return rng.choice(labels, shape)
    coarse = rng.choice(labels, [edge // 9 + 1 for edge in shape])
    whole = coarse.repeat(9, 0).repeat(9, 1).repeat(9, 2)
    return whole[: shape[0], : shape[1], : shape[2]]


def decode(chunk: bytes, shape: Shape, dtype: str, block_size: Shape) -> np.ndarray:
    """Our decoder's voxels."""
    out = np.full(shape, 77, dtype)
    _braid.cseg_decode(chunk, out, block_size)
    return out


@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    shape=shapes,
    block_size=block_sizes,
    n_labels=st.sampled_from([1, 2, 3, 5, 17, 257, 4000]),
    dtype=st.sampled_from(["uint64", "uint32"]),
    flat=st.booleans(),
)
def test_bytes_equal_tensorstores(  # noqa: PLR0917 - hypothesis fills them in
    seed: int, shape: Shape, block_size: Shape, n_labels: int, dtype: str, flat: bool
) -> None:
    """Any chunk, clipped or not, is encoded as TensorStore encodes it, and comes back."""
    voxels = some_voxels(seed, shape, n_labels, dtype, flat)
    chunk = _braid.cseg_encode(voxels, block_size)
    assert np.array_equal(decode(chunk, shape, dtype, block_size), voxels)
    if voxels.any():
        assert chunk == tensorstore_encode(voxels, block_size)
    assert np.array_equal(tensorstore_decode(chunk, shape, dtype, block_size), voxels)


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32),
    shape=shapes,
    n_labels=st.sampled_from([1, 3, 17, 400]),
    dtype=st.sampled_from(["uint64", "uint32"]),
)
def test_cloudvolumes_decoder_agrees(seed: int, shape: Shape, n_labels: int, dtype: str) -> None:
    """The decoder that cloud-volume uses reads our chunks."""
    voxels = some_voxels(seed, shape, n_labels, dtype, flat=True)
    chunk = _braid.cseg_encode(voxels)
    assert np.array_equal(cloudvolume_decode(chunk, shape, dtype), voxels)


@pytest.mark.parametrize("n_labels", [1, 2, 3, 4, 5, 16, 17, 256, 257, 512])
def test_every_width(n_labels: int) -> None:
    """0, 1, 2, 4, 8 and 16 bits at both ends of each."""
    voxels = (np.arange(512, dtype=np.uint64) % n_labels * 2**50 + 1).reshape(8, 8, 8)
    chunk = _braid.cseg_encode(voxels)
    width = struct.unpack("<I", chunk[4:8])[0] >> 24
    assert width == next(w for w in (0, 1, 2, 4, 8, 16) if 2**w >= n_labels)
    assert chunk == tensorstore_encode(voxels)
    assert np.array_equal(decode(chunk, (8, 8, 8), "uint64", (8, 8, 8)), voxels)


def test_more_labels_than_sixteen_bits() -> None:
    """One block of 64^3 different labels takes 32 bits, as in TensorStore."""
    voxels = np.arange(1, 64**3 + 1, dtype=np.uint64)[::-1].reshape(64, 64, 64)
    chunk = _braid.cseg_encode(voxels, (64, 64, 64))
    assert chunk == tensorstore_encode(voxels, (64, 64, 64))
    assert np.array_equal(decode(chunk, (64, 64, 64), "uint64", (64, 64, 64)), voxels)


def test_strided_voxels() -> None:
    """A clipped or decimated view is encoded like its copy."""
    voxels = np.random.default_rng(0).integers(0, 5, (64, 64, 64), np.uint64)
    for view in (voxels[::2, :50, 3:], voxels.T, voxels[::-1, ::-1, ::-1]):
        assert _braid.cseg_encode(view) == _braid.cseg_encode(view.copy())


def test_decoding_into_a_view() -> None:
    """A part of a larger volume can be filled in place, and nothing beside it."""
    voxels = np.random.default_rng(1).integers(0, 5, (16, 24, 8), np.uint64)
    volume = np.full((20, 30, 10), 77, np.uint64)
    _braid.cseg_decode(_braid.cseg_encode(voxels), volume[2:18, 3:27, 1:9])
    assert np.array_equal(volume[2:18, 3:27, 1:9], voxels)
    assert (volume == 77).sum() == volume.size - voxels.size


def test_a_table_is_shared_with_any_earlier_equal_one() -> None:
    """Blocks 0 and 2 hold the same labels, block 1 others: two tables are written."""
    voxels = np.zeros((8, 8, 24), np.uint64)
    voxels[..., 0] = 1
    voxels[..., 8:] = 7
    voxels[..., 16:] = 0
    voxels[0, 0, 16] = 1
    heads = struct.unpack("<6I", _braid.cseg_encode(voxels)[4:28])
    assert heads[0] == heads[4]
    assert heads[2] & 0xFFFFFF != heads[0] & 0xFFFFFF


@pytest.mark.parametrize("block_size", [(0, 8, 8), (8, 8), (8, -8, 8), (2**40, 2**40, 2**40)])
def test_block_sizes_that_are_none(block_size: Shape) -> None:
    """Refused before anything is allocated."""
    voxels = np.ones((8, 8, 8), np.uint64)
    with pytest.raises(_braid.KernelError, match="block size"):
        _braid.cseg_encode(voxels, block_size)
    with pytest.raises(_braid.KernelError, match="block size"):
        _braid.cseg_decode(b"1234", voxels, block_size)


def test_foreign_order_is_read() -> None:
    """A channel further back and tables before values are readable too."""
    table, values = 2, 6  # in words from the channel, which begins at word 3
    labels = [7, 0, 9, 0]
    words = [3, 0, 0, table | 1 << 24, values, *labels, *[0xF0F0F0F0] * 16]
    out = np.zeros((8, 8, 8), np.uint64)
    _braid.cseg_decode(struct.pack(f"<{len(words)}I", *words), out)
    assert (out[..., :4] == 7).all()
    assert (out[..., 4:] == 9).all()
