"""Shards are boxes, names are the format's, and relations between scales lose no voxel."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts
from hypothesis import assume, example, given
from hypothesis import strategies as st

from braid.exceptions import InvalidCoordinateError, SpecError
from braid.precomputed import morton, sharding
from braid.precomputed.volume_spec import ScaleSpec, ShardingSpec, VolumeSpec
from braid.typing import Vec3
from tests.support.specs import made_scale

SIZES = st.tuples(*[st.integers(1, 9)] * 3)
EDGES = st.tuples(*[st.sampled_from([1, 2, 4])] * 3)
FACTORS = st.tuples(*[st.sampled_from([1, 2])] * 3)
BITS = st.tuples(st.integers(0, 3), st.integers(0, 3), st.just(20))


def all_chunks(scale: ScaleSpec) -> list[Vec3]:
    """Every chunk of a small grid."""
    nx, ny, nz = map(range, scale.grid)
    return list(itertools.product(nx, ny, nz))


def shard_of(scale: ScaleSpec, chunk: Vec3) -> int:
    """The shard of one chunk, by its id."""
    return int(sharding.shard_numbers(morton.encode([chunk], scale.grid), scale.sharding)[0])


def all_voxels(size: Vec3) -> np.ndarray:
    """Every voxel of a small volume, (n, 3)."""
    return np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1).reshape(-1, 3)


def shards_of(scale: ScaleSpec, voxels: np.ndarray) -> np.ndarray:
    """The shard of each voxel, by the id of its chunk."""
    ids = morton.encode(voxels // np.asarray(scale.chunk_size), scale.grid)
    return sharding.shard_numbers(ids, scale.sharding)


def coarser(fine: ScaleSpec, factors: Vec3, chunk: Vec3, bits: Vec3) -> ScaleSpec:
    """The scale that downsampling by these factors gives."""
    x, y, z = (-(-n // f) for n, f in zip(fine.size, factors, strict=True))
    rx, ry, rz = (r * f for r, f in zip(fine.resolution, factors, strict=True))
    return made_scale((x, y, z), chunk, bits, index=1, resolution=(rx, ry, rz))


@given(SIZES, EDGES, BITS)
def test_a_shard_is_its_box(size: Vec3, chunk: Vec3, bits: Vec3) -> None:
    """The chunks in a shard's box are exactly those whose id names that shard."""
    scale = made_scale(size, chunk, bits)
    members: dict[int, set[Vec3]] = {}
    for point in all_chunks(scale):
        members.setdefault(shard_of(scale, point), set()).add(point)
    assert list(sharding.all_shards(scale)) == sorted(members)
    for shard, points in members.items():
        begin, end = sharding.shard_box(scale, shard)
        assert points == set(itertools.product(*map(range, begin, end)))
        low, high = sharding.shard_id_range(shard, scale.sharding)
        ids = morton.encode(sorted(points), scale.grid)
        assert low <= ids.min() <= ids.max() < high


BOXES = st.tuples(st.tuples(*[st.integers(-3, 12)] * 3), st.tuples(*[st.integers(0, 9)] * 3))


@given(SIZES, EDGES, BITS, BOXES)
def test_shards_meeting_a_box(size: Vec3, chunk: Vec3, bits: Vec3, box: tuple[Vec3, Vec3]) -> None:
    """A box meets exactly the shards that hold one of its voxels, in ascending order."""
    scale = made_scale(size, chunk, bits)
    begin, end = np.asarray(box[0]), np.asarray(box[0]) + box[1]
    voxels = all_voxels(size)
    inside = voxels[((voxels >= begin) & (voxels < end)).all(axis=1)]
    expected = np.unique(shards_of(scale, inside)).tolist()
    assert sharding.shards_meeting(scale, tuple(begin), tuple(end)) == expected


