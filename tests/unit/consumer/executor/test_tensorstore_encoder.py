"""TensorStore as an encoder: bytes of a chunk, from any thread."""

import gzip
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts

import _braid
from braid.exceptions import EncodingError
from braid.io.byte_source import FileSource
from braid.precomputed import morton
from braid.precomputed.shard_reader import ShardFile
from braid.precomputed.volume_spec import ScaleSpec, VolumeSpec
from consumer.executor.tensorstore_encoder import encoder
from tests.support.specs import made_info
from tests.support.voxel_exports import Conversion, blobs, source_spec

SIZE = (100, 90, 70)


def scale_of(**options: Any) -> ScaleSpec:  # noqa: ANN401 - of made_info
    """A scale of our size."""
    return VolumeSpec.parse(made_info(SIZE, (), **options)).scales[0]


@pytest.mark.parametrize("shape", [(64, 64, 64), (6, 64, 36), (1, 1, 1), (64, 3, 64)])
def test_it_agrees_with_our_kernel(shape: tuple[int, int, int]) -> None:
    """Where both encode (uint64, compressed_segmentation), clipped or not, bytes are equal."""
    rng = np.random.default_rng(1)
    voxels = rng.integers(1, 9, shape).astype(np.uint64) << np.uint64(60)
    assert encoder(scale_of())(voxels) == _braid.cseg_encode(voxels, (8, 8, 8))


@pytest.mark.parametrize("data_type", ["uint64", "uint32"])
def test_raw_is_the_voxels(data_type: str) -> None:
    """X fastest, little-endian, in the volume's type."""
    voxels = np.arange(1, 5 * 6 * 7 + 1, dtype=np.uint64).reshape(5, 6, 7)
    encode = encoder(scale_of(encoding="raw", data_type=data_type))
    assert encode(voxels) == voxels.astype(data_type).tobytes()
    assert encode(voxels * 2) == (voxels * 2).astype(data_type).tobytes()


def test_threads_do_not_mix_their_chunks() -> None:
    """Many chunks of one shape at once: each comes out as itself."""
    encode = encoder(scale_of(encoding="raw"))
    chunks = [np.full((16, 16, 16), n + 1, np.uint64) for n in range(60)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(encode, chunks)) == [chunk.tobytes() for chunk in chunks]


def test_labels_beyond_32_bits_are_refused(tmp_path: Path) -> None:
    """A uint32 volume cannot hold them: the chunk and the label are named, nothing is cut off."""
    field = blobs(SIZE, 3)
    info = made_info(SIZE, (), data_type="uint32", bits=((3, 0),))
    made = Conversion.of(tmp_path, field, info)
    with pytest.raises(
        EncodingError, match=r"s0: chunk \(\d, \d, \d\): label \d+ does not fit uint32"
    ):
        made.all()
    assert made.shards() == {}


@pytest.mark.parametrize("encoding", ["raw", "compressed_segmentation"])
def test_chunks_equal_tensorstores_own_shards(tmp_path: Path, encoding: str) -> None:
    """TensorStore's sharded writer stores the same chunks (their gzip differs)."""
    data_type = "uint32" if encoding == "raw" else "uint64"
    info = made_info(SIZE, (), bits=((3, 0),), encoding=encoding, data_type=data_type)
    field = blobs(SIZE, 4)
    small = {int(v): n for n, v in enumerate(np.unique(field.voxels))}
    field = type(field)(field.voxels, small)
    made = Conversion.of(tmp_path / "ours", field, info, source=source_spec(SIZE))
    made.all()
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "info").write_text((made.dest / "info").read_text())
    spec = {"driver": "neuroglancer_precomputed", "kvstore": f"file://{theirs}/", "scale_index": 0}
    ts.open(spec).result()[..., 0].write(field.labels.T.astype(made_dtype(info))).result()
    name = next(iter(made.shards()))
    ours = ShardFile.open(FileSource(made.dest / "s0" / name), made.scale, 0)
    other = ShardFile.open(FileSource(theirs / "s0" / name), made.scale, 0)
    assert ours.ids().tolist() == other.ids().tolist()
    for chunk_id in ours.ids().tolist():
        assert bytes(ours.chunk(chunk_id)) == bytes(other.chunk(chunk_id))
        assert morton.decode([chunk_id], made.scale.grid).min() >= 0


def made_dtype(info: dict[str, Any]) -> str:
    """Of the volume."""
    return str(info["data_type"])


def test_gzip_wraps_what_was_encoded(tmp_path: Path) -> None:
    """The data encoding is applied by us, after TensorStore."""
    info = made_info((64, 64, 64), (), encoding="raw", bits=((0, 0),))
    field = blobs((64, 64, 64), 5)
    made = Conversion.of(tmp_path, field, info)
    made.all()
    shard = made.shards()["0.shard"]
    at = shard.index(b"\x1f\x8b")
    assert gzip.decompress(shard[at : at + shard[at + 1 :].index(b"\x1f\x8b\x08\x00\x00") + 1]) == (
        field.labels.tobytes()
    )
