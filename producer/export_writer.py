"""Writer of export files as DVID's `export-shards` makes them: Arrow and CSV, all dialects.

For synthetic data only (demo, tests, benchmarks). Format: DVID's
`datatype/labelmap/ExportShards.md`; the dialects are those of existing exports.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import pyarrow as pa
import zstandard

from _braid import encode_block
from braid.precomputed import morton
from braid.precomputed.volume_spec import ScaleSpec
from braid.transcode.block_assignment import BLOCK_VOXELS
from braid.typing import UInt64Array, Vec3

SCHEMA = pa.schema(
    [
        pa.field("chunk_x", pa.int32(), nullable=False),
        pa.field("chunk_y", pa.int32(), nullable=False),
        pa.field("chunk_z", pa.int32(), nullable=False),
        pa.field("labels", pa.list_(pa.uint64()), nullable=False),
        pa.field("supervoxels", pa.list_(pa.uint64()), nullable=False),
        pa.field("dvid_compressed_block", pa.binary(), nullable=False),
        pa.field("uncompressed_size", pa.uint32(), nullable=False),
    ]
)

_CURRENT = "x,y,z,offset,size,batch_idx"
# Go's zstd leaves the content size out of frames of fewer bytes.
_SIZED_FRAME_BYTES = 256


class Dialect(StrEnum):
    """Form of the CSV index of an Arrow file."""

    CURRENT = "current"  # x,y,z,offset,size,batch_idx after "# schema_size=N"
    SIZE_ZERO = "size-zero"  # the same, N = 0, the first range begins with the schema
    OLD = "old"  # x,y,z,rec
    MORTON = "morton"  # x,y,z,rec,morton
    SPLIT = "split"  # old, and x,y,z,rec,offset,size in NAME-offsets.csv
    OFFSETS_ONLY = "offsets-only"  # only NAME-offsets.csv
    MARCH_2026 = "march-2026"  # x,y,z,rec,batch_offset,batch_idx, and NAME-offsets.csv


Ipc = Literal["stream", "file"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of an export: a block and its labels.

    Attributes:
        coords: block coordinates x, y, z.
        frame: the block, zstd-compressed.
        uncompressed_size: bytes before zstd.
        supervoxels: uint64 (n,), the label table of the block.
        labels: uint64 (n,), the label of each supervoxel.
    """

    coords: Vec3
    frame: bytes
    uncompressed_size: int
    supervoxels: UInt64Array
    labels: UInt64Array


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """Options of an export: index dialect, Arrow format, rows per record batch."""

    dialect: Dialect = Dialect.CURRENT
    ipc: Ipc = "stream"
    batch_rows: int = 1


@dataclass(slots=True)
class _Index:
    """Index of the rows written so far."""

    schema_bytes: int = 0
    rows: list[tuple[Vec3, int, int, int]] = field(default_factory=list)

    def lines(self, columns: str) -> Iterator[str]:
        yield columns
        names = columns.split(",")
        for rec, ((x, y, z), offset, size, batch_idx) in enumerate(self.rows):
            values = {
                "x": x,
                "y": y,
                "z": z,
                "rec": rec,
                "offset": offset,
                "batch_offset": offset,
                "size": size,
                "batch_idx": batch_idx,
                "morton": _plain_morton((x, y, z)),
            }
            yield ",".join(str(values[name]) for name in names)


def make_row(
    coords: Vec3, supervoxels: UInt64Array, labels_of: Callable[[UInt64Array], UInt64Array]
) -> Row:
    """Make the row of a block.

    Args:
        coords: block coordinates x, y, z.
        supervoxels: uint64 (64, 64, 64), ZYX.
        labels_of: maps supervoxels to labels, array to array.
    """
    block = bytes(encode_block(np.ascontiguousarray(supervoxels)))
    table = np.frombuffer(block, "<u8", int.from_bytes(block[12:16], "little"), 16)
    return Row(coords, compress(block), len(block), table, labels_of(table))


def compress(block: bytes) -> bytes:
    """Compress to a zstd frame as DVID does: with checksum, small ones without content size."""
    sized = len(block) >= _SIZED_FRAME_BYTES
    compressor = zstandard.ZstdCompressor(level=3, write_checksum=True, write_content_size=sized)
    return compressor.compress(block)


