"""Pyramids made shard by shard, every voxel of every scale read back by others."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import deflate
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import tensorstore as ts
import zstandard

import _braid
from braid.downsample.downsampler import Rule
from braid.io.byte_source import FileSource
from braid.precomputed import morton
from braid.precomputed.shard_reader import ShardFile
from braid.precomputed.sharding import (
    all_shards,
    dependents,
    inputs,
    shard_hex,
    shard_numbers,
    shard_path,
)
from braid.precomputed.volume_spec import ScaleSpec, VolumeSpec
from consumer.executor.downsample import downsample_shard
from consumer.protocol.tasks import DownsampleTask, Outcome
from runtime.storage import open_storage
from tests.support.shards import shard_of
from tests.support.specs import made_info
from tests.support.volumes import (
    cloudvolume_voxels,
    tensorstore_voxels,
    write_shards,
    write_volume,
)
from tests.support.votes_reference import Triple, Voxels, made_volume, numpy_votes, tensorstore_mode

CONVERTED = 1  # the scale that the real shard belongs to


class Pyramid:
    """A volume of which one scale exists; makes the others, shard by shard."""

    def __init__(self, dest: Path, volume: VolumeSpec, rule: Rule = Rule.MODE) -> None:
        self.dest = dest
        self.volume = volume
        self.rule = rule
        self._storage = open_storage(str(dest))

    def make(self, scale: int, shard: int, threads: int = 2) -> Outcome:
        """One shard, from whatever the scale below has."""
        coarse, fine = self.volume.scales[scale], self.volume.scales[scale - 1]
        keys = [f"s{fine.index}/{shard_hex(i, fine.sharding)}" for i in inputs(fine, coarse, shard)]
        task = DownsampleTask(
            run="r",
            key=f"s{scale}/{shard_hex(shard, coarse.sharding)}",
            volume=self.volume.to_info(),
            scale=scale,
            shard=shard,
            dest=str(self.dest),
            threads=threads,
            inputs=dict.fromkeys(keys),
            rule=self.rule,
        )
        return downsample_shard(task, self._storage, lambda: None, lambda _: None)

    def make_scale(self, scale: int) -> None:
        """All shards of a scale."""
        for shard in all_shards(self.volume.scales[scale]):
            self.make(scale, shard)


@pytest.mark.parametrize("rule", Rule)
@pytest.mark.parametrize(
    ("size", "factors", "chunks", "bits"),
    [
        ((301, 205, 131), [(2, 2, 2)] * 4, [(64, 64, 64)], [(1, 1), (2, 1), (3, 0)]),
        (
            (260, 190, 70),
            [(2, 2, 1), (2, 2, 2), (1, 2, 2), (2, 1, 2)],
            [(64, 64, 32), (64, 64, 64)],
            [(2, 2), (3, 1)],
        ),
        ((129, 65, 257), [(2, 2, 2), (2, 2, 1)], [(32, 32, 32)], [(0, 3), (3, 3)]),
    ],
    ids=["isotropic", "native z", "thin"],
)
def test_every_voxel_of_every_scale(
    tmp_path: Path,
    *,
    size: Triple,
    factors: list[Triple],
    chunks: list[Triple],
    bits: list[tuple[int, int]],
    rule: Rule,
) -> None:
    """TensorStore and cloud-volume read what scale after scale of plain votes gives."""
    info = made_info(size, factors, chunks=chunks, bits=bits)
    expected = made_volume(11, size[::-1])
    volume = write_volume(tmp_path, info, expected)
    pyramid = Pyramid(tmp_path, volume, rule)
    for scale, step in enumerate(factors, 1):
        pyramid.make_scale(scale)
        if rule is Rule.MODE:
            again = tensorstore_mode(expected, step)
            np.testing.assert_array_equal(numpy_votes(expected, step, nonzero=False), again)
        expected = numpy_votes(expected, step, nonzero=rule is Rule.NONZERO_MODE)
        np.testing.assert_array_equal(tensorstore_voxels(tmp_path, scale), expected)
        np.testing.assert_array_equal(cloudvolume_voxels(tmp_path, scale), expected)


def test_scales_written_by_tensorstore(tmp_path: Path) -> None:
    """Inputs need not be ours: TensorStore's files, in whatever order, are walked the same way."""
    size = (200, 150, 140)
    info = made_info(size, [(2, 2, 2)], bits=[(1, 2)])
    voxels = made_volume(12, size[::-1])
    (tmp_path / "info").write_text(json.dumps(info))
    with ts.Transaction() as transaction:
        _open(tmp_path, 0).with_transaction(transaction)[..., 0] = voxels.T
    Pyramid(tmp_path, VolumeSpec.parse(info)).make_scale(1)
    expected = tensorstore_mode(voxels, (2, 2, 2))
    np.testing.assert_array_equal(tensorstore_voxels(tmp_path, 1), expected)


