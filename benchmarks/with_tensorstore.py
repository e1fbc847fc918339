"""Work of TensorStore, as people use it: decode, write voxels in transactions.

Rows are read and decoded by shardlift's kernels, faster than most scripts would, so that only the
writing is compared. One core: the process is pinned and every pool of TensorStore's is limited to
one.
"""

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts

import _braid
from benchmarks.child import TimedWork, shards_written
from benchmarks.exports import Export
from braid.dvid.block_batch import decompress_blocks
from braid.precomputed.volume_spec import ScaleSpec
from braid.reader import ShardRangeReader
from braid.typing import UInt64Array

Box = tuple[slice, slice, slice, int]

_DECODED = 20  # blocks decoded at once: 40 MiB
_EDGE = 64
_CACHE_BYTES = 256 << 20  # for reading; without a cache each chunk costs the shard's index again
_BOX_CHUNKS = 4  # coarse chunks per axis that are read and written at once


def convert(export: dict[str, Any], out: str, transaction: int | None) -> dict[str, TimedWork]:
    """Decode and write `transaction` chunks at a time; None for all in one."""
    found = Export(**export)

    def run() -> None:
        with ShardRangeReader(str(found.arrow)) as reader:
            volume = open_scale(out, found.scale)
            step = transaction or len(reader.index)
            for first in range(0, len(reader.index), step):
                rows = np.arange(first, min(first + step, len(reader.index)))
                write_rows(volume, found.scale_spec(), reader, rows)

    def reset() -> None:
        start_volume(found.volume, out)

    return {"convert": TimedWork(run, found.chunks, reset, lambda: shards_written(out))}


def downsample(export: dict[str, Any], volume: str) -> dict[str, TimedWork]:
    """Downsample and write the region of the export's chunks, in one transaction."""
    found = Export(**export)
    fine, coarse = found.scale_spec(), found.scale_spec(above=1)
    with ShardRangeReader(str(found.arrow)) as reader:
        begin, end = _bounds(reader.index.coords, coarse)

    def run() -> None:
        source = ts.downsample(open_scale(volume, fine.index), [2, 2, 2, 1], "mode")
        target = open_scale(volume, coarse.index)
        with ts.Transaction() as transaction:
            for box in boxes(begin, end):
                target.with_transaction(transaction)[box] = source[box]

    def reset() -> None:
        shutil.rmtree(Path(volume) / coarse.key, ignore_errors=True)

    def facts() -> dict[str, float]:
        return shards_written(f"{volume}/{coarse.key}")

    return {"downsample": TimedWork(run, found.chunks, reset, facts)}


def copy_unsharded(export: dict[str, Any], out: str, encoding: str) -> dict[str, TimedWork]:
    """Copy the export to a plain precomputed volume of one scale, as igneous expects it."""
    found = Export(**export)
    scale = dict(found.volume["scales"][found.scale])
    del scale["sharding"]
    if encoding == "raw":
        del scale["compressed_segmentation_block_size"]
    volume = {**found.volume, "scales": [{**scale, "encoding": encoding}]}

    def run() -> None:
        start_volume(volume, out)
        with ShardRangeReader(str(found.arrow)) as reader:
            target = open_scale(out, 0)
            for box, voxels in _decoded(found.scale_spec(), reader, np.arange(found.chunks)):
                target[box] = voxels

    return {"copy": TimedWork(run, found.chunks)}


def start(volume: dict[str, Any], out: str) -> dict[str, TimedWork]:
    """Create an empty volume, as a measurement."""
    return {"start": TimedWork(lambda: start_volume(volume, out), 1)}


def start_volume(volume: dict[str, Any], out: str) -> None:
    """Create an empty volume: only its info."""
    shutil.rmtree(out, ignore_errors=True)
    Path(out).mkdir(parents=True)
    (Path(out) / "info").write_text(json.dumps(volume))


def open_scale(path: str, scale: int) -> Any:  # noqa: ANN401 - TensorStore is not typed
    """A scale of a volume on disk; axes x, y, z, channel."""
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{path}/"},
        "scale_index": scale,
        "context": limits(),
    }
    return ts.open(spec).result()


def limits() -> dict[str, Any]:
    """Context of one core."""
    return {
        "data_copy_concurrency": {"limit": 1},
        "file_io_concurrency": {"limit": 1},
        "cache_pool": {"total_bytes_limit": _CACHE_BYTES},
    }


def write_rows(volume: Any, scale: ScaleSpec, reader: ShardRangeReader, rows: Any) -> None:  # noqa: ANN401
    """Decode rows and write them in one transaction."""
    with ts.Transaction() as transaction:
        for box, voxels in _decoded(scale, reader, rows):
            volume.with_transaction(transaction)[box] = voxels


def _decoded(
    scale: ScaleSpec, reader: ShardRangeReader, rows: npt.NDArray[np.int64]
) -> Iterator[tuple[Box, UInt64Array]]:
    """Where each block lies in the volume, and its voxels (x, y, z), clipped."""
    for first in range(0, len(rows), _DECODED):
        some = reader.read_rows(rows[first : first + _DECODED])
        blocks = decompress_blocks(some, np.arange(len(some)), mapped=True, describe_row=str)
        voxels = np.empty((len(some), _EDGE, _EDGE, _EDGE), np.uint64)
        _braid.decode_blocks(blocks.data, blocks.start, voxels, *(blocks.mapping or ()))
        for coords, one in zip(some.coords.tolist(), voxels, strict=True):
            begin, end = scale.chunk_box(tuple(coords))
            dx, dy, dz = (e - b for b, e in zip(begin, end, strict=True))
            x, y, z = map(slice, begin, end)
            yield (x, y, z, 0), one[:dz, :dy, :dx].T


def _bounds(fine_chunks: npt.NDArray[np.int32], coarse: ScaleSpec) -> tuple[Any, Any]:
    """Coarse voxels behind these chunks: first, and end."""
    begin = fine_chunks.min(axis=0) // 2 * coarse.chunk_size
    end = (fine_chunks.max(axis=0) // 2 + 1) * coarse.chunk_size
    return begin, np.minimum(end, coarse.size)


def boxes(begin: Any, end: Any) -> Iterator[Box]:  # noqa: ANN401
    """Boxes of some chunks that cover a region."""
    step = _BOX_CHUNKS * _EDGE
    for x, y, z in itertools.product(*(range(b, e, step) for b, e in zip(begin, end, strict=True))):
        corner = np.minimum((x + step, y + step, z + step), end)
        yield slice(x, corner[0]), slice(y, corner[1]), slice(z, corner[2]), 0
