"""DVIDDecompressor, as code written against BRAID 1.0 uses it."""

import gzip
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

import _braid
from braid.decompressor import DecompressionError, DVIDDecompressor, bits_for, get_packed_value
from braid.dvid.block import largest_block_bytes
from braid.exceptions import BraidError


def zipped(block: bytes, *, sized: bool = True) -> bytes:
    """A zstd frame, with or without its content size."""
    return zstandard.ZstdCompressor(write_content_size=sized).compress(block)


def solid(label: int, grid: tuple[int, int, int] = (8, 8, 8)) -> bytes:
    """A block of one label."""
    return struct.pack("<4IQ", *grid, 1, label)


@pytest.mark.parametrize(
    ("n", "bits"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (16, 4), (257, 9), (512, 9)]
)
def test_bits_for(n: int, bits: int) -> None:
    """ceil(log2(n)), and nothing for one label or none."""
    assert bits_for(n) == bits


@given(values=st.lists(st.integers(0, 511), min_size=1, max_size=40), head=st.integers(0, 7))
def test_get_packed_value(values: list[int], head: int) -> None:
    """Nine-bit values packed most significant bit first come out again from any bit on."""
    text = "1" * head + "".join(f"{value:09b}" for value in values)
    data = int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")
    assert [get_packed_value(data, head + 9 * i, 9) for i in range(len(values))] == values


def test_get_packed_value_within_its_data() -> None:
    """No bits are 0; bits beyond the data are an error."""
    assert get_packed_value(b"\xd3\xb5", 0, 0) == 0
    assert get_packed_value(b"\xd3\xb5", 2, 4) == 0b0100
    with pytest.raises(IndexError, match="bit 17"):
        get_packed_value(b"\xd3\xb5", 8, 9)


@pytest.mark.parametrize("sized", [True, False])
def test_frames_with_and_without_content_size(sized: bool) -> None:
    """DVID writes no content size below 256 bytes; both kinds decode."""
    voxels = DVIDDecompressor().decompress_block(zipped(solid(42), sized=sized))
    assert voxels.dtype == np.uint64
    assert voxels.shape == (64, 64, 64)
    assert (voxels == 42).all()


def test_real_block(shared: Path) -> None:
    """DVID's own sample decodes to its published voxels."""
    folder = shared / "data/blocks"
    block = gzip.decompress((folder / "fib19-64x64x64-sample1-block.dat.gz").read_bytes())
    voxels = gzip.decompress((folder / "fib19-64x64x64-sample1.dat.gz").read_bytes())
    assert DVIDDecompressor().decompress_block(zipped(block)).tobytes() == voxels


def test_largest_block_fits() -> None:
    """Every voxel a label of its own, in a frame without its size."""
    voxels = np.arange(64**3, dtype=np.uint64).reshape(64, 64, 64)
    block = _braid.encode_block(voxels)
    assert len(block) == largest_block_bytes() == 3_441_680
    decoded = DVIDDecompressor().decompress_block(zipped(block, sized=False))
    assert np.array_equal(decoded, voxels)


def test_other_shapes() -> None:
    """Any multiples of 8, z first."""
    voxels = np.random.default_rng(0).integers(0, 9, (16, 8, 24), np.uint64)
    frame = zipped(_braid.encode_block(voxels))
    decoded = DVIDDecompressor().decompress_block(frame, block_shape=(16, 8, 24))
    assert np.array_equal(decoded, voxels)
    with pytest.raises(DecompressionError, match="another shape"):
        DVIDDecompressor().decompress_block(frame)
    with pytest.raises(DecompressionError, match="multiples of 8"):
        DVIDDecompressor().decompress_block(frame, block_shape=(16, 8, 23))


@pytest.mark.parametrize("kind", [list, tuple, lambda ids: np.array(ids, np.uint64)])
def test_mapping(kind: Callable[[list[int]], Sequence[int]]) -> None:
    """Lists and arrays map supervoxels; one alone maps nothing; others stay as they are."""
    voxels = np.array([5, 2**64 - 1, 7, 0], np.uint64).repeat(128).reshape(8, 8, 8)
    frame = zipped(_braid.encode_block(voxels))
    ids, labels = kind([2**64 - 1, 5, 100]), kind([1, 2**63 + 5, 3])
    decode = DVIDDecompressor().decompress_block
    mapped = decode(frame, agglo_labels=labels, supervoxels=ids, block_shape=(8, 8, 8))
    assert mapped.reshape(-1)[::128].tolist() == [2**63 + 5, 1, 7, 0]
    assert np.array_equal(decode(frame, labels, block_shape=(8, 8, 8)), voxels)
    assert np.array_equal(decode(frame, [], [], (8, 8, 8)), voxels)


def test_no_bytes_are_zeros() -> None:
    """BRAID 1.0 gave zeros for an empty record, and so do we."""
    assert not DVIDDecompressor().decompress_block(b"").any()
    assert DVIDDecompressor().get_block_info(b"")["type"] == "empty"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"no zstd at all", "zstd"),
        (zipped(solid(1))[:-3], "zstd"),
        (zipped(b"no block"), "expected at least 24 bytes, found 8"),
        (zipped(solid(1, (4, 4, 4))), "another shape"),
        (zipped(struct.pack("<4I", 8, 8, 8, 2**32 - 1) + bytes(64)), "4294967295 labels claimed"),
        (zipped(bytes(3_441_681)), "claims 3441681"),
        (zipped(bytes(3_441_681), sized=False), "zstd"),
    ],
)
def test_damage(data: bytes, text: str) -> None:
    """Bad zstd and bad counts give one typed error with what was found."""
    with pytest.raises(DecompressionError, match=text) as caught:
        DVIDDecompressor().decompress_block(data)
    assert isinstance(caught.value, BraidError)


@pytest.mark.parametrize("labels", [[-1], [2**64], [1.5], np.array([1.5]), np.array([-3])])
def test_mapping_of_no_labels(labels: list[int]) -> None:
    """What is not a uint64 label is refused, not wrapped."""
    with pytest.raises(DecompressionError, match="not uint64 labels"):
        DVIDDecompressor().decompress_block(zipped(solid(1)), agglo_labels=labels, supervoxels=[1])


def test_uneven_mapping() -> None:
    """One label for each supervoxel."""
    with pytest.raises(DecompressionError, match="expected 2 labels"):
        DVIDDecompressor().decompress_block(zipped(solid(1)), agglo_labels=[1], supervoxels=[1, 2])


def test_block_info() -> None:
    """The header's fields under the names that BRAID 1.0 used."""
    frame = zipped(struct.pack("<4I2Q", 8, 8, 8, 2, 100, 200))
    assert DVIDDecompressor().get_block_info(frame) == {
        "type": "compressed",
        "subblocks": (8, 8, 8),
        "label_count": 2,
        "block_size": (64, 64, 64),
        "zstd_compressed_size": len(frame),
        "dvid_uncompressed_size": 32,
    }
    assert DVIDDecompressor().get_block_info(zipped(solid(3)))["type"] == "solid"
    assert DVIDDecompressor().get_block_info(zipped(b"short"))["type"] == "invalid"
    assert DVIDDecompressor().get_block_info(b"junk")["type"] == "zstd_error"
