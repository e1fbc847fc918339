"""Palette transcode: the bytes of the voxel path, without voxels."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import _braid
from tests.support.dvid_blocks import Parts, join, random_parts, starts
from tests.support.oracles import cloudvolume_decode, tensorstore_encode

pytestmark = pytest.mark.usefixtures("lanes")

SHAPE = (64, 64, 64)


def transcode(parts: list[Parts], mappings: list[dict[int, int]] | None = None) -> list[bytes]:
    """Each block's chunk; mappings are given in the tables' own order."""
    data, start = join([part.to_bytes() for part in parts])
    if mappings is None:
        chunks = _braid.transcode_blocks(data, start)
    else:
        ids = np.array([key for each in mappings for key in each], np.uint64)
        labels = np.array([label for each in mappings for label in each.values()], np.uint64)
        each = starts([len(mapping) for mapping in mappings])
        chunks = _braid.transcode_blocks(data, start, labels, each, ids, each)
    return [
        chunks.data[a:b].tobytes() for a, b in zip(chunks.start, chunks.start[1:], strict=False)
    ]


def voxel_path(voxels: np.ndarray) -> bytes:
    """What the voxel encoder gives; nothing for zeros."""
    return _braid.cseg_encode(voxels) if voxels.any() else b""


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(0, 512), min_size=1, max_size=6),
    n_labels=st.integers(2, 700),
    n_mapped=st.sampled_from([1, 2, 3, 40, 10**6]),
)
def test_palette_path_equals_voxel_path(
    seed: int, sizes: list[int], n_labels: int, n_mapped: int
) -> None:
    """Any palettes, any mapping: the bytes that encoding the mapped voxels gives."""
    rng = np.random.default_rng(seed)
    parts = random_parts(rng, sizes, n_labels=n_labels)
    mapping = {label: int(rng.integers(0, n_mapped)) for label in parts.table}
    plain, mapped = transcode([parts]), transcode([parts], [mapping])
    assert plain == [voxel_path(parts.voxels())]
    assert mapped == [voxel_path(parts.voxels(mapping))]


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32), sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_other_readers_agree(seed: int, sizes: list[int]) -> None:
    """TensorStore's encoder gives the same bytes, cloud-volume's decoder the same voxels."""
    parts = random_parts(np.random.default_rng(seed), sizes)
    [chunk] = transcode([parts])
    voxels = parts.voxels()
    assert chunk == tensorstore_encode(voxels)
    assert np.array_equal(cloudvolume_decode(chunk, SHAPE), voxels)


def test_every_width_in_and_out() -> None:
    """Palettes of every bit width, of which any number of entries is used."""
    sizes = [2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 63, 64, 65, 128, 256, 257, 512]
    for size, used in itertools.product(sizes, [1, 2, 3, 5, 17, 257, 512]):
        rng = np.random.default_rng(size * 1000 + used)
        parts = random_parts(rng, [size], n_labels=900)
        for values in parts.values:
            values[:] = rng.choice(rng.permutation(size)[:used].astype(np.uint16), 512)
        case = f"palettes of {size} entries, {used} of them used"
        assert transcode([parts]) == [voxel_path(parts.voxels())], case


def test_zero_chunks_have_no_bytes() -> None:
    """Zeros by a solid block, by empty sub-blocks, by mapping or by an unused label: nothing."""
    empty = random_parts(np.random.default_rng(0), [0], labels=[5, 6])
    unused = random_parts(np.random.default_rng(0), [2], labels=[0, 6])
    unused.palettes = [[0, 1]] * 512
    unused.values = [np.zeros(512, np.uint16)] * 512
    mapped = random_parts(np.random.default_rng(0), [1, 2, 9], labels=[3, 4, 5])
    solid = Parts((8, 8, 8), [0])
    blocks = [empty, unused, mapped, solid]
    assert transcode(blocks, [{}, {}, {3: 0, 4: 0, 5: 0}, {}]) == [b""] * 4


def test_distinct_labels_are_counted() -> None:
    """Labels that voxels have after mapping, 0 among them; unused ones do not count."""
    blocks = [
        Parts((8, 8, 8), [9]),
        random_parts(np.random.default_rng(0), [0, 1], labels=[7, 8]),
        random_parts(np.random.default_rng(1), [2, 5, 300], labels=list(range(100))),
        random_parts(np.random.default_rng(1), [3], labels=[1, 2, 3]),
    ]
    mapping = [{}, {}, {}, {1: 4, 2: 4, 3: 5}]
    data, start = join([block.to_bytes() for block in blocks])
    ids, labels = np.array([1, 2, 3], np.uint64), np.array([4, 4, 5], np.uint64)
    each = starts([0, 0, 0, 3])
    chunks = _braid.transcode_blocks(data, start, labels, each, ids, each)
    expected = [len(np.unique(block.voxels(m))) for block, m in zip(blocks, mapping, strict=True)]
    assert chunks.labels.tolist() == expected


def test_labels_at_the_ends_of_their_range() -> None:
    """0 and 2^64 - 1 stand first and last in a table."""
    labels = [2**64 - 1, 0, 2**63, 2**63 - 1, 1, 2**32]
    parts = random_parts(np.random.default_rng(3), [6, 2], labels=labels)
    assert transcode([parts]) == [tensorstore_encode(parts.voxels())]


def test_a_table_longer_than_any_palette() -> None:
    """A block of 262,144 labels, one per voxel, in an order of its own."""
    rng = np.random.default_rng(4)
    labels = rng.permutation(np.arange(1, 64**3 + 1, dtype=np.uint64))
    voxels = labels.reshape(SHAPE)
    block = _braid.encode_block(voxels, rng.permutation(labels))
    assert len(block) == 3_441_680
    chunks = _braid.transcode_blocks(block, starts([len(block)]))
    assert chunks.data.tobytes() == _braid.cseg_encode(voxels)
    assert chunks.labels.tolist() == [64**3]


def test_batches_are_independent() -> None:
    """A block's chunk does not depend on its neighbours, their order or their number."""
    rng = np.random.default_rng(5)
    blocks = [random_parts(rng, sizes) for sizes in ([1], [0, 2, 3], [9, 1], [1], [40, 300])]
    alone = [transcode([block])[0] for block in blocks]
    assert transcode(blocks) == alone
    assert transcode(blocks[::-1]) == alone[::-1]


