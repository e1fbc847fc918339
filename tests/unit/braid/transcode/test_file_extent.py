"""Which voxels a file's name stands for, and that no row is passed over in silence."""

import contextlib
import random
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braid.exceptions import InvalidShardFormatError
from braid.precomputed import morton, sharding
from braid.precomputed.volume_spec import ScaleSpec, VolumeSpec
from braid.transcode.block_assignment import assign_blocks, block_extent
from braid.transcode.file_extent import (
    check_rows,
    extent_edges,
    extent_of,
    source_scale,
    wrapped,
)
from braid.typing import Vec3
from producer.export_listing import ScaleListing
from producer.export_writer import file_edge
from producer.planner import files_by_shard
from tests.support.dvid_exports import Naming, cube_edge, writers
from tests.support.export_listings import export_file
from tests.support.specs import made_scale


def test_real_scales_have_cubic_cells(shared: Path) -> None:
    """2048 voxels by both rules, as the real file's name 30720_24576_28672 agrees."""
    spec = VolumeSpec.parse((shared / "specs/mcns-export-specs.json").read_bytes())
    assert extent_edges(spec.scales[1]) == (2048,)
    begin, end = extent_of((30720, 24576, 28672), spec.scales[1])
    assert (begin, end) == ((30720, 24576, 28672), (32768, 26624, 30720))


def test_boxes_that_are_no_cubes_have_two_edges() -> None:
    """16 low bits: 64 x 32 x 32 chunks; newer DVID names by 4096, older by 2048."""
    scale = made_scale((1 << 17, 1 << 17, 1 << 17), bits=(10, 6, 17))
    assert extent_edges(scale) == (4096, 2048)
    assert extent_edges(scale)[0] == file_edge(scale) * 64


def test_a_name_tells_its_cell_where_it_can() -> None:
    """Not a multiple of the larger edge: the smaller one; a multiple of neither: the larger."""
    assert extent_of((2048, 0, 0), SLABS)[1] == (4096, 2048, 2048)
    assert extent_of((4096, 0, 0), SLABS)[1] == (8192, 4096, 4096)
    assert extent_of((64, 0, 0), SLABS)[1] == (4160, 4096, 4096)


def test_decimated_slices_make_the_source_deeper() -> None:
    """The source of a volume with every second slice has one more bit in z."""
    scale = made_scale((256, 256, 2048), bits=(2, 4, 6))
    assert extent_edges(scale) == (64 << 2,)
    flat = made_scale((64, 64, 2048), bits=(3, 3, 0))
    assert extent_edges(flat, 1) == (64 << 6, 256)


