"""Exports converted shard by shard, every voxel read back by TensorStore and cloud-volume."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from braid.precomputed.volume_spec import VolumeSpec
from braid.reader import LabelType, ShardReader
from consumer.executor.convert import convert_shard
from consumer.protocol.tasks import ConvertTask, Outcome
from producer.export_writer import Dialect, ExportFormat
from producer.synthetic_export import SyntheticVolume
from runtime.storage import open_storage
from tests.support.specs import made_info
from tests.support.volumes import cloudvolume_voxels, tensorstore_voxels
from tests.support.voxel_exports import ArrayField, Conversion, blobs, source_spec

Triple = tuple[int, int, int]
Box = tuple[slice, ...]

REAL_SHARD = 0x0FE9
REAL_FILE = "s1/30720_24576_28672.arrow"

slow_enough = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def tensorstore_volume(dest: Path, scale: int) -> Callable[[Box], Any]:
    """Reads boxes of x, y, z slices as (z, y, x) through TensorStore."""
    store = ts.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": f"file://{dest}/",
            "scale_index": scale,
        }
    ).result()
    return lambda box: np.asarray(store[box][..., 0].read().result()).T


def cloudvolume_volume(dest: Path, scale: int) -> Callable[[Box], Any]:
    """The same through cloud-volume."""
    from cloudvolume import CloudVolume  # noqa: PLC0415 - a second of imports

    cloud = CloudVolume(
        f"precomputed://file://{dest}", mip=scale, fill_missing=True, progress=False
    )
    return lambda box: np.asarray(cloud[box])[..., 0].T


def convert_real(shared: Path, dest: Path, export: str, **options: Any) -> Outcome:  # noqa: ANN401
    """The real shard, into a volume of its own."""
    info = json.loads((shared / "specs" / "mcns-export-specs.json").read_text())
    dest.mkdir(parents=True)
    (dest / "info").write_text(json.dumps(VolumeSpec.parse(info).to_info()))
    source = str(shared / "data" / export)
    task = ConvertTask(
        run="r",
        key="s1/0fe9",
        volume=info,
        scale=1,
        shard=REAL_SHARD,
        dest=str(dest),
        source=source,
        sources=(REAL_FILE,),
        **options,
    )
    return convert_shard(
        task, open_storage(str(dest)), open_storage(source), lambda: None, lambda _: None
    )


@pytest.mark.parametrize("kind", list(LabelType))
def test_every_voxel_of_the_real_shard(shared: Path, tmp_path: Path, kind: LabelType) -> None:
    """Both readers see what each block holds; the shard has no other chunks."""
    outcome = convert_real(shared, tmp_path / "v", "mcns-edge", label_type=kind.value)
    assert (outcome.chunks, outcome.code_path, outcome.empty) == (258, "palette", False)
    assert (outcome.skipped_outside, outcome.skipped_elsewhere) == (0, 0)
    readers = tensorstore_volume(tmp_path / "v", 1), cloudvolume_volume(tmp_path / "v", 1)
    scale = VolumeSpec.parse((tmp_path / "v" / "info").read_text()).scales[1]
    export = ShardReader(shared / "data" / "mcns-edge" / REAL_FILE)
    assert export.chunk_count == 258
    for chunk in export.available_chunks:
        span = tuple(slice(b, e) for b, e in zip(*scale.chunk_box(chunk), strict=True))
        x, y, z = (s.stop - s.start for s in span)
        truth = export.read_chunk(*chunk, kind)[:z, :y, :x]
        for read in readers:
            assert np.array_equal(read(span), truth), chunk


def test_both_real_dialects_give_the_same_bytes(shared: Path, tmp_path: Path) -> None:
    """With byte offsets or without, with one thread or two: the file 0fe9.shard, byte for byte."""
    first = convert_real(shared, tmp_path / "new", "mcns-edge")
    second = convert_real(shared, tmp_path / "old", "mcns-edge-old", threads=2)
    files = [sorted(p for p in (tmp_path / n).rglob("*.shard")) for n in ("new", "old")]
    assert [p.relative_to(tmp_path / "new").as_posix() for p in files[0]] == ["16x16x16/0fe9.shard"]
    assert files[0][0].read_bytes() == files[1][0].read_bytes()
    assert first.crc32c == second.crc32c is not None


@slow_enough
@given(
    size=st.tuples(*[st.integers(1, 300)] * 3).filter(lambda s: s[0] * s[1] * s[2] < 6_000_000),
    form=st.builds(
        ExportFormat,
        st.sampled_from(Dialect),
        st.sampled_from(["stream", "file"]),
        st.sampled_from([1, 3, 256]),
    ),
    kind=st.sampled_from(["labels", "supervoxels"]),
    bits=st.sampled_from([(0, 0), (1, 2), (3, 3)]),
    threads=st.sampled_from([1, 2]),
)
def test_random_volumes(
    size: Triple, form: ExportFormat, kind: str, bits: tuple[int, int], threads: int
) -> None:
    """Any size, dialect, Arrow format and sharding: both readers see the truth, edges clipped."""
    field = blobs(size, seed=sum(size))
    info = made_info(size, (), bits=(bits,))
    with tempfile.TemporaryDirectory() as folder:
        made = Conversion.of(Path(folder), field, info, form, label_type=kind, threads=threads)
        outcomes = made.all()
        truth = field.labels if kind == "labels" else field.voxels
        assert np.array_equal(tensorstore_voxels(made.dest, 0), truth)
        assert np.array_equal(cloudvolume_voxels(made.dest, 0), truth)
        for shard, outcome in outcomes.items():
            assert outcome.empty == (outcome.chunks == 0)
            name = made.task(shard).key.partition("/")[2]
            assert (f"{name}.shard" in made.shards()) is not outcome.empty


def test_the_sample_equals_its_formula(tmp_path: Path) -> None:
    """The demo's export: what readers see is the formula that made it, empty corners included."""
    size = (200, 140, 100)
    sample = SyntheticVolume(size, seed=3)
    made = Conversion.of(tmp_path, sample, made_info(size, (), bits=((1, 1),)), keep_empty=False)
    outcomes = made.all(threads=2)
    truth = sample.labels((0, 0, 0), size)
    assert np.array_equal(tensorstore_voxels(made.dest, 0), truth)
    assert sum(o.chunks for o in outcomes.values()) <= 4 * 3 * 2
    assert len(made.shards()) > 1
    assert (truth == 0).any()


