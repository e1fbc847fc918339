"""Whole shards of a coarse scale from the shards of the fine one."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import deflate
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braid.downsample import downsampler as module
from braid.downsample.cell_stream import iter_cells
from braid.downsample.cells import CellLimits, CellShape, Inputs
from braid.downsample.downsampler import Downsampler, Rule
from braid.exceptions import BraidError, DecompressionError, InvalidShardFormatError, SpecError
from braid.precomputed.shard_reader import ShardFile
from braid.precomputed.sharding import all_shards, cells_are_consecutive, inputs
from braid.precomputed.volume_spec import ScaleSpec, VolumeSpec
from tests.support.shards import shard_of
from tests.support.specs import made_info
from tests.support.volumes import DictInputs, crc_of, shard_bytes
from tests.support.votes_reference import Triple, Voxels, made_volume, numpy_votes

FACTORS = [f for f in itertools.product((1, 2), (1, 2), (1, 2)) if f != (1, 1, 1)]
SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.tuples(*[st.integers(1, 90)] * 3)
EDGES = st.sampled_from([8, 16, 24, 32])
CHUNKS = st.tuples(EDGES, EDGES, EDGES)
BITS = st.tuples(st.integers(0, 3), st.integers(0, 2))


def two_scales(
    size: Triple,
    factors: Triple = (2, 2, 2),
    **spec: Any,  # noqa: ANN401 - of made_info
) -> tuple[ScaleSpec, ScaleSpec]:
    """A fine scale and the coarse one made from it."""
    fine, coarse = VolumeSpec.parse(made_info(size, [factors], **spec)).scales
    return fine, coarse


def pairs(maker: Downsampler, shard: int, source: Inputs) -> list[tuple[int, bytes]]:
    """Chunks of a coarse shard as (id, payload)."""
    return [(i, bytes(p)) for batch in maker.payloads(shard, source) for i, p in batch]


def check(
    fine: ScaleSpec,
    coarse: ScaleSpec,
    voxels: Voxels,
    rule: Rule = Rule.MODE,
    **options: Any,  # noqa: ANN401 - of Downsampler
) -> None:
    """Every coarse shard must be the file that the voted voxels make."""
    shards = shard_bytes(fine, voxels)
    factors = Downsampler(fine, coarse)._shape.factor
    voted = numpy_votes(voxels, factors, nonzero=rule is Rule.NONZERO_MODE)
    expected = shard_bytes(coarse, voted)
    for shard in all_shards(coarse):
        source = DictInputs(fine, shards)
        chunks = pairs(Downsampler(fine, coarse, rule, **options), shard, source)
        made = shard_of(chunks, coarse.sharding, shard) if chunks else None
        assert made == expected.get(shard)
        assert source.opened == inputs(fine, coarse, shard)
        read = {i: crc_of(shards[i]) for i in source.opened if i in shards}
        assert source.finished_with == read


@settings(deadline=None, max_examples=60)
@given(
    size=SIZES,
    fine_chunk=CHUNKS,
    coarse_chunk=CHUNKS,
    fine_bits=BITS,
    coarse_bits=BITS,
    factors=st.sampled_from(FACTORS),
    seed=SEEDS,
    rule=st.sampled_from(Rule),
)
def test_any_two_scales(
    *,
    size: Triple,
    fine_chunk: Triple,
    coarse_chunk: Triple,
    fine_bits: tuple[int, int],
    coarse_bits: tuple[int, int],
    factors: Triple,
    seed: int,
    rule: Rule,
) -> None:
    """Shards of any cut, chunks of any size, walked or looked up: the bytes of voted voxels."""
    fine, coarse = two_scales(
        size, factors, chunks=[fine_chunk, coarse_chunk], bits=[fine_bits, coarse_bits]
    )
    check(fine, coarse, made_volume(seed, size[::-1]), rule)


@settings(deadline=None, max_examples=30)
@given(
    size=SIZES,
    fine_bits=BITS,
    coarse_bits=BITS,
    factors=st.sampled_from(FACTORS),
    seed=SEEDS,
    rule=st.sampled_from(Rule),
)
def test_voxel_path_gives_the_same_bytes(
    *,
    size: Triple,
    fine_bits: tuple[int, int],
    coarse_bits: tuple[int, int],
    factors: Triple,
    seed: int,
    rule: Rule,
) -> None:
    """Where the block kernel serves, the voxel path agrees to the byte."""
    fine, coarse = two_scales(size, factors, chunks=[(16, 16, 16)], bits=[fine_bits, coarse_bits])
    check(fine, coarse, made_volume(seed, size[::-1]), rule, by_voxels=True)


@pytest.mark.parametrize(
    "spec",
    [
        {"encoding": "raw"},
        {"encoding": "raw", "data_type": "uint32", "data_encoding": "raw"},
        {"data_type": "uint32"},
        {"block": (4, 8, 16)},
        {"chunks": [(20, 30, 40), (15, 12, 50)]},
        {"data_encoding": "raw"},
    ],
    ids=str,
)
@pytest.mark.parametrize("rule", Rule)
def test_scales_off_the_usual_path(spec: dict[str, Any], rule: Rule) -> None:
    """Raw chunks, 32-bit labels, other blocks and chunks that are no whole blocks."""
    usual: dict[str, Any] = {"chunks": [(32, 32, 32)], "bits": [(2, 1)]}
    fine, coarse = two_scales((70, 61, 55), **(usual | spec))
    dtype = np.uint32 if fine.data_type == "uint32" else np.uint64
    check(fine, coarse, made_volume(5, (55, 61, 70), dtype), rule)


def test_which_scales_the_block_kernel_serves() -> None:
    """64-bit and 32-bit labels in 8x8x8 blocks and whole blocks per chunk; nothing else."""
    size = (100, 100, 100)
    assert Downsampler(*two_scales(size)).uses_blocks
    assert Downsampler(*two_scales(size, data_type="uint32")).uses_blocks
    assert Downsampler(*two_scales(size, chunks=[(64, 64, 32), (64, 64, 64)])).uses_blocks
    assert not Downsampler(*two_scales(size, encoding="raw")).uses_blocks
    assert not Downsampler(*two_scales(size, block=(8, 8, 4))).uses_blocks
    assert not Downsampler(*two_scales(size, chunks=[(60, 64, 64)])).uses_blocks


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("cells", [1, 3])
def test_batches_and_threads_change_nothing(
    threads: int, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the size of batches nor the number of threads shows in the bytes."""
    monkeypatch.setattr(module, "BATCH_CELLS", cells)
    fine, coarse = two_scales((140, 130, 120), chunks=[(16, 16, 16)], bits=[(3, 2)])
    check(fine, coarse, made_volume(8, (120, 130, 140)), threads=threads)


