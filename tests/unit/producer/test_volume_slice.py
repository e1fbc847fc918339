"""Middle slices of a volume: voxel by voxel, within bounds, around damage."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts

from braid.exceptions import BraidError
from braid.precomputed.volume_spec import VolumeSpec
from producer.synthetic_export import SyntheticVolume, sample_spec
from producer.volume_slice import VolumeSlice, read_overview, read_slices
from runtime.storage import open_storage
from tests.support.votes_reference import Voxels

SIZE = (250, 200, 150)
SCALES = 3


@pytest.fixture(scope="module")
def voxels() -> Sequence[Voxels]:
    """Of each scale, ZYX."""
    finest = SyntheticVolume(SIZE).labels((0, 0, 0), SIZE)
    return [finest[:: 1 << n, :: 1 << n, :: 1 << n] for n in range(SCALES)]


@pytest.fixture
def volume(tmp_path: Path, voxels: Sequence[Voxels]) -> Path:
    """The volume of these voxels, as TensorStore writes it."""
    info = sample_spec(SIZE, SCALES)
    (tmp_path / "info").write_text(json.dumps(info))
    for index, own in enumerate(voxels):
        _store(tmp_path, index)[..., 0].write(own.transpose(2, 1, 0)).result()
    return tmp_path


def _store(folder: Path, index: int) -> Any:  # noqa: ANN401 - it publishes no types
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{folder}/"},
        "scale_index": index,
    }
    return ts.open(spec, open=True).result()


def _spec(folder: Path) -> VolumeSpec:
    return VolumeSpec.parse((folder / "info").read_bytes())


def _slices(folder: Path, most: int) -> Mapping[int, VolumeSlice]:
    found = read_slices(open_storage(str(folder)), _spec(folder), most)
    return {one.scale: one for one in found}


@pytest.mark.parametrize("most", [1024, 200, 100, 16])
def test_slices_are_the_voxels(volume: Path, voxels: Sequence[Voxels], most: int) -> None:
    """Of every scale a rectangle within the bound, with its margin of zeros left out."""
    found = _slices(volume, most)
    assert list(found) == [2, 1, 0]
    for index, one in found.items():
        x, y, z = one.begin
        height, width = one.labels.shape
        assert max(height, width) <= most
        assert np.array_equal(one.labels, voxels[index][z, y : y + height, x : x + width])
        assert one.labels[0].any()
        assert one.labels[:, -1].any()
        assert not one.damaged


def test_the_overview_is_the_finest_that_fits(volume: Path) -> None:
    """As a whole; if none fits, part of the coarsest."""
    storage, spec = open_storage(str(volume)), _spec(volume)
    for most, scale in ((256, 0), (150, 1), (70, 2), (20, 2)):
        found = read_overview(storage, spec, most)
        assert found is not None
        assert found.scale == scale
        assert max(found.labels.shape) <= most


def test_an_empty_volume_has_none(tmp_path: Path) -> None:
    """Without shards there is nothing to show."""
    (tmp_path / "info").write_text(json.dumps(sample_spec(SIZE, SCALES)))
    storage, spec = open_storage(str(tmp_path)), _spec(tmp_path)
    assert read_overview(storage, spec) is None
    assert list(read_slices(storage, spec)) == []


def test_a_damaged_shard_is_a_hole(tmp_path: Path) -> None:
    """The others are shown; what could not be read is said. One in the middle is an error."""
    info = sample_spec((2000, 1500, 1000))
    (tmp_path / "info").write_text(json.dumps(info))
    store = _store(tmp_path, 0)
    for x in (0, 512, 1024):
        store[x : x + 64, :64, :64, 0].write(np.full((64, 64, 64), 7 + x, np.uint64)).result()
    whole = _slices(tmp_path, 2000)[0]
    assert set(np.unique(whole.labels).tolist()) == {0, 7, 519, 1031}
    shards = sorted((tmp_path / info["scales"][0]["key"]).glob("*.shard"))
    assert len(shards) == 3
    shards[-1].write_bytes(b"x" * 4096)
    shown = _slices(tmp_path, 2000)[0]
    assert set(np.unique(shown.labels).tolist()) == {0, 7, 519}
    assert shards[-1].name in shown.damaged[0]
    for shard in shards:
        shard.write_bytes(b"x" * 4096)
    with pytest.raises(BraidError):
        _slices(tmp_path, 2000)
    assert read_overview(open_storage(str(tmp_path)), _spec(tmp_path)) is None