def test_empty_batch() -> None:
    """No blocks, no chunks."""
    chunks = _braid.transcode_blocks(b"", np.zeros(1, np.int64))
    assert chunks.data.size == 0
    assert chunks.start.tolist() == [0]


def test_output_memory_is_used_again() -> None:
    """A large enough `out` is written in place, a small one is left alone."""
    data, start = join([random_parts(np.random.default_rng(6), [2, 3]).to_bytes()])
    large, small = np.zeros(1 << 20, np.uint8), np.zeros(10, np.uint8)
    first = _braid.transcode_blocks(data, start, out=large)
    assert np.shares_memory(first.data, large)
    second = _braid.transcode_blocks(data, start, out=small)
    assert np.array_equal(first.data, second.data)
    assert not small.any()


def test_the_fault_names_its_chunk() -> None:
    """The third block of four is short: the error says so."""
    blocks = [random_parts(np.random.default_rng(7), [2]).to_bytes() for _ in range(4)]
    blocks[2] = blocks[2][:-1]
    data, start = join(blocks)
    with pytest.raises(_braid.KernelError, match=r"expected \d+ bytes, found") as caught:
        _braid.transcode_blocks(data, start)
    assert caught.value.item == 2


def test_only_whole_chunks() -> None:
    """A block of another shape is refused: it takes the voxel path."""
    parts = random_parts(np.random.default_rng(8), [2], (8, 8, 4))
    with pytest.raises(_braid.KernelError, match="another shape"):
        transcode([parts])
