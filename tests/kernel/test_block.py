"""DVID blocks: voxels, tables, counts."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import _braid
from tests.support.dvid_blocks import Labels, Parts, join, random_parts, starts

pytestmark = pytest.mark.usefixtures("lanes")

MOST = 2**64 - 1


def decode(block: bytes, shape: tuple[int, int, int] = (64, 64, 64)) -> Labels:
    """Voxels of one block."""
    out = np.full(shape, 77, np.uint64)
    _braid.decode_blocks(block, starts([len(block)]), out[None])
    return out


def test_real_block_equals_its_voxels(shared: Path) -> None:
    """A block written by DVID decodes to the voxels that DVID published with it."""
    folder = shared / "data/blocks"
    block = gzip.decompress((folder / "fib19-64x64x64-sample1-block.dat.gz").read_bytes())
    voxels = gzip.decompress((folder / "fib19-64x64x64-sample1.dat.gz").read_bytes())
    assert decode(block).tobytes() == voxels


def test_real_block_is_encoded_to_the_same_size(shared: Path) -> None:
    """Encoding the published voxels takes as many bytes as DVID's own block, and decodes back."""
    folder = shared / "data/blocks"
    theirs = gzip.decompress((folder / "fib19-64x64x64-sample1-block.dat.gz").read_bytes())
    voxels = decode(theirs)
    ours = _braid.encode_block(voxels)
    assert len(ours) == len(theirs)
    assert np.array_equal(decode(ours), voxels)


@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(0, 512), min_size=1, max_size=5),
    grid=st.tuples(*[st.integers(1, 3)] * 3),
)
def test_any_block_decodes_as_the_format_says(
    seed: int, sizes: list[int], grid: tuple[int, int, int]
) -> None:
    """Any palettes, any shape in multiples of 8: the same voxels as the plain Python reader's."""
    parts = random_parts(np.random.default_rng(seed), sizes, grid)
    shape = (grid[2] * 8, grid[1] * 8, grid[0] * 8)
    assert np.array_equal(decode(parts.to_bytes(), shape), parts.voxels())


@pytest.mark.parametrize(
    "size", [0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65, 128, 129, 256, 257, 512]
)
def test_every_width(size: int) -> None:
    """Every count of bits from 0 to 9, at both its ends, in aligned and unaligned blocks."""
    rng = np.random.default_rng(size)
    full = [random_parts(rng, [size], (1, 1, 1), n_labels=n) for n in (600, 601)]
    for parts in full:
        if size:
            parts.values = [np.arange(512, dtype=np.uint16) % size]
    data, start = join([parts.to_bytes() for parts in full])
    out = np.zeros((2, 8, 8, 8), np.uint64)
    _braid.decode_blocks(data, start, out)
    assert np.array_equal(out, [parts.voxels() for parts in full])


@pytest.mark.parametrize("label", [0, 1, MOST])
def test_solid_block(label: int) -> None:
    """One label in the table fills the block."""
    assert (decode(Parts((8, 8, 8), [label]).to_bytes()) == label).all()


def test_blocks_at_odd_addresses() -> None:
    """Nothing in a block needs to be aligned."""
    parts = random_parts(np.random.default_rng(1), [0, 1, 2, 5, 300], (2, 2, 2))
    block = parts.to_bytes()
    for shift in range(8):
        out = np.zeros((1, 16, 16, 16), np.uint64)
        start = np.array([shift, shift + len(block)])
        _braid.decode_blocks(bytes(shift) + block, start, out)
        assert np.array_equal(out[0], parts.voxels())


def test_mapping_by_table_and_by_value_agree() -> None:
    """A mapping in the table's order and the same one shuffled give the same voxels."""
    rng = np.random.default_rng(2)
    parts = random_parts(rng, [1, 2, 7, 40], (2, 1, 1), n_labels=90)
    ids = np.array(parts.table, np.uint64)
    labels = rng.integers(0, 5, len(ids), np.uint64)
    block, start = join([parts.to_bytes()])
    expected = parts.voxels(dict(zip(parts.table, labels.tolist(), strict=True)))
    for order in (np.arange(len(ids)), rng.permutation(len(ids))):
        out = np.zeros((1, 8, 8, 16), np.uint64)
        each = starts([len(ids)])
        _braid.decode_blocks(block, start, out, labels[order], each, ids[order], each)
        assert np.array_equal(out[0], expected)


