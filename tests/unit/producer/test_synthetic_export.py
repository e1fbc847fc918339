"""Synthetic exports: realistic, repeatable, in the format of DVID."""

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import zstandard

from braid.precomputed.volume_spec import ScaleSpec, VolumeSpec
from braid.reader import LabelType, ShardRangeReader, ShardReader
from producer.export_writer import Dialect, ExportFormat, compress, file_edge, file_name, make_row
from producer.synthetic_export import (
    SyntheticVolume,
    pool_rows,
    sample_spec,
    write_export,
    write_large,
)
from tests.support.voxel_exports import ArrayField, blobs

SIZE = (140, 130, 70)


def scale_of(size: tuple[int, int, int] = SIZE) -> ScaleSpec:
    """The sample's own spec."""
    return VolumeSpec.parse(sample_spec(size)).scales[0]


@pytest.fixture(scope="module")
def sample() -> SyntheticVolume:
    """A small one."""
    return SyntheticVolume(SIZE, seed=7)


def test_any_box_is_part_of_the_whole(sample: SyntheticVolume) -> None:
    """Voxels depend on their coordinates and the seed alone, not on the box."""
    whole = sample.supervoxels((0, 0, 0), SIZE)
    part = sample.supervoxels((33, 20, 5), (135, 127, 61))
    assert np.array_equal(whole[5:61, 20:127, 33:135], part)
    assert np.array_equal(whole, SyntheticVolume(SIZE, seed=7).supervoxels((0, 0, 0), SIZE))
    assert not np.array_equal(whole, SyntheticVolume(SIZE, seed=8).supervoxels((0, 0, 0), SIZE))


def test_it_looks_like_a_segmentation(sample: SyntheticVolume) -> None:
    """Touching cells, supervoxels merged into labels, empty regions, tissue at the faces."""
    supervoxels = sample.supervoxels((0, 0, 0), SIZE)
    labels = sample.labels_of(supervoxels)
    assert np.array_equal(labels, sample.labels((0, 0, 0), SIZE))
    assert np.array_equal(labels == 0, supervoxels == 0)
    assert 0.05 < (labels == 0).mean() < 0.6
    assert 20 < len(np.unique(labels)) < 0.7 * len(np.unique(supervoxels))
    assert 0.001 < (labels[:, :, 1:] != labels[:, :, :-1]).mean() < 0.2
    assert all((face != 0).any() for face in (labels[0], labels[:, -1], labels[..., -1]))
    beyond = sample.supervoxels((SIZE[0], 60, 40), (SIZE[0] + 20, 120, 90))
    assert beyond.any()


def test_density_is_the_pitch() -> None:
    """A smaller distance of neurites, more supervoxels per block and larger blocks."""
    usual, dense = pool_rows(2, pitch=28), pool_rows(2, pitch=8)
    assert 10 < len(usual[0].labels) < 60 < len(dense[0].labels)
    assert len(usual[0].frame) < len(dense[0].frame)
    assert usual[0].frame != usual[1].frame


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize("ipc", ["stream", "file"])
def test_every_dialect_is_readable(
    tmp_path: Path, sample: SyntheticVolume, dialect: Dialect, ipc: str
) -> None:
    """Whatever the index and the Arrow format: the readers give the sample's voxels."""
    scale = scale_of()
    form = ExportFormat(dialect, ipc, batch_rows=3)  # type: ignore[arg-type]  # parametrized
    paths = write_export(tmp_path, scale, sample, form)
    assert [p.relative_to(tmp_path).as_posix() for p in paths] == ["s0/0_0_0.arrow"]
    reader = ShardRangeReader(paths[0])
    x, y, z = reader.available_chunks[-1]
    begin, end = (x * 64, y * 64, z * 64), (x * 64 + 64, y * 64 + 64, z * 64 + 64)
    voxels = sample.supervoxels(begin, end)
    assert np.array_equal(reader.read_chunk(x, y, z), sample.labels_of(voxels))
    assert np.array_equal(reader.read_chunk(x, y, z, LabelType.SUPERVOXELS), voxels)


