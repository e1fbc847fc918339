"""Single steps on one core: cost of a chunk, step by step."""

import zlib
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np

import _braid
from benchmarks.child import TimedWork
from benchmarks.exports import Export
from braid.dvid.block_batch import BlockBatch, RowPlace, decompress_blocks
from braid.precomputed.chunk_batch import ChunkBatch
from braid.precomputed.data_encoding import gzip_all
from braid.reader import Rows, ShardRangeReader
from braid.transcode.palette_path import PaletteTask
from braid.transcode.row_window import RowWindow
from braid.typing import UInt64Array

GZIP_LEVEL = 6
_BATCH = 32  # chunks decoded to voxels at once: 64 MiB
_EDGE = 64
_WRAPPED = 31  # zlib's wbits for a gzip member
_SAMPLE = 64  # chunks, spread over the file, for what is slow
_LEVELS = (1, 3, 4, 5, 6, 7, 9, 12)

Slots = list[memoryview | None]


def steps(export: dict[str, Any]) -> dict[str, TimedWork]:
    """Steps of a conversion, each over all chunks of the file."""
    found = Export(**export)
    rows = read_all(found)
    blocks = decompressed(rows)
    count = len(rows)
    encoded = chunks_of(blocks)
    voxels = np.empty((_BATCH, _EDGE, _EDGE, _EDGE), np.uint64)
    sample = _sample(encoded)
    facts = _sizes(sample)
    facts["labels"] = float(np.mean(transcode(blocks).labels))
    return {
        "zstd": TimedWork(lambda: decompressed(rows), count),
        "decode to voxels": TimedWork(lambda: _decode_all(blocks, voxels), count),
        "transcode": TimedWork(lambda: transcode(blocks), count, facts=lambda: facts),
        "zstd + transcode": TimedWork(lambda: transcode(decompressed(rows)), count),
        "zstd + transcode + gzip 6": TimedWork(lambda: _payloads(rows), count),
        "gzip 6 (libdeflate)": TimedWork(lambda: _gzip(encoded), len(encoded)),
        "zlib 6": TimedWork(lambda: _zlib(sample), len(sample)),
    }


def levels(export: dict[str, Any]) -> dict[str, TimedWork]:
    """Cost of each level of compression, and bytes of a chunk."""
    sample = _sample(chunks_of(decompressed(read_all(Export(**export)))))
    works = {}
    for level in _LEVELS:
        facts = {"bytes": _gzip(sample, level) / len(sample)}
        works[f"gzip {level}"] = TimedWork(
            partial(_gzip, sample, level), len(sample), facts=partial(dict, facts)
        )
    facts = {"bytes": _zlib(sample) / len(sample)}
    works["zlib 6"] = TimedWork(partial(_zlib, sample), len(sample), facts=partial(dict, facts))
    return works