def test_a_batch_holds_no_more_than_it_may() -> None:
    """Batches end before they would hold more decoded bytes than they may."""
    fine, coarse = two_scales((128, 128, 128), chunks=[(16, 16, 16)], bits=[(9, 0)])
    voxels = np.random.default_rng(0).integers(1, 99, (128, 128, 128), np.uint64)
    shards = shard_bytes(fine, voxels)
    limits = CellLimits(50_000, 256)
    batches = list(iter_cells(CellShape.of(fine, coarse), 0, DictInputs(fine, shards), limits))
    held = [int(cells.decoded[cells.chunk].sum()) for cells in batches]
    assert len(batches) > 2
    assert all(h <= 50_000 or len(b) == 1 for h, b in zip(held, batches, strict=True))


@pytest.mark.parametrize("window_bytes", [1, 2_000, 5_000, 20_000])
@pytest.mark.parametrize("data_encoding", ["gzip", "raw"])
def test_cells_go_on_in_the_next_window(window_bytes: int, data_encoding: str) -> None:
    """Reads that end within a cell, or give a chunk each, change no cell; each comes once."""
    fine, coarse = two_scales(
        (100, 90, 80), chunks=[(16, 16, 16)], bits=[(2, 3), (6, 0)], data_encoding=data_encoding
    )
    voxels = made_volume(3, (80, 90, 100))
    shape, shards = CellShape.of(fine, coarse), shard_bytes(fine, voxels)
    for shard in all_shards(coarse):
        expected = members(shape, shard, shards, 8 << 20)
        assert members(shape, shard, shards, window_bytes) == expected
        assert len(expected) == len(dict(expected))


def members(
    shape: CellShape, shard: int, shards: dict[int, bytes], window_bytes: int
) -> list[tuple[tuple[int, int], tuple[int, bytes, int]]]:
    """Cell and slot of every chunk behind a coarse shard, and the chunk."""
    source = DictInputs(shape.fine, shards)
    found = []
    for cells in iter_cells(shape, shard, source, CellLimits(3_000, 5), window_bytes):
        stored = cells.stored()
        for place, chunk in zip(cells.place.tolist(), cells.chunk.tolist(), strict=True):
            cell, slot = divmod(place, shape.slot_count)
            _, chunk_id, payload = stored[chunk]
            row = chunk_id, bytes(payload), int(cells.decoded[chunk])
            found.append(((int(cells.ids[cell]), slot), row))
    return found


