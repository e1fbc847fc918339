"""Rows to chunks: both paths, order, threads, batches, and what is refused."""

import gzip
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import _braid
from braid.exceptions import DecompressionError, SpecError
from braid.precomputed import morton
from braid.precomputed.sharding import all_shards, shard_numbers
from braid.precomputed.volume_spec import ScaleSpec
from braid.transcode import palette_path, transcoder
from braid.transcode.block_assignment import assign_blocks, check_z_step
from braid.transcode.transcoder import Transcoder
from braid.typing import Vec3
from producer.export_writer import Row, make_row
from tests.support.row_windows import blocks, scale_of, stored, window_of
from tests.support.source_box import source_box
from tests.support.voxel_exports import blobs


@pytest.fixture(scope="module")
def made() -> list[Row]:
    """Eighteen blocks, some of them clipped."""
    return blocks((150, 190, 128), 1)


SCALE = scale_of((150, 190, 128))


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), labels=st.integers(1, 700), grain=st.integers(1, 40), mapped=...)
def test_palettes_and_voxels_agree(seed: int, labels: int, grain: int, mapped: bool) -> None:
    """Wherever both paths apply, they give the same bytes."""
    scale = scale_of((128, 64, 64))
    window = window_of(blocks((128, 64, 64), seed, labels, grain), scale)
    fast = Transcoder(scale, mapped=mapped)
    slow = Transcoder(scale, mapped=mapped, by_voxels=True)
    assert fast.uses_palettes
    assert not slow.uses_palettes
    assert stored(fast, window) == stored(slow, window)