@pytest.mark.parametrize("step", [2, 4])
@pytest.mark.parametrize("deep", [True, False])
def test_z_compress(tmp_path: Path, step: int, deep: bool) -> None:
    """Every step-th slice is kept, with 64-deep output chunks and with shallower ones."""
    size = (150, 100, 64 * step + 37)
    field = blobs(size, step)
    kept = field.labels[::step]
    out = (size[0], size[1], kept.shape[0])
    chunk = (64, 64, 64 if deep else 64 // step)
    made = Conversion.of(
        tmp_path,
        field,
        made_info(out, (), chunks=(chunk,), bits=((1, 2),)),
        source=source_spec(size, (0, 0)),  # a file per block
        z_compress=step - 1,
        threads=2,
    )
    outcomes = made.all()
    assert {o.code_path for o in outcomes.values()} == {"voxel"}
    assert max(len(made.files(shard)) for shard in outcomes) > 1
    assert np.array_equal(tensorstore_voxels(made.dest, 0), kept)
    assert np.array_equal(cloudvolume_voxels(made.dest, 0), kept)


def test_z_compress_on_the_real_specs(shared: Path, tmp_path: Path) -> None:
    """fish2: the export of the z-doubled spec, one shard of the native one, chunks 32 deep."""
    specs = {
        name: json.loads((shared / "specs" / f"fish2_seg_{name}_spec.json").read_text())
        for name in ("native_z", "zdoubled")
    }
    doubled = VolumeSpec.parse(specs["zdoubled"]).scales[0]
    info = VolumeSpec.parse(specs["native_z"]).to_info()
    edge = (128, 128, 192)  # of the tissue; the rest of the real volume is empty
    field = blobs(edge, 11)
    made = Conversion.of(tmp_path, field, info, source=doubled, z_compress=1)
    made.dest.mkdir()
    (made.dest / "info").write_text(json.dumps(info))
    assert made.scale.chunk_size == (64, 64, 32)
    outcome = made.run(0)
    assert (outcome.code_path, outcome.chunks) == ("voxel", 12)
    seen = tensorstore_volume(made.dest, 0)((slice(0, 128), slice(0, 128), slice(0, 96)))
    assert np.array_equal(seen, field.labels[::2])


@pytest.mark.parametrize(
    ("chunk", "block"),
    [
        ((64, 64, 64), (4, 8, 16)),
        ((32, 32, 32), (8, 8, 8)),
        ((128, 64, 32), (8, 8, 8)),
        ((48, 40, 100), (8, 8, 8)),
    ],
)
def test_other_chunks_and_blocks(tmp_path: Path, chunk: Triple, block: Triple) -> None:
    """Chunks of other sizes than DVID's blocks are cut out of these."""
    size = (150, 129, 70)
    field = blobs(size, 5)
    made = Conversion.of(
        tmp_path,
        field,
        made_info(size, (), chunks=(chunk,), block=block, bits=((1, 2),)),
        source=source_spec(size, (1, 2)),
        threads=2,
    )
    assert {o.code_path for o in made.all().values()} == {"voxel"}
    assert np.array_equal(tensorstore_voxels(made.dest, 0), field.labels)
    assert np.array_equal(cloudvolume_voxels(made.dest, 0), field.labels)


@pytest.mark.parametrize(
    ("encoding", "data_type"),
    [("raw", "uint64"), ("raw", "uint32"), ("compressed_segmentation", "uint32")],
)
def test_the_fallback(tmp_path: Path, encoding: str, data_type: str) -> None:
    """Raw and uint32 volumes through TensorStore's encoder: the same voxels."""
    size = (150, 129, 70)
    field = blobs(size, 6)
    if data_type == "uint32":
        small = {int(v): i for i, v in enumerate(np.unique(field.voxels))}
        field = ArrayField(field.voxels, small)
    made = Conversion.of(
        tmp_path,
        field,
        made_info(size, (), encoding=encoding, data_type=data_type, bits=((1, 2),)),
        source=source_spec(size, (1, 2)),
        threads=2,
    )
    assert {o.code_path for o in made.all().values()} == {"tensorstore"}
    assert np.array_equal(tensorstore_voxels(made.dest, 0), field.labels)
    assert np.array_equal(cloudvolume_voxels(made.dest, 0), field.labels)