@pytest.mark.parametrize("n", [1, 3, 60, 400])
def test_an_entry_without_mapping_stays(n: int) -> None:
    """Where the mapping lacks a label, or says more than the table, the rest is still mapped."""
    rng = np.random.default_rng(n)
    parts = random_parts(rng, [3, 9], (1, 1, 2), n_labels=200)
    chosen = rng.permutation(parts.table)[:n].tolist() + [int(x) for x in range(n)]
    labels = [int(x) for x in rng.integers(0, 2**64, len(chosen), np.uint64)]
    block, start = join([parts.to_bytes()])
    each = starts([len(chosen)])
    out = np.zeros((1, 16, 8, 8), np.uint64)
    mapping = np.array(labels, np.uint64), each, np.array(chosen, np.uint64), each
    _braid.decode_blocks(block, start, out, *mapping)
    assert np.array_equal(out[0], parts.voxels(dict(zip(chosen, labels, strict=True))))


def test_empty_mapping_maps_nothing() -> None:
    """A row with no labels at all keeps its supervoxels."""
    parts = random_parts(np.random.default_rng(3), [4], (1, 1, 1))
    block, start = join([parts.to_bytes()])
    out = np.zeros((1, 8, 8, 8), np.uint64)
    none = np.zeros(0, np.uint64), np.zeros(2, np.int64)
    _braid.decode_blocks(block, start, out, *none, *none)
    assert np.array_equal(out[0], parts.voxels())


@given(
    seed=st.integers(0, 2**32),
    n_labels=st.integers(1, 700),
    grid=st.tuples(*[st.integers(1, 3)] * 3),
    given_table=st.booleans(),
)
def test_encoded_voxels_come_back(
    seed: int, n_labels: int, grid: tuple[int, int, int], given_table: bool
) -> None:
    """Whatever is encoded, with whatever table, decodes to the same voxels."""
    rng = np.random.default_rng(seed)
    shape = (grid[2] * 8, grid[1] * 8, grid[0] * 8)
    labels = rng.integers(0, 2**64, n_labels, np.uint64)
    voxels = rng.choice(labels, shape)
    table = np.concatenate([rng.permutation(labels), labels[:3]]) if given_table else None
    block = _braid.encode_block(voxels, table)
    assert np.array_equal(decode(block, shape), voxels)
    if table is not None:
        assert block[16 : 16 + 8 * len(table)] == table.tobytes()


def test_table_in_order_of_appearance() -> None:
    """Without a table labels stand as they appear, sub-block after sub-block, as DVID's do."""
    voxels = np.full((8, 8, 16), 9, np.uint64)
    voxels[0, 0, 8] = 3
    block = _braid.encode_block(voxels)
    assert struct.unpack("<4I2Q", block[:32]) == (2, 1, 1, 2, 9, 3)


def test_encoding_strided_voxels() -> None:
    """Voxels need not be contiguous."""
    voxels = np.random.default_rng(4).integers(0, 9, (16, 16, 16), np.uint64)
    assert _braid.encode_block(voxels[::2, ::-1].T) == _braid.encode_block(
        voxels[::2, ::-1].T.copy()
    )


def test_given_table_must_hold_every_label() -> None:
    """A label that the given table lacks is named."""
    voxels = np.full((8, 8, 8), 5, np.uint64)
    with pytest.raises(_braid.KernelError, match="lacks label 5"):
        _braid.encode_block(voxels, np.array([1, 2], np.uint64))
    with pytest.raises(_braid.KernelError, match="expected 1 to"):
        _braid.encode_block(voxels, np.array([], np.uint64))


@pytest.mark.parametrize("shape", [(7, 8, 8), (8, 0, 8), (64, 64, 63)])
def test_shapes_are_multiples_of_eight(shape: tuple[int, int, int]) -> None:
    """Any other shape is refused, both ways."""
    with pytest.raises(_braid.KernelError, match="multiples of 8"):
        _braid.encode_block(np.zeros(shape, np.uint64))
    with pytest.raises(_braid.KernelError, match="multiples of 8"):
        decode(Parts((8, 8, 8), [1]).to_bytes(), shape)
