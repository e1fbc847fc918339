"""Made-up exports and volumes of many equal shards, for workers that read them over a network."""

import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.exports import USUAL_PITCH
from braid.precomputed.chunk_batch import ChunkBatch
from braid.precomputed.shard_writer import shard_pieces
from braid.precomputed.sharding import shard_path
from braid.precomputed.volume_spec import ScaleSpec, VolumeSpec
from braid.transcode.block_assignment import BLOCK_VOXELS, assign_blocks
from braid.transcode.transcoder import Transcoder
from consumer.executor.source_files import SourceFiles
from producer.export_writer import ExportFormat, Row, file_name, write_file
from producer.synthetic_export import pool_rows
from runtime.storage import open_storage

Kind = Literal["convert", "downsample"]

INPUTS = 8  # of a downsampled shard
_POOL = 48  # different blocks
_SHORTEST_EDGE = 4


@dataclass(frozen=True)
class Case:
    """Shards to be made.

    Attributes:
        chunks: of the source, for each shard; a downsampled one has them from eight inputs.
        shards: to be made.
    """

    kind: Kind
    chunks: int
    shards: int

    @property
    def edge(self) -> int:
        """Chunks along an edge of a shard file's box, of every scale."""
        chunks = self.chunks if self.kind == "convert" else self.chunks // INPUTS
        edge = _SHORTEST_EDGE
        while edge**3 < chunks:
            edge *= 2
        return edge

    @property
    def volume(self) -> dict[str, Any]:
        """The `info`: shards in a row along x, cubes of chunks; two scales to downsample."""
        per_axis = 1 if self.kind == "convert" else 2
        grid = np.array([self.shards * per_axis, per_axis, per_axis]) * self.edge
        return {
            "@type": "neuroglancer_multiscale_volume",
            "type": "segmentation",
            "data_type": "uint64",
            "num_channels": 1,
            "scales": [self._scale(grid // 2**index, index) for index in range(per_axis)],
        }

    def spec(self) -> VolumeSpec:
        """The same, parsed."""
        return VolumeSpec.parse(self.volume, "network")

    def _scale(self, grid: Any, index: int) -> dict[str, Any]:  # noqa: ANN401 - numpy
        inside = 3 * (self.edge.bit_length() - 1)
        preshift = min(9, inside - 3)
        bits = sum((n - 1).bit_length() for n in grid.tolist())
        return {
            "key": "x".join([str(8 * 2**index)] * 3),
            "size": (grid * BLOCK_VOXELS).tolist(),
            "resolution": [8 * 2**index] * 3,
            "voxel_offset": [0, 0, 0],
            "chunk_sizes": [[BLOCK_VOXELS] * 3],
            "encoding": "compressed_segmentation",
            "compressed_segmentation_block_size": [8, 8, 8],
            "sharding": {
                "@type": "neuroglancer_uint64_sharded_v1",
                "hash": "identity",
                "preshift_bits": preshift,
                "minishard_bits": inside - preshift,
                "shard_bits": max(0, bits - inside),
                "data_encoding": "gzip",
                "minishard_index_encoding": "gzip",
            },
        }


def source_objects(case: Case) -> Iterator[tuple[str, bytes]]:
    """The export's objects; of one to downsample, whose scale 0 is there, only their names."""
    if case.kind == "downsample":
        for extent in itertools.product(range(2 * case.shards), range(2), range(2)):
            name = f"s0/{file_name(extent, case.edge)}"
            yield from ((f"{name}.arrow", b"-"), (f"{name}.csv", b"-"))
        return
    pool = pool_rows(_POOL, USUAL_PITCH)
    with tempfile.TemporaryDirectory() as folder:
        for shard in range(case.shards):
            yield from _export_file(Path(folder), case, pool, shard, case.chunks)


def volume_objects(case: Case) -> Iterator[tuple[str, bytes]]:
    """The shard files of scale 0 that are to be downsampled: the same chunks in each."""
    scale = case.spec().scales[0]
    low = scale.sharding.preshift_bits + scale.sharding.minishard_bits
    batches = list(_made_chunks(case, scale))
    for shard in range(INPUTS * case.shards):
        moved = [replace(b, ids=b.ids + np.uint64(shard << low)) for b in batches]
        yield shard_path(scale, shard), _shard_file(moved, scale, shard)


def _export_file(
    folder: Path, case: Case, pool: list[Row], shard: int, chunks: int
) -> Iterator[tuple[str, bytes]]:
    inside = itertools.product(*[range(case.edge)] * 3)
    rows = (
        replace(pool[(x * 7 + y * 11 + z * 13) % _POOL], coords=(x + shard * case.edge, y, z))
        for z, y, x in itertools.islice(inside, chunks)
    )
    arrow = write_file(folder, file_name((shard, 0, 0), case.edge), rows, ExportFormat())
    for path in (arrow, arrow.with_suffix(".csv")):
        yield f"s0/{path.name}", path.read_bytes()
        path.unlink()


def _made_chunks(case: Case, scale: ScaleSpec) -> Iterator[ChunkBatch]:
    """The chunks of the first shard of scale 0."""
    with tempfile.TemporaryDirectory() as folder:
        pool = pool_rows(_POOL, USUAL_PITCH)
        (Path(folder) / "s0").mkdir()
        for name, data in _export_file(Path(folder), case, pool, 0, case.chunks // INPUTS):
            (Path(folder) / name).write_bytes(data)
        arrow = f"s0/{file_name((0, 0, 0), case.edge)}.arrow"
        with SourceFiles(open_storage(folder), [arrow]) as files:
            assigned = assign_blocks(files.coords, scale, 0, 1)
            yield from Transcoder(scale).payloads(files.windows(assigned))


def _shard_file(batches: list[ChunkBatch], scale: ScaleSpec, shard: int) -> bytes:
    pieces = shard_pieces(batches, scale.sharding, shard)
    body = []
    while True:
        try:
            body.append(next(pieces))
        except StopIteration as end:
            return bytes(end.value) + b"".join(body)