@pytest.fixture(scope="module")
def real(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, VolumeSpec]:
    """The real shard, transcoded to `16x16x16/0fe9.shard` in a volume of the real spec."""
    dest = tmp_path_factory.mktemp("mcns")
    volume = VolumeSpec.parse((shared / "specs/mcns-export-specs.json").read_bytes())
    (dest / "info").write_text(json.dumps(volume.to_info()))
    scale = volume.scales[CONVERTED]
    rows = pa.ipc.open_stream(shared / "data/mcns-edge/s1/30720_24576_28672.arrow").read_all()
    chunks = sorted(_transcoded(scale, record) for record in rows.to_pylist())
    shard = int(shard_numbers([chunks[0][0]], scale.sharding)[0])
    write_shards(dest, scale, {shard: shard_of([c for c in chunks if c[1]], scale.sharding, shard)})
    return dest, volume


def _transcoded(scale: ScaleSpec, record: dict[str, Any]) -> tuple[int, bytes]:
    coord = [record["chunk_x"], record["chunk_y"], record["chunk_z"]]
    size = record["uncompressed_size"]
    block = zstandard.ZstdDecompressor().decompress(
        record["dvid_compressed_block"], max_output_size=size
    )
    labels, supervoxels = (np.array(record[k], np.uint64) for k in ("labels", "supervoxels"))
    ends = [np.array([0, n], np.int64) for n in (len(block), len(labels))]
    made = _braid.transcode_blocks(
        np.frombuffer(block, np.uint8), ends[0], labels, ends[1], supervoxels, ends[1]
    )
    chunk = made.data.tobytes()
    payload = bytes(deflate.gzip_compress(chunk, 6)) if chunk else b""
    return int(morton.encode([coord], scale.grid)[0]), payload


def test_the_real_shard_up_to_the_top(real: tuple[Path, VolumeSpec]) -> None:
    """Wherever the scale below holds a chunk, TensorStore reads its own downsampling of that."""
    dest, volume = real
    pyramid = Pyramid(dest, volume)
    shards, top = [int("0fe9", 16)], CONVERTED
    for fine, coarse in itertools.pairwise(volume.scales[CONVERTED:]):
        stored = np.concatenate([_stored(dest, fine, shard) for shard in shards])
        above = sorted({d for shard in shards for d in dependents(fine, coarse, shard)})
        shards = [shard for shard in above if pyramid.make(coarse.index, shard).chunks]
        for coord in np.unique(stored // 2, axis=0).tolist():
            _check_chunk(dest, fine, coarse, tuple(coord))
        top = coarse.index
        if not shards:  # so little of so large a volume is at last outvoted by zeros
            break
    assert top > 5


def _check_chunk(dest: Path, fine: ScaleSpec, coarse: ScaleSpec, coord: Triple) -> None:
    begin, end = coarse.chunk_box(coord)
    ends = [min(2 * e, n) for e, n in zip(end, fine.size, strict=True)]
    source = _read(dest, fine.index, [2 * b for b in begin], ends)
    expected = tensorstore_mode(np.ascontiguousarray(source), (2, 2, 2))
    np.testing.assert_array_equal(_read(dest, coarse.index, begin, end), expected)


def _stored(dest: Path, scale: ScaleSpec, shard: int) -> npt.NDArray[np.int64]:
    """Coordinates of the chunks in a shard."""
    source = FileSource(dest / shard_path(scale, shard))
    return morton.decode(ShardFile.open(source, scale, shard).ids(), scale.grid)


def _open(dest: Path, scale: int) -> ts.TensorStore:
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": f"file://{dest}/",
        "scale_index": scale,
    }
    return ts.open(spec).result()


def _read(dest: Path, scale: int, begin: Sequence[int], end: Sequence[int]) -> Voxels:
    """Voxels of a box as (z, y, x)."""
    x, y, z = (slice(b, e) for b, e in zip(begin, end, strict=True))
    return np.asarray(_open(dest, scale)[x, y, z, 0].read().result()).T
