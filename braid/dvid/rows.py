"""Rows of an export: their columns, and many of them as arrays.

Columns of a DVID export, in order: `chunk_x, chunk_y, chunk_z: int32`, `labels: list<uint64>`,
`supervoxels: list<uint64>`, `dvid_compressed_block: binary`, `uncompressed_size: uint32`; nullable
or not. Format: DVID `datatype/labelmap/ExportShards.md`.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from braid.exceptions import InvalidShardFormatError, one_line
from braid.typing import Int32Array, Int64Array, UInt8Array, UInt32Array, UInt64Array

__all__ = ["COLUMNS", "Rows", "read_schema"]

COLUMNS = pa.schema(
    [
        ("chunk_x", pa.int32()),
        ("chunk_y", pa.int32()),
        ("chunk_z", pa.int32()),
        ("labels", pa.list_(pa.uint64())),
        ("supervoxels", pa.list_(pa.uint64())),
        ("dvid_compressed_block", pa.binary()),
        ("uncompressed_size", pa.uint32()),
    ]
)


@dataclass(frozen=True)
class Rows:
    """k rows as contiguous arrays; row i's part of an array is `start[i]:start[i + 1]`.

    Attributes:
        coords: (k, 3) int32, chunk coordinates xyz.
        blocks: (bytes,) uint8, zstd frames one after another.
        block_start: (k + 1,) int64 into blocks.
        uncompressed_size: (k,) uint32, bytes of each block before zstd. Not to be trusted.
        labels: (entries,) uint64, agglomerated labels.
        label_start: (k + 1,) int64 into labels.
        supervoxels: (entries,) uint64, label i is that of supervoxel i.
        supervoxel_start: (k + 1,) int64 into supervoxels.
    """

    coords: Int32Array
    blocks: UInt8Array
    block_start: Int64Array
    uncompressed_size: UInt32Array
    labels: UInt64Array
    label_start: Int64Array
    supervoxels: UInt64Array
    supervoxel_start: Int64Array

    def __len__(self) -> int:
        return len(self.coords)

    def take(self, rows: Int64Array) -> "Rows":
        """Copy of some rows, in the order given.

        Args:
            rows: (k,) positions; not none.
        """
        blocks, block_start = _taken(self.blocks, self.block_start, rows)
        labels, label_start = _taken(self.labels, self.label_start, rows)
        supervoxels, supervoxel_start = _taken(self.supervoxels, self.supervoxel_start, rows)
        return Rows(
            coords=self.coords[rows],
            blocks=blocks,
            block_start=block_start,
            uncompressed_size=self.uncompressed_size[rows],
            labels=labels,
            label_start=label_start,
            supervoxels=supervoxels,
            supervoxel_start=supervoxel_start,
        )

    def block(self, row: int) -> UInt8Array:
        """Zstd frame of one row."""
        return self.blocks[self.block_start[row] : self.block_start[row + 1]]

    def label_list(self, row: int) -> UInt64Array:
        """Agglomerated labels of one row."""
        return self.labels[self.label_start[row] : self.label_start[row + 1]]

    def supervoxel_list(self, row: int) -> UInt64Array:
        """Supervoxels of one row."""
        return self.supervoxels[self.supervoxel_start[row] : self.supervoxel_start[row + 1]]


def _taken(
    values: npt.NDArray[Any], start: Int64Array, rows: Int64Array
) -> tuple[npt.NDArray[Any], Int64Array]:
    """Parts of an array, one after another, and their starts."""
    begins, ends = start[rows], start[rows + 1]
    parts = [values[a:b] for a, b in zip(begins.tolist(), ends.tolist(), strict=True)]
    return np.concatenate(parts), np.concatenate([[0], np.cumsum(ends - begins)])


@lru_cache(maxsize=4)
def read_schema(message: bytes) -> pa.Schema:
    """Read a whole schema message and check names, types and order of its columns; cached.

    Raises:
        InvalidShardFormatError: not a schema, or not that of a DVID export.
    """
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(message))
        _check_columns(schema)
    except (pa.ArrowException, OSError, ValueError) as error:  # a name may not be UTF-8
        raise InvalidShardFormatError(f"unreadable Arrow schema ({one_line(error)})") from None
    return schema


def _check_columns(schema: pa.Schema) -> None:
    if len(schema) < len(COLUMNS):
        raise InvalidShardFormatError(f"{len(schema)} columns, expected {', '.join(COLUMNS.names)}")
    for number, wanted in enumerate(COLUMNS):
        _check_field(number, schema.field(number), wanted)


def _check_field(number: int, found: pa.Field, wanted: pa.Field) -> None:
    same = found.type == wanted.type
    if pa.types.is_list(wanted.type) and pa.types.is_list(found.type):
        same = found.type.value_type == wanted.type.value_type  # the item's name is free
    if found.name != wanted.name or not same:
        shown = ascii(f"{found.name}: {found.type}")[1:-1][:120]  # names may be any bytes
        raise InvalidShardFormatError(
            f"column {number} is {shown}, expected {wanted.name}: {wanted.type}"
        )