@pytest.mark.parametrize("threads", [1, 2])
def test_hidden_functions_change_nothing(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where libdeflate's functions are hidden, the steps give the same bytes."""
    fine, coarse = two_scales((70, 60, 50), chunks=[(16, 16, 16)], bits=[(3, 2)])
    assert Downsampler(fine, coarse)._maker is not None
    monkeypatch.setattr("braid.downsample.cell_task.libinflate", lambda: None)
    assert Downsampler(fine, coarse)._maker is None
    check(fine, coarse, made_volume(8, (50, 60, 70)), threads=threads)


def test_real_specs_are_walked(shared: Path) -> None:
    """Cells of the real specs come one after another, wherever cells are whole."""
    for name, until in (("mcns-export-specs.json", 6), ("fish2_seg_native_z_spec.json", 5)):
        scales = VolumeSpec.parse((shared / "specs" / name).read_text(), name).scales
        for fine, coarse in itertools.pairwise(scales[: until + 1]):
            assert cells_are_consecutive(fine, coarse)
            assert Downsampler(fine, coarse).uses_blocks


def test_stats() -> None:
    """Chunks in and out, labels with 0, stored bytes."""
    fine, coarse = two_scales((64, 64, 64), chunks=[(32, 32, 32)], bits=[(9, 0)])
    voxels = np.zeros((64, 64, 64), np.uint64)
    voxels[:32, :32] = 5
    voxels[:2, :2, :2] = 9
    shards = shard_bytes(fine, voxels)
    maker = Downsampler(fine, coarse)
    source = DictInputs(fine, shards)
    chunks = pairs(maker, 0, source)
    assert len(chunks) == 1
    stats = maker.stats
    assert (stats.chunks_in, stats.chunks, stats.labels) == (2, 1, 3)
    assert 0 < stats.bytes_in < len(shards[0])


def test_scales_that_do_not_follow_are_refused() -> None:
    """A size that is not ceil(size / factor) cannot be made."""
    fine, coarse = two_scales((65, 64, 64))
    with pytest.raises(SpecError, match="cannot be made"):
        Downsampler(fine, replace(coarse, size=(32, 32, 32)))


class Damage:
    """One fine shard of 8 chunks, in which a payload may be replaced."""

    def __init__(self) -> None:
        self.fine, self.coarse = two_scales((64, 64, 64), chunks=[(32, 32, 32)], bits=[(3, 0)])
        voxels = np.random.default_rng(0).integers(1, 9, (64, 64, 64), np.uint64)
        file = DictInputs(self.fine, shard_bytes(self.fine, voxels)).open(0)
        assert file is not None
        self.chunks = dict(file.iter_chunks())

    def run(self, chunk_id: int, payload: bytes, *, by_voxels: bool = False) -> None:
        """Downsample with that payload."""
        chunks = sorted((self.chunks | {chunk_id: payload}).items())
        source = DictInputs(self.fine, {0: shard_of(chunks, self.fine.sharding, 0)})
        pairs(Downsampler(self.fine, self.coarse, by_voxels=by_voxels), 0, source)


@pytest.mark.parametrize("by_voxels", [False, True])
def test_a_broken_chunk_is_named(by_voxels: bool) -> None:
    """File and grid coordinate, whichever path meets it."""
    payload = bytes(deflate.gzip_compress(b"\1\0\0\0" * 30, 6))
    with pytest.raises(DecompressionError, match=r"0\.shard: chunk \(1, 0, 1\): .*headers"):
        Damage().run(5, payload, by_voxels=by_voxels)


@pytest.mark.parametrize(
    "payload",
    [b"no gzip at all", bytes(deflate.gzip_compress(b"x" * 100, 6))[:-9]],
    ids=["text", "cut"],
)
def test_what_is_no_gzip_is_refused(payload: bytes) -> None:
    """With the chunk's id and the file's name."""
    with pytest.raises(InvalidShardFormatError, match=r"0\.shard: chunk 3"):
        Damage().run(3, payload)


def test_a_gzip_bomb_is_not_unpacked() -> None:
    """A payload that claims more than a chunk can have is refused before any memory is taken."""
    bomb = bytes(deflate.gzip_compress(bytes(50 << 20), 9))
    with pytest.raises(InvalidShardFormatError, match="claims"):
        Damage().run(2, bomb)


def test_a_chunk_outside_the_grid_is_refused() -> None:
    """An id within the shard's bits, but past the volume's edge."""
    fine, coarse = two_scales((70, 20, 20), chunks=[(32, 32, 32)], bits=[(2, 0)])
    voxels = np.ones((20, 20, 70), np.uint64)
    file = DictInputs(fine, shard_bytes(fine, voxels)).open(0)
    assert file is not None
    chunks = dict(file.iter_chunks())
    assert sorted(chunks) == [0, 1, 2]
    source = DictInputs(fine, {0: shard_of([(0, chunks[0]), (3, chunks[2])], fine.sharding, 0)})
    with pytest.raises(InvalidShardFormatError, match=r"chunk \(3, 0, 0\) lies outside"):
        pairs(Downsampler(fine, coarse), 0, source)


def test_an_error_of_the_inputs_stops_everything() -> None:
    """What `finished` raises (a checksum that differs) comes through, after no matter how much."""

    class Changed(DictInputs):
        def finished(self, shard: int, file: ShardFile) -> None:
            super().finished(shard, file)
            raise InvalidShardFormatError("changed")

    fine, coarse = two_scales((64, 64, 64), chunks=[(16, 16, 16)], bits=[(1, 1)])
    shards = shard_bytes(fine, np.ones((64, 64, 64), np.uint64))
    with pytest.raises(BraidError, match="changed"):
        pairs(Downsampler(fine, coarse, threads=2), 0, Changed(fine, shards))
