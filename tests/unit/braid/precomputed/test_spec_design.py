"""Designed specs are those that people publish, and open in TensorStore."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import tensorstore as ts
from hypothesis import given
from hypothesis import strategies as st

from braid.exceptions import SpecError
from braid.precomputed import morton, sharding
from braid.precomputed.spec_design import design_volume, find_shared_files
from braid.precomputed.volume_spec import VolumeSpec
from braid.typing import Vec3

SIZES = st.tuples(*[st.integers(1, 200_000)] * 3)
RESOLUTIONS = st.tuples(*[st.sampled_from([1, 4, 4.5, 8, 16, 30, 40, 100])] * 3)


@pytest.mark.parametrize("name", ["mcns-export-specs", "fish2_seg_zdoubled_spec"])
def test_published_specs_are_designed_again(shared: Path, name: str) -> None:
    """From size, resolution and number of scales comes the published spec, key for key."""
    published = VolumeSpec.parse((shared / "specs" / f"{name}.json").read_bytes())
    first = published.scales[0]
    assert design_volume(first.size, first.resolution, len(published.scales)) == published


def test_an_axis_waits_for_the_others() -> None:
    """Anisotropic voxels: z keeps its slices until x and y have caught up."""
    volume = design_volume((4000, 4000, 500), (8, 8, 40))
    assert [scale.resolution for scale in volume.scales] == [
        (8, 8, 40),
        (16, 16, 40),
        (32, 32, 40),
        (64, 64, 80),
        (128, 128, 160),
    ]
    assert [scale.key for scale in volume.scales[:2]] == ["8x8x40", "16x16x40"]
    assert volume.scales[-1].size == (250, 250, 125)


@given(SIZES, RESOLUTIONS, st.none() | st.integers(1, 8))
def test_any_design_is_sound(
    size: tuple[int, int, int], resolution: tuple[float, float, float], scales: int | None
) -> None:
    """Ids fit with no bit to spare, no shard shares its file, each scale follows the last."""
    volume = design_volume(size, resolution, scales)
    if scales is not None:
        assert len(volume.scales) == scales
    else:
        assert max(volume.scales[-1].size) <= 256
    for scale in volume.scales:
        spec = scale.sharding
        assert spec.preshift_bits + spec.minishard_bits + spec.shard_bits == scale.id_bits
        assert spec.preshift_bits <= 9
        assert spec.minishard_bits <= 6
        assert spec.preshift_bits + spec.minishard_bits >= min(scale.id_bits, 13)
        assert find_shared_files(scale) is None
    for fine, coarse in zip(volume.scales, volume.scales[1:], strict=False):
        by = sharding.factors(fine, coarse)
        assert 2 in by


@pytest.mark.parametrize(
    ("size", "index", "count", "files", "bits"),
    [
        ((30_000, 30_000, 1000), 0, 56, 64, (9, 5, 8)),
        ((100_000, 100_000, 2000), 1, 156, 169, (9, 5, 10)),
    ],
)
def test_shared_files_of_flat_volumes(
    size: Vec3, index: int, count: int, files: int, bits: Vec3
) -> None:
    """Shards of 2^15 chunks that are no cubes share files; the bits named instead do not."""
    scale = design_volume(size, (8, 8, 8), index + 1).scales[index]
    sharding_of = replace(
        scale.sharding, preshift_bits=9, minishard_bits=6, shard_bits=scale.id_bits - 15
    )
    found = find_shared_files(replace(scale, sharding=sharding_of))
    assert found is not None
    assert (found.count, found.files) == (count, files)
    assert (found.preshift_bits, found.minishard_bits, found.shard_bits) == bits
    mended = replace(sharding_of, preshift_bits=bits[0], minishard_bits=bits[1], shard_bits=bits[2])
    assert find_shared_files(replace(scale, sharding=mended)) is None


@given(
    st.tuples(*[st.integers(1, 11)] * 3),
    st.integers(0, 4),
    st.integers(0, 2),
    st.sampled_from([1, 2]),
)
def test_shared_files_are_counted_as_dvid_names_them(
    blocks: Vec3, preshift: int, minishard: int, z_step: int
) -> None:
    """Each block walked: the cubes of the largest edge that hold blocks of two shards."""
    design = design_volume([64 * n for n in blocks], (8, 8, 8), 1).scales[0]
    bits = replace(design.sharding, preshift_bits=preshift, minishard_bits=minishard, shard_bits=40)
    scale = replace(design, sharding=bits)
    grid = (blocks[0], blocks[1], blocks[2] * z_step)
    inside = morton.bit_axes(grid)[: preshift + minishard]
    edges = [1 << inside.count(axis) for axis in range(3)]
    cells: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    for chunk in itertools.product(*map(range, grid)):
        cell = tuple(c // max(edges) for c in chunk)
        cells.setdefault(cell, set()).add(tuple(c // e for c, e in zip(chunk, edges, strict=True)))
    shared = sum(len(shards) > 1 for shards in cells.values())
    found = find_shared_files(scale, z_step)
    assert (found.count if found else 0) == shared
    assert found is None or found.files == len(cells)


def test_tensorstore_opens_a_design(tmp_path: Path) -> None:
    """Every scale of a designed volume."""
    volume = design_volume((1000, 700, 300), (8, 8, 33.5))
    (tmp_path / "info").write_text(json.dumps(volume.to_info()))
    for scale in volume.scales:
        spec = {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{tmp_path}/"},
            "scale_index": scale.index,
        }
        assert ts.open(spec).result().shape == (*scale.size, 1)


@pytest.mark.parametrize(
    ("size", "resolution", "scales", "text"),
    [
        ((0, 1, 1), (8, 8, 8), None, "size"),
        ((1, 1), (8, 8, 8), None, "size"),
        ((1, 1, 1), (8, 0, 8), None, "resolution"),
        ((1, 1, 1), (8, float("nan"), 8), None, "resolution"),
        ((1, 1, 1), (8, float("inf"), 8), None, "resolution"),
        ((1, 1, 1), (8, 8, 8), 0, "scales"),
        ((2**60, 1, 1), (8, 8, 8), None, "size"),
    ],
)
def test_what_cannot_be_designed(size: Vec3, resolution: Vec3, scales: int, text: str) -> None:
    """What is not a volume is refused, naming the option."""
    with pytest.raises(SpecError, match=text):
        design_volume(size, resolution, scales)
