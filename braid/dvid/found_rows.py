"""Rows that a scan of an Arrow stream finds: what a record batch's head tells, and all of them."""

from array import array
from typing import Final, NamedTuple

import numpy as np

from braid.dvid.csv_index import ShardIndex
from braid.dvid.packed_heads import PackedHeads
from braid.typing import BytesLike, Int32Array

__all__ = ["COORDINATES", "FoundRows", "ScannedBatch"]

COORDINATES: Final = 3
"""Columns x, y and z, the first of a row."""


class ScannedBatch(NamedTuple):
    """Record batch, as far as a scan reads it.

    Attributes:
        offset: first byte of its message.
        size: bytes of its message.
        head: bytes up to the last of the coordinates.
        columns: x, y and z as stored (i32).
    """

    offset: int
    size: int
    head: int
    rows: int
    columns: list[memoryview]

    @property
    def end(self) -> int:
        """Byte past its last."""
        return self.offset + self.size

    @property
    def coords(self) -> Int32Array:
        """(rows, 3) chunk coordinates x, y, z of its rows."""
        return np.stack([np.frombuffer(column, "<i4") for column in self.columns], axis=1)


class FoundRows:
    """Rows found so far, packed: hostile files may hold millions of tiny record batches."""

    def __init__(self) -> None:
        self._offsets = array("Q")
        self._sizes = array("Q")
        self._lengths = array("q")
        self._columns = [bytearray() for _ in range(COORDINATES)]
        self._heads = PackedHeads()

    def add(self, batch: ScannedBatch, head: BytesLike = b"") -> None:
        """Add the rows of the next batch, and its head if that is to be kept."""
        if not batch.rows:
            return
        self._heads.add(head)
        self._offsets.append(batch.offset)
        self._sizes.append(batch.size)
        self._lengths.append(batch.rows)
        for column, part in zip(self._columns, batch.columns, strict=True):
            column.extend(part)

    def __len__(self) -> int:
        return len(self._columns[0]) // 4

    def index(self, schema_size: int) -> ShardIndex:
        """Index of the rows found so far.

        Args:
            schema_size: bytes before the first batch.
        """
        lengths = np.array(self._lengths, np.int64)
        firsts = np.cumsum(lengths) - lengths
        within = np.arange(lengths.sum()) - np.repeat(firsts, lengths)
        columns = [np.frombuffer(column, "<i4") for column in self._columns]
        return ShardIndex(
            coords=np.stack(columns, axis=1).astype(np.int32),
            offset=np.repeat(np.array(self._offsets, np.uint64), lengths),
            size=np.repeat(np.array(self._sizes, np.uint64), lengths),
            batch_row=within.astype(np.uint32),
            schema_size=schema_size,
            heads=self._heads,
        )