def test_the_index_says_what_dvid_says(tmp_path: Path) -> None:
    """The current dialect's comment, header and ranges; DVID's own zero covers the schema."""
    scale, sample = scale_of(), blobs(SIZE, 2)
    write_export(tmp_path / "a", scale, sample)
    write_export(tmp_path / "b", scale, sample, ExportFormat(Dialect.SIZE_ZERO))
    current = (tmp_path / "a" / "s0" / "0_0_0.csv").read_text().splitlines()
    zero = (tmp_path / "b" / "s0" / "0_0_0.csv").read_text().splitlines()
    schema_size = int(current[0].removeprefix("# schema_size="))
    assert current[1] == "x,y,z,offset,size,batch_idx"
    offset, size = map(int, current[2].split(",")[3:5])
    assert offset == schema_size
    assert zero[0] == "# schema_size=0"
    assert zero[2].split(",")[3:5] == ["0", str(schema_size + size)]
    assert zero[3:] == current[3:]


def test_the_arrow_file_is_what_dvid_writes(tmp_path: Path, sample: SyntheticVolume) -> None:
    """One row per batch; columns and their types; frames with a checksum."""
    (path,) = write_export(tmp_path, scale_of(), sample)
    reader = pa.ipc.open_stream(path)
    batches = list(reader)
    assert {batch.num_rows for batch in batches} == {1}
    assert reader.schema.names == [
        "chunk_x",
        "chunk_y",
        "chunk_z",
        "labels",
        "supervoxels",
        "dvid_compressed_block",
        "uncompressed_size",
    ]
    frame = batches[0].column("dvid_compressed_block")[0].as_py()
    assert zstandard.get_frame_parameters(frame).has_checksum
    assert len(zstandard.ZstdDecompressor().decompress(frame)) == (
        batches[0].column("uncompressed_size")[0].as_py()
    )


def test_small_frames_have_no_content_size() -> None:
    """As Go's zstd writes a solid block of 24 bytes."""
    row = make_row((0, 0, 0), np.full((64, 64, 64), 5, np.uint64), lambda s: s + np.uint64(1))
    assert (row.uncompressed_size, row.supervoxels.tolist(), row.labels.tolist()) == (24, [5], [6])
    unknown = zstandard.frame_content_size(row.frame)
    assert unknown == -1
    assert zstandard.frame_content_size(compress(bytes(300))) == 300


def test_rows_are_roughly_in_zyx_order(tmp_path: Path) -> None:
    """Most ascend, some do not; each block once; empty ones only where they are kept."""
    size = (256, 256, 256)
    ones = ArrayField(np.ones(size, np.uint64), {})
    (path,) = write_export(tmp_path / "a", scale_of(size), ones)
    chunks = ShardReader(path).available_chunks
    keys = [(z, y, x) for x, y, z in chunks]
    ascends = [a < b for a, b in itertools.pairwise(keys)]
    assert 0 < ascends.count(False) < len(ascends) / 3
    assert len(set(chunks)) == len(chunks)
    bare = SyntheticVolume((450, 64, 64), seed=1)
    few = write_export(tmp_path / "b", scale_of(bare.size), bare)
    all_of_it = write_export(tmp_path / "c", scale_of(bare.size), bare, keep_empty=True)
    counts = [sum(len(ShardReader(p)) for p in paths) for paths in (few, all_of_it)]
    assert counts[0] <= counts[1] == 8


def test_files_are_named_after_their_first_voxel(tmp_path: Path) -> None:
    """Cells of the largest edge of a shard's box."""
    scale = scale_of((1000, 300, 64))
    assert file_edge(scale) == 8
    assert file_name((1, 0, 2), 8) == "512_0_1024"
    write_export(tmp_path, scale, ArrayField(np.ones((64, 300, 1000), np.uint64), {}))
    assert {p.name for p in (tmp_path / "s0").glob("*.arrow")} == {"0_0_0.arrow", "512_0_0.arrow"}


def test_large_shards_repeat_a_pool(tmp_path: Path) -> None:
    """The requested number of rows, in ZYX order, from few blocks."""
    scale = scale_of((64 * 4, 64 * 4, 64 * 4))
    path = write_large(tmp_path, scale, 50, pool=3)
    reader = ShardReader(path)
    assert len(reader) == 50
    assert reader.available_chunks[:5] == [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0), (0, 1, 0)]
    rows = reader.read_rows(np.arange(50))
    assert len({rows.block(i).tobytes() for i in range(50)}) == 3