@given(SIZES, st.tuples(EDGES, EDGES), st.tuples(BITS, BITS), FACTORS)
def test_inputs_and_dependents(
    size: Vec3, chunks: tuple[Vec3, Vec3], bits: tuple[Vec3, Vec3], by: Vec3
) -> None:
    """A coarse shard's inputs are the shards that hold a voxel of its windows; and back again."""
    assume(by != (1, 1, 1))
    fine = made_scale(size, chunks[0], bits[0])
    coarse = coarser(fine, by, chunks[1], bits[1])
    voxels = all_voxels(size)
    pairs = set(
        zip(
            shards_of(fine, voxels).tolist(),
            shards_of(coarse, voxels // np.asarray(by)).tolist(),
            strict=True,
        )
    )
    for shard in sharding.all_shards(coarse):
        assert sharding.inputs(fine, coarse, shard) == sorted(a for a, b in pairs if b == shard)
    for shard in sharding.all_shards(fine):
        assert sharding.dependents(fine, coarse, shard) == sorted(b for a, b in pairs if a == shard)


@given(st.tuples(*[st.integers(1, 40)] * 3), EDGES, EDGES, FACTORS)
@example(size=(1, 3, 2), chunk=(1, 1, 1), coarse_chunk=(1, 1, 2), by=(1, 2, 2))
def test_consecutive_cells(size: Vec3, chunk: Vec3, coarse_chunk: Vec3, by: Vec3) -> None:
    """True exactly where id >> k is the coarse id of every chunk."""
    assume(by != (1, 1, 1))
    bits = (9, 6, 45)
    fine = made_scale(size, chunk, bits)
    coarse = coarser(fine, by, coarse_chunk, bits)
    assume(np.prod(fine.grid) <= 4096)
    chunks = np.asarray(all_chunks(fine))
    ids = morton.encode(chunks, fine.grid)
    k = sum(n > 1 for n in fine.grid)
    begin = chunks * np.asarray(chunk) // np.asarray(by)
    last = np.minimum((chunks + 1) * np.asarray(chunk), fine.size) - 1
    end = last // np.asarray(by)
    whole = (begin // np.asarray(coarse_chunk) == end // np.asarray(coarse_chunk)).all()
    cells = begin // np.asarray(coarse_chunk)
    truth = whole and bool((morton.encode(cells, coarse.grid) == ids >> np.uint64(k)).all())
    if sharding.cells_are_consecutive(fine, coarse):
        assert truth
    elif truth:
        # An axis that has two chunks may have room for more in a coarse one: that is looked up.
        room = np.asarray(coarse_chunk) * np.asarray(by) // np.asarray(chunk)
        assert ((np.asarray(fine.grid) == 2) & (room > 2)).any()


def test_real_specs_relations(shared: Path) -> None:
    """On the published specs a full shard has 8 inputs, 4 at edges, then 2, then 1."""
    volume = VolumeSpec.parse((shared / "specs/mcns-export-specs.json").read_bytes())
    pairs = list(itertools.pairwise(volume.scales))
    most = [
        max(len(sharding.inputs(a, b, s)) for s in itertools.islice(sharding.all_shards(b), 50))
        for a, b in pairs
    ]
    assert most == [8, 8, 8, 8, 8, 8, 2, 1, 1]
    assert all(sharding.cells_are_consecutive(a, b) for a, b in pairs)
    native = VolumeSpec.parse((shared / "specs/fish2_seg_native_z_spec.json").read_bytes())
    assert sharding.factors(*native.scales[:2]) == (2, 2, 1)
    assert all(sharding.cells_are_consecutive(a, b) for a, b in itertools.pairwise(native.scales))


def test_real_shard_is_where_its_name_says(shared: Path) -> None:
    """The published shard 30720_24576_28672 of scale 1 is file 16x16x16/0fe9.shard."""
    scale = VolumeSpec.parse((shared / "specs/mcns-export-specs.json").read_bytes()).scales[1]
    origin = (30720, 24576, 28672)
    corner = (30720 + 2048, 24576 + 2048, 28672 + 2048)
    assert sharding.shards_meeting(scale, origin, corner) == [0x0FE9]
    assert sharding.shard_path(scale, 0x0FE9) == "16x16x16/0fe9.shard"
    assert sharding.shard_box(scale, 0x0FE9) == ((480, 384, 448), (512, 416, 480))


@pytest.mark.parametrize(
    ("shard_bits", "shard", "name"),
    [(0, 0, "0"), (1, 1, "1"), (4, 15, "f"), (5, 15, "0f"), (16, 0xFE9, "0fe9"), (19, 1, "00001")],
)
def test_names_are_tensorstores(tmp_path: Path, shard_bits: int, shard: int, name: str) -> None:
    """TensorStore writes a chunk of this shard to a file of the same name."""
    spec = ShardingSpec(1, 1, shard_bits)
    assert sharding.shard_hex(shard, spec) == name
    first, _ = sharding.shard_id_range(shard, spec)
    store = ts.KvStore.open(
        {
            "driver": "neuroglancer_uint64_sharded",
            "base": {"driver": "file", "path": f"{tmp_path}/"},
            "metadata": spec.to_info(),
        }
    ).result()
    store.write(first.to_bytes(8, "big"), b"chunk").result()
    assert [p.name for p in tmp_path.glob("*.shard")] == [f"{name}.shard"]


def test_paths_parse_back() -> None:
    """A shard's path gives its number; any other path gives None."""
    scale = made_scale((1000, 1000, 1000), bits=(3, 3, 6))
    for shard in sharding.all_shards(scale):
        assert sharding.parse_shard_path(scale, sharding.shard_path(scale, shard)) == shard
    for path in (
        "8x8x8/000.shard",
        "8x8x8/0.shard",
        "8x8x8/0A.shard",
        "8x8x8/ff.shard",
        "8x8x8/.tmp-00.shard",
        "8x8x8/00.shard.gz",
        "8x8x8/00",
        "other/00.shard",
        "00.shard",
        "8x8x8/+1.shard",
    ):
        assert sharding.parse_shard_path(scale, path) is None


def test_minishards_of_ids() -> None:
    """Minishard and shard numbers are the bits the spec names, also at 64 bits."""
    ids = np.array([0, 0b1011_01_10, 2**64 - 1], np.uint64)
    spec = ShardingSpec(2, 2, 4)
    assert sharding.minishard_numbers(ids, spec).tolist() == [0, 0b01, 0b11]
    assert sharding.shard_numbers(ids, spec).tolist() == [0, 0b1011, 0b1111]
    wide = ShardingSpec(64, 0, 0)
    assert sharding.minishard_numbers(ids, wide).tolist() == [0, 0, 0]
    assert sharding.shard_numbers(ids, wide).tolist() == [0, 0, 0]
    assert sharding.shard_numbers(ids, ShardingSpec(0, 0, 64)).tolist() == ids.tolist()


def test_no_such_shard() -> None:
    """A shard past the grid is refused, whether past its bits or only past its edge."""
    scale = made_scale((3 * 64, 64, 64), bits=(0, 0, 8))
    assert list(sharding.all_shards(scale)) == [0, 1, 2]
    with pytest.raises(InvalidCoordinateError, match="outside the grid"):
        sharding.shard_box(scale, 3)
    for shard in (4, -1):
        with pytest.raises(InvalidCoordinateError, match="there is no shard"):
            sharding.shard_box(scale, shard)


@pytest.mark.parametrize(
    ("resolution", "size", "text"),
    [
        ((16, 16, 24), (5, 5, 5), "24 is neither 1 nor 2 times 8"),
        ((8, 8, 8), (10, 10, 10), "nothing to downsample"),
        ((4, 16, 16), (5, 5, 5), "4 is neither"),
        ((16, 16, 16), (5, 5, 4), r"ceil\(size / \[2, 2, 2\]\) is \[5, 5, 5\]"),
    ],
)
def test_scales_that_do_not_follow(resolution: Vec3, size: Vec3, text: str) -> None:
    """Scales that downsampling cannot make are refused with scale and reason."""
    fine = made_scale((10, 10, 10))
    coarse = made_scale(size, index=1, resolution=resolution)
    with pytest.raises(SpecError, match=text) as caught:
        sharding.factors(fine, coarse)
    assert "scale 1" in str(caught.value)


def test_rounded_resolutions_follow() -> None:
    """Resolutions that were rounded when written still give their factors."""
    fine = made_scale((10, 10, 10), resolution=(4.1, 4.1, 40))
    coarse = made_scale((5, 5, 10), index=1, resolution=(8.2000000001, 8.2, 40))
    assert sharding.factors(fine, coarse) == (2, 2, 1)


def test_planning_a_large_scale_is_quick(shared: Path) -> None:
    """The 118,404 shards of the published scale 0 are found one by one, none twice."""
    volume = json.loads((shared / "specs/mcns-export-specs.json").read_bytes())
    scale = VolumeSpec.parse(volume).scales[0]
    shards = list(sharding.all_shards(scale))
    assert len(shards) == len(set(shards)) == 46 * 39 * 66
    assert shards == sorted(shards)
