"""Readers of Arrow shards of a DVID export, chunk by chunk or many rows at once.

`ShardReader` holds the whole file, `ShardRangeReader` reads byte ranges; otherwise they are the
same. Index dialects and damage: see `dvid.csv_index` and `dvid.stream_scan`.
"""

from enum import StrEnum
from functools import cached_property
from operator import index as as_integer
from typing import Any, ClassVar, Final, Self

import pyarrow as pa

from braid.decompressor import DVIDDecompressor
from braid.dvid.csv_index import ShardIndex, write_index
from braid.dvid.index_loader import Location, find_listings, load_index
from braid.dvid.row_reader import RowReader
from braid.dvid.rows import COLUMNS, Rows
from braid.dvid.stream_scan import read_preamble, scan_offsets
from braid.exceptions import ChunkNotFoundError, DecompressionError, InvalidCoordinateError
from braid.io.byte_source import (
    ByteSource,
    BytesSource,
    FileSource,
    open_source,
    read_exactly,
    source_name,
)
from braid.typing import UInt64Array, Vec3

__all__ = [
    "LabelType",
    "Rows",
    "ShardIndex",
    "ShardRangeReader",
    "ShardReader",
    "scan_offsets",
    "write_index",
]


_ROWS: Final = 64  # read at once where labels are looked for


class LabelType(StrEnum):
    """Labels that a chunk is read with."""

    LABELS = "labels"
    SUPERVOXELS = "supervoxels"


class ShardRangeReader(RowReader):
    """Reads rows of an Arrow shard by byte range.

    Attributes:
        EXPECTED_SCHEMA: columns that DVID writes; nullable ones are read too.
        arrow_path: the Arrow file, as it was named.
        csv_path: its index; None where the stream was scanned.

    Args:
        arrow: path, gs:// URL or source of the .arrow file (stream or file format).
        csv: its index; None searches next to a path, and scans the stream if there is none.
        offsets: companion with byte offsets of an old index; None searches next to a path.

    An export without byte offsets is scanned once, when the reader is made.

    Raises:
        InvalidShardFormatError: the file or its index is damaged, or they disagree.
        SourceNotFoundError: a named file does not exist.
    """

    EXPECTED_SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [column.with_nullable(False) for column in COLUMNS]
    )

    def __init__(
        self, arrow: Location, csv: Location | None = None, offsets: Location | None = None
    ) -> None:
        source = self._open(arrow)
        preamble = read_preamble(source)
        listings = find_listings(arrow, csv, offsets)
        super().__init__(source, preamble, load_index(source, preamble, listings))
        self.arrow_path = self.name
        self.csv_path = listings[0].name if listings else None

    @property
    def chunk_count(self) -> int:
        """Chunks in the shard."""
        return len(self.index)

    @property
    def available_chunks(self) -> list[Vec3]:
        """Chunk coordinates (x, y, z) in stream order."""
        return list(self._rows_by_chunk)

    @cached_property
    def is_empty(self) -> bool:
        """Whether the shard holds no label but 0; reads rows until one does."""
        numbers = range(len(self.index))
        parts = (numbers[first : first + _ROWS] for first in numbers[::_ROWS])
        return not any(self.read_rows(part).labels.any() for part in parts)

    def __len__(self) -> int:
        return self.chunk_count

    def __repr__(self) -> str:
        paths = f"arrow_path={self.arrow_path!r}, csv_path={self.csv_path!r}"
        return f"{type(self).__name__}({paths}, chunks={self.chunk_count})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, if the reader opened one."""
        if isinstance(self._source, FileSource):
            self._source.close()

    def has_chunk(self, x: int, y: int, z: int) -> bool:
        """Whether the shard holds this chunk."""
        return (x, y, z) in self._rows_by_chunk

    def get_chunk_info(self, x: int, y: int, z: int) -> dict[str, Any]:
        """Read counts and sizes of a chunk, without decoding it.

        Raises:
            ChunkNotFoundError: the shard does not hold it.
        """
        row, rows = self._read_one(x, y, z)
        return {
            **_coordinates(rows),
            "record_index": row,
            "labels_count": len(rows.labels),
            "supervoxels_count": len(rows.supervoxels),
            "compressed_size": len(rows.blocks),
            "uncompressed_size": int(rows.uncompressed_size[0]),
        }

    def read_chunk_raw(self, x: int, y: int, z: int) -> dict[str, Any]:
        """Read a chunk as exported: the zstd frame and its two lists.

        Raises:
            ChunkNotFoundError: the shard does not hold it.
        """
        _, rows = self._read_one(x, y, z)
        return {
            **_coordinates(rows),
            "labels": rows.labels.tolist(),
            "supervoxels": rows.supervoxels.tolist(),
            "compressed_data": rows.blocks.tobytes(),
            "uncompressed_size": int(rows.uncompressed_size[0]),
        }

    def read_chunk(
        self,
        x: int,
        y: int,
        z: int,
        label_type: LabelType = LabelType.LABELS,
        chunk_shape: Vec3 = (64, 64, 64),
    ) -> UInt64Array:
        """Decode a chunk.

        Args:
            x: chunk coordinate.
            y: chunk coordinate.
            z: chunk coordinate.
            label_type: agglomerated labels or supervoxels.
            chunk_shape: voxels (z, y, x).

        Returns:
            `chunk_shape` uint64, ZYX.

        Raises:
            InvalidCoordinateError: a coordinate is negative or not an integer.
            ChunkNotFoundError: the shard does not hold the chunk.
            DecompressionError: its bytes do not decode.
        """
        kind = LabelType(label_type)
        row, rows = self._read_one(*_checked(x, y, z))
        mapped = kind is LabelType.LABELS
        try:
            return DVIDDecompressor().decompress_block(
                rows.blocks.tobytes(),
                agglo_labels=rows.labels if mapped else None,
                supervoxels=rows.supervoxels if mapped else None,
                block_shape=chunk_shape,
            )
        except DecompressionError as error:
            raise DecompressionError(f"{self.describe_row(row)}: {error}") from None

    def _open(self, arrow: Location) -> ByteSource:
        return open_source(arrow)

    @cached_property
    def _rows_by_chunk(self) -> dict[Vec3, int]:
        return {(x, y, z): row for row, (x, y, z) in enumerate(self.index.coords.tolist())}

    def _read_one(self, x: int, y: int, z: int) -> tuple[int, Rows]:
        row = self._rows_by_chunk.get((x, y, z))
        if row is None:
            raise ChunkNotFoundError(f"{self.name}: no chunk ({x}, {y}, {z})")
        return row, self.read_rows([row])


class ShardReader(ShardRangeReader):
    """`ShardRangeReader` with the whole Arrow file in memory, read in one request."""

    def _open(self, arrow: Location) -> ByteSource:
        source = open_source(arrow)
        if isinstance(source, BytesSource):
            return source
        data = read_exactly(source, 0, source.size)
        if isinstance(source, FileSource):
            source.close()
        return BytesSource(data, source_name(source))


def _checked(x: int, y: int, z: int) -> Vec3:
    try:
        chunk = as_integer(x), as_integer(y), as_integer(z)
    except TypeError:
        raise InvalidCoordinateError(f"chunk ({x}, {y}, {z}): coordinates are integers") from None
    if min(chunk) < 0:
        raise InvalidCoordinateError(f"chunk {chunk}: coordinates are not negative")
    return chunk


def _coordinates(rows: Rows) -> dict[str, Any]:
    x, y, z = rows.coords[0].tolist()
    return {"coordinates": (x, y, z), "chunk_x": x, "chunk_y": y, "chunk_z": z}