@given(
    size=st.tuples(*[st.integers(1, 20_000)] * 3),
    bits=st.tuples(st.integers(0, 9), st.integers(0, 6)),
    chunk=st.tuples(*[st.floats(0, 1, exclude_max=True)] * 3),
)
def test_every_chunk_lies_in_the_cell_that_names_its_file(
    size: tuple[int, int, int], bits: tuple[int, int], chunk: tuple[float, float, float]
) -> None:
    """Whichever DVID wrote the export, the extent read from the name holds the chunk."""
    scale = made_scale(size, bits=(*bits, 64 - sum(bits)))
    at = [int(share * n) for share, n in zip(chunk, scale.grid, strict=True)]
    for edge in extent_edges(scale):
        x, y, z = (c * 64 // edge * edge for c in at)
        begin, end = extent_of((x, y, z), scale)
        inside = zip(begin, (c * 64 for c in at), end, strict=True)
        assert all(b <= v < e for b, v, e in inside)


def coordinates(*rows: Vec3) -> np.ndarray:
    """As an index has them."""
    return np.array(rows, np.int32).reshape(-1, 3)


def covered(scale: ScaleSpec, begin: np.ndarray, end: np.ndarray, ids: np.ndarray) -> int:
    """Voxels of a box in these chunks."""
    chunks = morton.decode(ids, scale.grid)
    low = np.maximum(chunks * scale.chunk_size, begin)
    high = np.minimum((chunks + 1) * scale.chunk_size, end)
    return int((high - low).prod(axis=1).sum())


CUBES = made_scale((640, 640, 640), bits=(3, 3, 12))  # extents of 256 voxels, 4 blocks
SLABS = made_scale((1 << 13, 1 << 13, 1 << 13), bits=(10, 6, 17))  # 4096 voxels, before: 2048


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("256_0_0.arrow", (4, 0, 0)),
        ("s0/256_0_0.arrow", (7, 3, 3)),
        ("0_0_0.arrow", (10, 0, 0)),  # outside the volume
        ("0_0_0.arrow", (-1, 0, 0)),  # likewise
        ("512_512_512.arrow", (9, 9, 9)),  # an extent that reaches beyond the volume
        ("everything.arrow", (9, 0, 0)),  # a name without an origin
        ("192_0_0.arrow", (0, 3, 3)),  # of no extent, so in every shard that it meets
        ("192_0_0.arrow", (7, 3, 3)),  # likewise
    ],
)
def test_rows_that_a_file_may_hold(name: str, row: Vec3) -> None:
    """Those of its extent, and those outside the volume."""
    check_rows(coordinates((4, 0, 0) if "256" in name else row, row), name, CUBES)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("256_0_0.arrow", (3, 0, 0)),
        ("256_0_0.arrow", (8, 0, 0)),
        ("256_0_0.arrow", (5, 0, 4)),
        ("512_512_512.arrow", (9, 9, 7)),
        ("-256_0_0.arrow", (0, 0, 0)),
        ("99968_0_0.arrow", (0, 0, 0)),
        ("192_0_0.arrow", (8, 0, 0)),
        ("192_0_0.arrow", (3, 4, 0)),
    ],
)
def test_rows_outside_the_extent_are_refused(name: str, row: Vec3) -> None:
    """Refused with file, row, chunk, extent and what to do."""
    begin = [int(part) for part in name.removesuffix(".arrow").split("_")]
    inside = (begin[0] // 64, begin[1] // 64, begin[2] // 64)
    path = f"/export/s0/{name}"
    with pytest.raises(InvalidShardFormatError) as error:
        check_rows(coordinates(inside, row), path, CUBES)
    text = str(error.value)
    assert text.startswith(f"{path}: row 1, chunk {row}: it lies outside the extent")
    assert f"voxels {tuple(begin)} to {tuple(b + 256 for b in begin)}" in text
    assert "re-export into an empty folder" in text


def test_a_file_of_either_dvid_may_hold_its_cell() -> None:
    """A name that only the older, smaller edge allows has an extent of that edge."""
    check_rows(coordinates((63, 63, 63)), "0_0_0.arrow", SLABS)
    check_rows(coordinates((63, 31, 31)), "2048_0_0.arrow", SLABS)
    with pytest.raises(InvalidShardFormatError, match=re.escape("to (4096, 2048, 2048)")):
        check_rows(coordinates((63, 32, 31)), "2048_0_0.arrow", SLABS)


def test_decimated_rows_are_held_to_the_cells_of_the_source() -> None:
    """Two source slices for one of the output: z of the name and of the rows are the source's."""
    scale = made_scale((640, 640, 320), (64, 64, 32), bits=(3, 3, 12))
    check_rows(coordinates((0, 0, 4), (3, 3, 7)), "0_0_256.arrow", scale, z_compress=1)
    with pytest.raises(InvalidShardFormatError, match=r"row 0, chunk \(0, 0, 8\)"):
        check_rows(coordinates((0, 0, 8)), "0_0_256.arrow", scale, z_compress=1)


@st.composite
def scales(draw: st.DrawFn, z_compress: int) -> ScaleSpec:
    """An output scale; where slices are left out chunks may be as shallow as blocks get."""
    size = draw(st.tuples(*[st.integers(1, 3000)] * 3))
    chunk = draw(st.sampled_from([(64, 64, 64 // (z_compress + 1)), (32, 32, 32), (100, 64, 128)]))
    bits = draw(st.tuples(st.integers(0, 6), st.integers(0, 3)))
    return made_scale(size, chunk, bits=(*bits, 64 - sum(bits)))


@given(
    data=st.data(),
    z_compress=st.sampled_from([0, 1, 3]),
    step=st.sampled_from([1, 64, 128, 256, 512]),
    rows=st.lists(st.tuples(*[st.integers(-1, 50)] * 3), min_size=1, max_size=40, unique=True),
)
def test_no_row_is_passed_over_in_silence(
    data: st.DataObject, z_compress: int, step: int, rows: list[Vec3]
) -> None:
    """A row outside the volume is skipped; any other is read by its shards, or its file refused."""
    scale = data.draw(scales(z_compress))
    origin = tuple(step * n for n in data.draw(st.tuples(*[st.integers(-2, 60)] * 3)))
    path = f"s0/{'_'.join(map(str, origin))}.arrow"
    listed = files_by_shard(scale, ScaleListing(0, (export_file(path, origin, 1),)), z_compress)
    for row in rows:
        at = coordinates(row)
        begin = at[0] * block_extent(z_compress + 1)
        if (begin < 0).any() or (begin >= scale.size).any():
            check_rows(at, path, scale, z_compress)
            continue
        end = np.minimum(begin + block_extent(z_compress + 1), scale.size)
        taken = [assign_blocks(at, scale, shard, z_compress + 1).ids for shard in listed]
        found = sum(covered(scale, begin, end, ids) for ids in taken)
        with contextlib.suppress(InvalidShardFormatError):
            check_rows(at, path, scale, z_compress)
            assert found == (end - begin).prod()


@pytest.mark.parametrize("naming", ["since-2026-03-21", "before"])
@settings(max_examples=40, deadline=None)
@given(data=st.data(), z_compress=st.sampled_from([0, 1, 3]), seed=st.integers(0, 99))
def test_every_row_that_dvid_writes_is_taken(
    naming: Naming, data: st.DataObject, z_compress: int, seed: int
) -> None:
    """Whatever block came first and named the file: all its shards list it, no row is a stray."""
    size = data.draw(st.tuples(*[st.integers(1, 900)] * 3))
    bits = data.draw(st.tuples(st.integers(0, 5), st.integers(0, 4)))
    depth = data.draw(st.sampled_from([64, 64 // (z_compress + 1)]))
    scale = made_scale(size, (64, 64, depth), bits=(*bits, 64 - sum(bits)))
    source = source_scale(scale, z_compress)
    for writer in writers(source, naming, random.Random(seed)):
        path = f"s0/{writer.name}.arrow"
        check_rows(coordinates(*writer.blocks), path, scale, z_compress)
        named = ScaleListing(0, (export_file(path, writer.origin),))
        listed = files_by_shard(scale, named, z_compress)
        for block in writer.blocks[:: 1 + len(writer.blocks) // 20]:
            begin = np.multiply(block, block_extent(z_compress + 1))
            end = begin + block_extent(z_compress + 1)
            if (begin < scale.size).all():
                x, y, z = begin.tolist()
                assert set(sharding.shards_meeting(scale, (x, y, z), tuple(end))) <= set(listed)


@pytest.mark.parametrize("naming", ["since-2026-03-21", "before"])
@given(size=st.tuples(*[st.integers(1, 20_000)] * 3), bits=st.tuples(*[st.integers(0, 9)] * 2))
def test_edges_are_those_of_dvid(naming: Naming, size: Vec3, bits: tuple[int, int]) -> None:
    """By its own rule, written twice."""
    scale = made_scale(size, bits=(*bits, 64 - sum(bits)))
    assert cube_edge(scale, naming) in extent_edges(scale)


FULL = made_scale((512, 256, 300), bits=(3, 3, 3))  # a grid of 8 x 4 x 5, of 3, 2 and 3 bits


@pytest.mark.parametrize(
    ("origin", "stands_for"),
    [
        ((512, 0, 0), (0, 0, 0)),  # size / 64, which DVID scans
        ((512, 0, 256), (0, 0, 256)),
        ((0, 256, 0), (0, 0, 0)),
        ((512, 256, 512), (0, 0, 0)),
        ((256, 0, 0), (256, 0, 0)),
        ((768, 0, 0), (768, 0, 0)),  # further out than any block that DVID scans
        ((512, 64, 0), (512, 64, 0)),  # of no extent
    ],
)
def test_a_name_beyond_all_ids_stands_for_0(origin: Vec3, stands_for: Vec3) -> None:
    """On each axis: ids are masked to their bits, so the block belongs to a shard at 0."""
    assert wrapped(origin, FULL) == stands_for


def test_a_file_of_the_block_beyond_is_read_by_the_shards_at_0() -> None:
    """Beside a file of the usual name too; rows further on are still refused."""
    listing = ScaleListing(
        0, tuple(export_file(f"s0/{x}_0_0.arrow", (x, 0, 0)) for x in (0, 256, 512))
    )
    assert {
        shard: [file.path for file in files]
        for shard, files in files_by_shard(FULL, listing).items()
    } == {0: ["s0/0_0_0.arrow", "s0/512_0_0.arrow"], 1: ["s0/256_0_0.arrow"]}
    check_rows(coordinates((8, 0, 0), (0, 0, 0), (3, 3, 3)), "512_0_0.arrow", FULL)
    with pytest.raises(InvalidShardFormatError, match=r"row 1, chunk \(4, 0, 0\)"):
        check_rows(coordinates((8, 0, 0), (4, 0, 0)), "512_0_0.arrow", FULL)


def test_an_old_name_of_a_part_of_a_shard_stands_for_all_of_it() -> None:
    """Named after a cell of 256 voxels, which holds the first block; the shard is 512 wide."""
    scale = made_scale((1024, 256, 128), bits=(3, 3, 1))
    assert extent_edges(scale) == (512, 256)
    listing = ScaleListing(0, (export_file("s0/256_0_0.arrow", (256, 0, 0)),))
    assert list(files_by_shard(scale, listing)) == [0]
    check_rows(coordinates((0, 0, 0), (7, 3, 1), (16, 0, 0)), "256_0_0.arrow", scale)
    with pytest.raises(InvalidShardFormatError, match=r"row 0, chunk \(8, 0, 0\)"):
        check_rows(coordinates((8, 0, 0)), "256_0_0.arrow", scale)