def test_clipped_chunks_are_encoded_as_clipped(made: list[Row]) -> None:
    """A chunk at the edge has the shape that is left of it; inside, palettes equal voxels."""
    field = blobs((150, 190, 128), 1)
    chunks = dict(stored(Transcoder(SCALE), window_of(made, SCALE)))
    for chunk_id, payload in chunks.items():
        x, y, z = morton.decode([chunk_id], SCALE.grid)[0].tolist()
        begin, end = SCALE.chunk_box((x, y, z))
        truth = field.labels_of(field.supervoxels(begin, end))
        assert gzip.decompress(payload) == _braid.cseg_encode(truth, (8, 8, 8))


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_nothing(
    made: list[Row], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Order, bytes and counts are those of one thread, also with many batches."""
    monkeypatch.setattr(transcoder, "BATCH_CHUNKS", 2)
    window = window_of(made, SCALE)
    one, many = Transcoder(SCALE), Transcoder(SCALE, threads=threads)
    assert stored(one, window) == stored(many, window)
    assert (one.stats.chunks, one.stats.labels) == (many.stats.chunks, many.stats.labels)


def test_ids_ascend_within_a_window(made: list[Row]) -> None:
    """Clipped and whole chunks come mixed, in id order."""
    ids = [chunk_id for chunk_id, _ in stored(Transcoder(SCALE), window_of(made, SCALE))]
    assert ids == sorted(ids)
    assert len(ids) > 10


def test_batches_are_bounded_by_bytes_and_count(made: list[Row]) -> None:
    """No batch passes either limit, but one block larger than the limit is a batch."""
    window = window_of(made, SCALE)
    sizes = window.rows.uncompressed_size[window.parts].astype(int)
    limit = int(sizes.max()) * 2
    spans = list(window.cut(512, limit))
    assert [a for a, _ in spans] == [0, *(b for _, b in spans[:-1])]
    assert spans[-1][1] == len(window.ids)
    assert all(sizes[a:b].sum() <= limit for a, b in spans)
    assert [b - a for a, b in window.cut(512, 10)] == [1] * len(window.ids)
    assert max(b - a for a, b in window.cut(5, 1 << 40)) == 5


def test_batches_are_of_one_size(made: list[Row]) -> None:
    """A small one at the end would cost as much as a large one."""
    window = window_of([*made, *blocks((150, 190, 256), 2)[18:]], scale_of((150, 190, 256)))
    sizes = window.rows.uncompressed_size[window.parts].astype(int)
    held = [sizes[a:b].sum() for a, b in window.cut(512, int(sizes.sum() * 0.4))]
    assert len(held) == 3
    assert max(held) - min(held) <= 2 * sizes.max()


def test_threads_share_chunks_from_voxels(made: list[Row]) -> None:
    """Slices of neighbours, that one thread encodes: no more voxels at once than a few chunks'."""
    huge = scale_of((900, 900, 900), chunks=((512, 512, 512),))
    small = scale_of((90, 90, 90), chunks=((8, 8, 8),))
    assert [Transcoder(scale)._slice_chunks for scale in (SCALE, huge, small)] == [4, 1, 2048]
    window = window_of(made, small)
    one, many = Transcoder(small), Transcoder(small, threads=3)
    assert stored(one, window) == stored(many, window)


@pytest.mark.parametrize("threads", [1, 3])
def test_without_c_functions_the_bytes_are_the_same(
    made: list[Row], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another build of the packages may hide them."""
    window = window_of(made, SCALE)
    expected, counted = stored(Transcoder(SCALE), window), Transcoder(SCALE, threads=threads)
    monkeypatch.setattr(palette_path, "libdeflate", lambda: None)
    assert not palette_path.has_fused_kernel()
    assert stored(counted, window) == expected
    assert counted.stats.chunks == len(expected)
    assert min(counted.stats.decompress_s, counted.stats.transcode_s, counted.stats.gzip_s) > 0


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_first_damage_is_named(made: list[Row], threads: int) -> None:
    """Of several damaged rows the same one, by either path, however many threads there are."""
    rows = [replace(row, frame=b"torn") if i % 4 == 3 else row for i, row in enumerate(made)]
    window = window_of(rows, SCALE)
    for by_voxels in (False, True):
        texts = set()
        for _ in range(3):
            with pytest.raises(DecompressionError) as error:
                stored(Transcoder(SCALE, threads=threads, by_voxels=by_voxels), window)
            texts.add(str(error.value))
        assert len(texts) == 1
        assert "damaged zstd frame" in texts.pop()


def test_zeros_are_not_stored() -> None:
    """Neither background nor labels that were mapped to 0, by either path."""
    scale = scale_of((128, 64, 64))
    zero = make_row((0, 0, 0), np.zeros((64, 64, 64), np.uint64), lambda s: s)
    gone = make_row((1, 0, 0), np.full((64, 64, 64), 7, np.uint64), np.zeros_like)
    window = window_of([zero, gone], scale)
    assert stored(Transcoder(scale), window) == []
    assert stored(Transcoder(scale, by_voxels=True), window) == []
    (kept,) = stored(Transcoder(scale, mapped=False), window)
    assert kept[0] == 1


def test_raw_data_encoding(made: list[Row]) -> None:
    """Without gzip the payload is the chunk."""
    raw = scale_of((150, 190, 128), data_encoding="raw")
    window = window_of(made, SCALE)
    zipped = [(i, gzip.decompress(p)) for i, p in stored(Transcoder(SCALE), window)]
    assert stored(Transcoder(raw), window) == zipped


def test_gzip_says_nothing_of_time(made: list[Row]) -> None:
    """The member's time is 0, so that repeats are equal; a higher level is no larger."""
    window = window_of(made, SCALE)
    low, high = (dict(stored(Transcoder(SCALE, gzip_level=g), window)) for g in (1, 9))
    assert all(p[:2] == b"\x1f\x8b" and p[4:8] == bytes(4) for p in low.values())
    assert sum(map(len, high.values())) < sum(map(len, low.values()))


def test_a_damaged_frame_is_named(made: list[Row]) -> None:
    """One flipped bit anywhere in a frame: file, row and chunk are in the error."""
    frame = bytearray(made[4].frame)
    frame[len(frame) // 2] ^= 8
    rows = [*made[:4], replace(made[4], frame=bytes(frame)), *made[5:]]
    for coder in (Transcoder(SCALE), Transcoder(SCALE, by_voxels=True)):
        with pytest.raises(DecompressionError, match=r"made\.arrow: row 4, chunk \(1, 1, 0\): "):
            stored(coder, window_of(rows, SCALE))


@pytest.mark.parametrize("size", [0, 23, 3_441_681, 2**32 - 1])
def test_impossible_sizes_allocate_nothing(made: list[Row], size: int) -> None:
    """A size that a block cannot have is refused before memory is allocated."""
    rows = [*made[:4], replace(made[4], uncompressed_size=size), *made[5:]]
    with pytest.raises(DecompressionError, match=rf"row 4, .*uncompressed_size says {size}$"):
        stored(Transcoder(SCALE), window_of(rows, SCALE))


@pytest.mark.parametrize("off", [-1, 1])
def test_a_wrong_size_is_named(made: list[Row], off: int) -> None:
    """The size before zstd must be the one in the file."""
    lie = made[4].uncompressed_size + off
    rows = [*made[:4], replace(made[4], uncompressed_size=lie), *made[5:]]
    with pytest.raises(DecompressionError, match=r"row 4, chunk \(1, 1, 0\): "):
        stored(Transcoder(SCALE), window_of(rows, SCALE))


def test_a_block_that_is_none_is_named(made: list[Row]) -> None:
    """Good zstd around bad counts: the kernel's complaint gets its place."""
    from producer.export_writer import compress  # noqa: PLC0415 - only here

    frame = compress(bytes(40))
    rows = [*made[:4], replace(made[4], frame=frame, uncompressed_size=40), *made[5:]]
    for coder in (Transcoder(SCALE), Transcoder(SCALE, by_voxels=True)):
        with pytest.raises(DecompressionError, match=r"made\.arrow: row 4, chunk \(1, 1, 0\): "):
            stored(coder, window_of(rows, SCALE))


def test_labels_are_counted(made: list[Row]) -> None:
    """Distinct labels of each stored chunk, summed; both paths agree on whole chunks."""
    scale = scale_of((128, 128, 128))
    whole = [row for row in made if row.coords[0] < 2 and row.coords[1] < 2]
    window = window_of(whole, scale)
    fast, slow = Transcoder(scale), Transcoder(scale, by_voxels=True)
    count = len(stored(fast, window))
    stored(slow, window)
    assert fast.stats.labels == slow.stats.labels > count == fast.stats.chunks


# -- which blocks a chunk is made of


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(*[st.integers(1, 400)] * 3),
    chunk=st.tuples(*[st.sampled_from([16, 32, 48, 64, 100, 128])] * 3),
    bits=st.sampled_from([(0, 0), (1, 1), (2, 2)]),
    z_step=st.sampled_from([1, 2, 4, 64]),
)
def test_assignment_equals_an_overlap_of_every_pair(
    size: Vec3, chunk: Vec3, bits: tuple[int, int], z_step: int
) -> None:
    """A pair for every block and chunk that share a kept voxel; what is left over is counted."""
    scale = scale_of(size, chunks=(chunk,), bits=(bits,))
    extent = (64, 64, 64 // z_step)
    grid = [-(-s // e) + 1 for s, e in zip(size, extent, strict=True)]
    corners = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(-1, 3)
    coords = corners.astype(np.int32)
    inside = (coords * extent < size).all(axis=1)
    for shard in list(all_shards(scale))[:3]:
        found = assign_blocks(coords, scale, shard, z_step)
        expected = brute_force(coords, scale, shard, extent)
        got = list(zip(found.ids.tolist(), found.blocks.tolist(), strict=True))
        assert found.ids.tolist() == sorted(found.ids.tolist())
        assert sorted(got) == expected
        assert found.outside == int((~inside).sum())
        assert found.elsewhere == int(inside.sum()) - len({block for _, block in expected})
        begin, end = source_box(scale, shard, z_step - 1)
        needed = coords[found.blocks]
        assert tuple(needed.min(axis=0)) == begin
        assert tuple(needed.max(axis=0) + 1) == end


def brute_force(
    coords: npt.NDArray[np.int32],
    scale: ScaleSpec,
    shard: int,
    extent: Vec3,
) -> list[tuple[int, int]]:
    """Pairs of (chunk id, block), by comparing every chunk's box with every block's."""
    chunks = np.stack(np.meshgrid(*map(np.arange, scale.grid), indexing="ij"), -1).reshape(-1, 3)
    ids = morton.encode(chunks, scale.grid)
    mine = shard_numbers(ids, scale.sharding) == shard
    pairs = []
    for chunk_id, chunk in zip(ids[mine].tolist(), chunks[mine], strict=True):
        begin, end = scale.chunk_box(tuple(chunk.tolist()))
        low = coords * extent
        meets = ((low < end) & (low + extent > begin)).all(axis=1)
        pairs += [(chunk_id, block) for block in np.flatnonzero(meets).tolist()]
    return sorted(pairs)


def test_negative_blocks_lie_outside() -> None:
    """DVID has none, but a damaged index may."""
    coords = np.array([[-1, 0, 0], [0, 0, 0]], np.int32)
    found = assign_blocks(coords, SCALE, 0)
    assert (found.outside, found.blocks.tolist()) == (1, [1])


@pytest.mark.parametrize("step", [0, 3, 65, 128])
def test_steps_that_do_not_divide_a_block(step: int) -> None:
    """Slices kept must fall on the same places in every block."""
    with pytest.raises(SpecError, match="does not divide 64"):
        check_z_step(step)