def votes(export: dict[str, Any]) -> dict[str, TimedWork]:
    """Majority votes in Mvoxel/s: block and voxel kernels, TensorStore, tinybrain."""
    import tensorstore as ts  # noqa: PLC0415 - only this step needs it

    blocks = decompressed(read_all(Export(**export)))
    count = len(blocks.rows) // 8 * 8
    fine = slots_of(blocks)[:count]
    voxels = np.empty((8, _EDGE, _EDGE, _EDGE), np.uint64)
    _decode(blocks, len(blocks.rows) // 2, voxels)  # from the middle, where there are most labels
    stack = np.ascontiguousarray(voxels.reshape(8 * _EDGE, _EDGE, _EDGE))
    array = ts.array(stack, context=ts.Context({"data_copy_concurrency": {"limit": 1}}))
    mega = stack.size / 1e6
    works = {
        "blocks": TimedWork(lambda: _vote(fine), count * _EDGE**3 / 1e6),
        "voxels": TimedWork(lambda: _braid.downsample_voxels(stack, (2, 2, 2)), mega),
        "TensorStore": TimedWork(
            lambda: ts.downsample(array, [2, 2, 2], "mode").read().result(), mega
        ),
    }
    if find_spec("tinybrain"):  # it comes with igneous
        works["tinybrain"] = TimedWork(_tinybrain(stack), mega)
    return works


def _tinybrain(voxels: UInt64Array) -> Callable[[], object]:
    import tinybrain  # noqa: PLC0415 - as above

    image = np.asfortranarray(voxels.T[..., np.newaxis])
    return lambda: tinybrain.downsample_segmentation(image, (2, 2, 2, 1))


def read_all(export: Export) -> Rows:
    """All rows of an export."""
    with ShardRangeReader(str(export.arrow)) as reader:
        return reader.read_rows(np.arange(len(reader.index)))


def decompressed(rows: Rows) -> BlockBatch:
    """The rows' blocks."""
    return decompress_blocks(rows, np.arange(len(rows)), mapped=True, describe_row=str)


def transcode(blocks: BlockBatch) -> _braid.Transcoded:
    """The palette path."""
    return _braid.transcode_blocks(blocks.data, blocks.start, *(blocks.mapping or ()))


def _place(row: int) -> RowPlace:
    return RowPlace("export", row, (0, 0, 0))


def _payloads(rows: Rows) -> int:
    """All steps by one kernel, as a conversion takes them."""
    count = len(rows)
    numbers = np.arange(count + 1)
    window = RowWindow(numbers[:count].astype(np.uint64), numbers, numbers[:count], rows, _place)
    task = PaletteTask(window, numbers[:count], "gzip", GZIP_LEVEL, mapped=True)
    task.work()
    return task.result().chunks.size


def slots_of(blocks: BlockBatch) -> Slots:
    """Encoded chunks; None for one of zeros."""
    made = transcode(blocks)
    return [made.data.data[a:b] or None for a, b in pairwise(made.start.tolist())]


def chunks_of(blocks: BlockBatch) -> ChunkBatch:
    """Encoded chunks, those of zeros left out; their ids count from 0."""
    made = transcode(blocks)
    ids = np.arange(len(made.labels), dtype=np.uint64)
    return ChunkBatch(ids, made.start, made.data.data).without_empty()


def _decode_all(blocks: BlockBatch, out: UInt64Array) -> None:
    for first in range(0, len(blocks.rows), _BATCH):
        _decode(blocks, first, out[: min(_BATCH, len(blocks.rows) - first)])


def _decode(blocks: BlockBatch, first: int, out: UInt64Array) -> None:
    """Decode as many blocks as `out` holds."""
    end = first + len(out) + 1
    mapping: tuple[Any, ...] = ()
    if blocks.mapping:
        labels, label_start, supervoxels, supervoxel_start = blocks.mapping
        mapping = labels, label_start[first:end], supervoxels, supervoxel_start[first:end]
    _braid.decode_blocks(blocks.data, blocks.start[first:end], out, *mapping)


def _vote(fine: Slots) -> None:
    """Eight chunks after each other are a cell, wherever they were."""
    cells = len(fine) // 8
    coords = np.zeros((cells, 3), np.int64)
    coords[:, 0] = np.arange(cells)
    _braid.downsample_cells(
        fine,
        coords,
        fine_size=(cells * 2 * _EDGE, 2 * _EDGE, 2 * _EDGE),
        fine_chunk=(_EDGE,) * 3,
        coarse_chunk=(_EDGE,) * 3,
        slots=(2, 2, 2),
        factors=(2, 2, 2),
    )


def _gzip(chunks: ChunkBatch, level: int = GZIP_LEVEL) -> int:
    return len(gzip_all(chunks.data, chunks.start, level)[0])


def _zlib(chunks: ChunkBatch) -> int:
    return sum(len(zlib.compress(chunk, GZIP_LEVEL, _WRAPPED)) for _, chunk in chunks)


def _sample(encoded: ChunkBatch) -> ChunkBatch:
    return ChunkBatch.of(list(encoded)[:: max(1, len(encoded) // _SAMPLE)])


def _sizes(sample: ChunkBatch) -> dict[str, float]:
    """Mean bytes per chunk."""
    return {
        "plain_bytes": sample.size / len(sample),
        "gzip_bytes": _gzip(sample) / len(sample),
        "zlib_bytes": _zlib(sample) / len(sample),
    }