def write_file(folder: Path, name: str, rows: Iterable[Row], form: ExportFormat) -> Path:
    """Write `name`.arrow and its index into `folder`; returns the Arrow file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.arrow"
    with path.open("wb") as out:
        index = _write_arrow(out, rows, form)
    _write_csv(folder / name, index, form.dialect)
    return path


def file_edge(scale: ScaleSpec) -> int:
    """Edge in chunks of the extent of an export file: the largest of the shard's box."""
    bits = scale.sharding.preshift_bits + scale.sharding.minishard_bits
    inside = morton.bit_axes(scale.grid)[:bits]
    return int(1 << max((inside.count(axis) for axis in range(3)), default=0))


def file_name(extent: Vec3, edge: int) -> str:
    """Name of the file of an extent: its first voxel."""
    return "_".join(str(c * edge * BLOCK_VOXELS) for c in extent)


def _write_arrow(out: BinaryIO, rows: Iterable[Row], form: ExportFormat) -> _Index:
    sink = pa.PythonFile(out, mode="w")
    start = {"stream": pa.ipc.new_stream, "file": pa.ipc.new_file}[form.ipc]
    index = _Index()
    with start(sink, SCHEMA) as writer:
        index.schema_bytes = _schema_bytes(form.ipc)
        offset = index.schema_bytes
        for batch in _batched(rows, form.batch_rows):
            writer.write_batch(_record_batch(batch))
            end = sink.tell()
            index.rows += [(r.coords, offset, end - offset, i) for i, r in enumerate(batch)]
            offset = end
    return index


def _schema_bytes(ipc: Ipc) -> int:
    """Bytes before the first record batch; the file format begins with 8 bytes of magic."""
    return len(SCHEMA.serialize()) + (8 if ipc == "file" else 0)


def _record_batch(rows: list[Row]) -> pa.RecordBatch:
    coords = np.array([r.coords for r in rows], np.int32).reshape(-1, 3)
    return pa.RecordBatch.from_arrays(
        [
            *(pa.array(np.ascontiguousarray(coords[:, axis])) for axis in range(3)),
            _lists([r.labels for r in rows], SCHEMA.field("labels").type),
            _lists([r.supervoxels for r in rows], SCHEMA.field("supervoxels").type),
            pa.array([r.frame for r in rows], pa.binary()),
            pa.array([r.uncompressed_size for r in rows], pa.uint32()),
        ],
        schema=SCHEMA,
    )


def _lists(values: list[UInt64Array], kind: pa.DataType) -> pa.Array:
    ends = np.cumsum([0, *(len(v) for v in values)], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(np.concatenate(values)), type=kind)


def _batched(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    remaining = iter(rows)
    while batch := list(itertools.islice(remaining, size)):
        yield batch


def _write_csv(stem: Path, index: _Index, dialect: Dialect) -> None:
    plain, offsets = stem.with_name(f"{stem.name}.csv"), stem.with_name(f"{stem.name}-offsets.csv")
    comment = f"# schema_size={index.schema_bytes}"
    match dialect:
        case Dialect.CURRENT:
            _write(plain, [comment, *index.lines("x,y,z,offset,size,batch_idx")])
        case Dialect.SIZE_ZERO:
            _write(
                plain, ["# schema_size=0", *_widened(index).lines("x,y,z,offset,size,batch_idx")]
            )
        case Dialect.OLD:
            _write(plain, index.lines("x,y,z,rec"))
        case Dialect.MORTON:
            _write(plain, index.lines("x,y,z,rec,morton"))
        case Dialect.SPLIT:
            _write(plain, index.lines("x,y,z,rec"))
            _write(offsets, [comment, *index.lines("x,y,z,rec,offset,size")])
        case Dialect.OFFSETS_ONLY:
            _write(offsets, [comment, *index.lines("x,y,z,rec,offset,size")])
        case Dialect.MARCH_2026:
            _write(plain, index.lines("x,y,z,rec,batch_offset,batch_idx"))
            _write(offsets, [comment, *index.lines("x,y,z,rec,offset,size,batch_idx")])


def _widened(index: _Index) -> _Index:
    """Index whose first range begins at byte 0, as DVID records it with Go's lazy writer."""
    first = index.schema_bytes
    rows = [
        (coords, 0, size + first, i) if offset == first else (coords, offset, size, i)
        for coords, offset, size, i in index.rows
    ]
    return _Index(0, rows)


def _write(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def _plain_morton(coords: Vec3) -> int:
    bits = max(c.bit_length() for c in coords)
    return sum(
        (c >> bit & 1) << (3 * bit + axis) for axis, c in enumerate(coords) for bit in range(bits)
    )


def blocks_of(size: Vec3) -> Vec3:
    """Blocks per axis of a volume of this size in voxels."""
    x, y, z = (math.ceil(s / BLOCK_VOXELS) for s in size)
    return x, y, z
