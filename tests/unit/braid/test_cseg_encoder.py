"""CSEGEncoder, as code written against BRAID 1.0 uses it."""

import gzip
import struct

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

import _braid
from braid.cseg_encoder import CSEGEncoder
from braid.exceptions import DecompressionError, EncodingError


def some_voxels(shape: tuple[int, int, int], n_labels: int = 9) -> np.ndarray:
    """Random labels, 0 among them."""
    return np.random.default_rng(0).integers(0, n_labels, shape, np.uint64)


def test_smallest_chunk_word_by_word() -> None:
    """Two labels in four voxels: every word is known from the format."""
    voxels = np.array([[[4, 0], [4, 0]]], np.uint64)
    words = struct.pack("<4I2Q", 1, 3 | 1 << 24, 2, 0b0101, 0, 4)
    assert CSEGEncoder().encode_chunk(voxels, block_size=(1, 2, 2)) == words


def test_block_size_is_z_first() -> None:
    """Shapes and block sizes of this class are (z, y, x)."""
    voxels = some_voxels((6, 10, 20))
    chunk = CSEGEncoder().encode_chunk(voxels, block_size=(2, 4, 8))
    out = np.empty_like(voxels)
    _braid.cseg_decode(chunk, out, (8, 4, 2))
    assert np.array_equal(out, voxels)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", ">u8"])
def test_other_integers_are_taken_as_uint64(dtype: str) -> None:
    """Any integers from 0 up give the chunk of the same uint64 labels."""
    voxels = some_voxels((8, 8, 8))
    assert CSEGEncoder().encode_chunk(voxels.astype(dtype)) == _braid.cseg_encode(voxels)


def test_uint32_makes_a_chunk_of_32_bit_labels() -> None:
    """A uint32 volume has tables of u32."""
    voxels = some_voxels((8, 8, 8)).astype(np.uint32)
    chunk = CSEGEncoder().encode_chunk(voxels)
    assert chunk == _braid.cseg_encode(voxels)
    assert len(chunk) < len(_braid.cseg_encode(voxels.astype(np.uint64)))


@pytest.mark.parametrize(
    ("voxels", "block_size", "text"),
    [
        (np.zeros((8, 8)), (8, 8, 8), "found float64"),
        (np.zeros((8, 8), np.uint64), (8, 8, 8), "shape"),
        (np.zeros((0, 8, 8), np.uint64), (8, 8, 8), "shape"),
        (np.full((8, 8, 8), -1), (8, 8, 8), "found -1"),
        (np.ones((8, 8, 8), np.uint64), (8, 0, 8), "block size"),
        (np.arange(256**3, dtype=np.uint64).reshape((256,) * 3), (8, 8, 8), "16777215"),
    ],
)
def test_what_cannot_be_encoded(
    voxels: np.ndarray, block_size: tuple[int, int, int], text: str
) -> None:
    """One typed error with what was found."""
    with pytest.raises(EncodingError, match=text):
        CSEGEncoder().encode_chunk(voxels, block_size)


@given(
    shape=st.tuples(*[st.integers(1, 20)] * 3),
    block_size=st.tuples(*[st.integers(1, 12)] * 3),
)
def test_max_encoded_size(shape: tuple[int, int, int], block_size: tuple[int, int, int]) -> None:
    """No chunk is larger, even if every voxel has a label of its own."""
    voxels = np.arange(np.prod(shape), dtype=np.uint64).reshape(shape)
    encoder = CSEGEncoder()
    most = encoder.max_encoded_size(shape, block_size)
    assert len(encoder.encode_chunk(voxels, block_size)) <= most


@pytest.mark.parametrize("gzip_output", [False, True])
@pytest.mark.parametrize("zstd_input", [False, True])
@pytest.mark.parametrize("block_size", [(8, 8, 8), (16, 8, 4)])
@pytest.mark.parametrize("shape", [(64, 64, 64), (32, 16, 8)])
def test_dvid_to_cseg(
    shape: tuple[int, int, int],
    block_size: tuple[int, int, int],
    zstd_input: bool,
    gzip_output: bool,
) -> None:
    """Any shape, block size and wrapping: the chunk of the mapped voxels."""
    voxels = some_voxels(shape)
    data = _braid.encode_block(voxels)
    chunk = CSEGEncoder().dvid_to_cseg(
        zstandard.compress(data) if zstd_input else data,
        block_size=block_size,
        supervoxels=list(range(5)),
        agglo_labels=[2**64 - 1, 0, 3, 3, 8],
        zstd_input=zstd_input,
        gzip_output=gzip_output,
    )
    table = np.array([2**64 - 1, 0, 3, 3, 8, 5, 6, 7, 8], np.uint64)
    expected = _braid.cseg_encode(table[voxels], block_size[::-1])
    assert (gzip.decompress(chunk) if gzip_output else chunk) == expected


def test_zeros_are_a_chunk_here() -> None:
    """A shard leaves zeros out; this encoder gives them bytes like anything else."""
    zeros = np.zeros((64, 64, 64), np.uint64)
    block = zstandard.compress(_braid.encode_block(zeros))
    assert CSEGEncoder().dvid_to_cseg(block) == _braid.cseg_encode(zeros)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"short",
        struct.pack("<4IQ", 8, 8, 9, 1, 5),
        struct.pack("<4IQ", 2**31, 2**31, 2**31, 1, 5),
        struct.pack("<4IQ", 0, 8, 8, 1, 5),
        struct.pack("<4IQ", 8, 8, 8, 2, 5),
        struct.pack("<4IQ", 8, 8, 4, 2, 5),
    ],
)
def test_damaged_blocks(block: bytes) -> None:
    """Headers and counts that do not fit give one typed error, and allocate nothing."""
    with pytest.raises(DecompressionError, match=r"expected|label table"):
        CSEGEncoder().dvid_to_cseg(block, zstd_input=False)
    with pytest.raises(DecompressionError):
        CSEGEncoder().dvid_to_cseg(zstandard.compress(block))
