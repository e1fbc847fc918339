"""Arrow shards of a DVID export, chunk by chunk or many rows at once.

`ShardReader` holds the whole file, `ShardRangeReader` reads byte ranges; otherwise they are the
same. Index dialects and damage: see `shard_index` and `scan`.
"""

import os
from enum import StrEnum
from functools import cached_property
from operator import index as as_integer
from types import TracebackType
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from braid.decompressor import DVIDDecompressor
from braid.exceptions import (
    ChunkNotFoundError,
    DecompressionError,
    InvalidCoordinateError,
    InvalidShardFormatError,
    SourceNotFoundError,
)
from braid.record_batches import Rows, check_batch, decode_rows
from braid.scan import check_end, read_preamble, scan_offsets
from braid.shard_index import Listing, ShardIndex, parse_listing, write_index
from braid.source import (
    ByteSource,
    BytesSource,
    FileSource,
    merge_ranges,
    open_source,
    read_exactly,
    source_name,
)

__all__ = [
    "LabelType",
    "Rows",
    "ShardIndex",
    "ShardRangeReader",
    "ShardReader",
    "scan_offsets",
    "write_index",
]

Triple = tuple[int, int, int]
Location: TypeAlias = str | os.PathLike[str] | ByteSource
Numbers = npt.NDArray[np.int64]


class LabelType(StrEnum):
    """Which labels a chunk is read with."""

    LABELS = "labels"
    SUPERVOXELS = "supervoxels"


class ShardRangeReader:
    """Reads rows of an Arrow shard by byte range.

    Args:
        arrow: path, gs:// URL or source of the .arrow file (stream or file format).
        csv: its index; None looks beside a path, and does without where there is none.
        offsets: the companion with byte offsets of an old index; None looks beside a path.

    An export without byte offsets is scanned once, when the reader is made.

    Raises:
        InvalidShardFormatError: the file or its index is damaged, or they disagree.
        SourceNotFoundError: a file that was named is not there.
    """

    def __init__(
        self, arrow: Location, csv: Location | None = None, offsets: Location | None = None
    ) -> None:
        self._source = self._open(arrow)
        self._preamble = read_preamble(self._source)
        self.index = self._load_index(_listings(arrow, csv, offsets))

    @property
    def name(self) -> str:
        """What errors call the shard."""
        return source_name(self._source)

    @property
    def requests(self) -> int:
        """Reads from the Arrow file so far."""
        return int(getattr(self._source, "requests", 0))

    @property
    def chunk_count(self) -> int:
        """Chunks in the shard."""
        return len(self.index)

    @property
    def available_chunks(self) -> list[Triple]:
        """Chunk coordinates (x, y, z) in stream order."""
        return list(self._rows_by_chunk)

    @property
    def is_empty(self) -> bool:
        """Whether the shard holds no chunk."""
        return len(self.index) == 0

    def __len__(self) -> int:
        return self.chunk_count

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, chunks={self.chunk_count})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, if the reader opened one."""
        if isinstance(self._source, FileSource):
            self._source.close()

    def has_chunk(self, x: int, y: int, z: int) -> bool:
        """Whether the shard holds this chunk."""
        return (x, y, z) in self._rows_by_chunk

    def get_chunk_info(self, x: int, y: int, z: int) -> dict[str, Any]:
        """Counts and sizes of a chunk, without decoding it.

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
        """A chunk as exported: the zstd frame and its two lists.

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
        chunk_shape: Triple = (64, 64, 64),
    ) -> npt.NDArray[np.uint64]:
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
            InvalidCoordinateError: a coordinate is negative or no integer.
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
            raise DecompressionError(f"{self._place(row)}: {error}") from None

    def read_rows(self, rows: npt.ArrayLike) -> Rows:
        """Read rows in the order asked, with as few requests as their places allow.

        Args:
            rows: (k,) positions in `index`.

        Raises:
            InvalidShardFormatError: a row is damaged, or is not the chunk that the index names.
        """
        wanted = np.atleast_1d(np.asarray(rows, np.int64))
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(self.index):
            raise IndexError(f"{self.name} has rows 0..{len(self.index) - 1}")
        batches, take = self._batches_of(wanted)
        messages = self._read_batches(batches)
        decoded = self._decode(batches, messages, take)
        self._check_coords(decoded, wanted)
        return decoded

    def _open(self, arrow: Location) -> ByteSource:
        return open_source(arrow)

    def _load_index(self, listings: list[Listing]) -> ShardIndex:
        indices = [listing.index() for listing in listings]
        found = next((index for index in indices if index is not None), None)
        if found is None:
            index = scan_offsets(self._source)
        else:
            index = _from_schema_end(found, self._preamble.end, self.name)
            check_end(self._source, self._preamble, index.end)
        for listing in listings:
            listing.check_agrees(index, self.name)
        return index

    @cached_property
    def _rows_by_chunk(self) -> dict[Triple, int]:
        return {(x, y, z): row for row, (x, y, z) in enumerate(self.index.coords.tolist())}

    def _read_one(self, x: int, y: int, z: int) -> tuple[int, Rows]:
        row = self._rows_by_chunk.get((x, y, z))
        if row is None:
            raise ChunkNotFoundError(f"{self.name}: no chunk ({x}, {y}, {z})")
        return row, self.read_rows([row])

    def _place(self, row: int) -> str:
        return f"{self.name}: row {row}, chunk {tuple(self.index.coords[row].tolist())}"

    def _batches_of(self, wanted: Numbers) -> tuple[Numbers, Numbers | None]:
        """Batches to read, in the order first asked for, and which of their rows are wanted."""
        distinct, first, inverse = np.unique(
            self.index.batch[wanted], return_index=True, return_inverse=True
        )
        order = np.argsort(first)
        batches = distinct[order]
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        lengths = self.index.batch_lengths[batches]
        take = (np.cumsum(lengths) - lengths)[rank[inverse]] + self.index.batch_row[wanted]
        whole = len(take) == lengths.sum() and bool((take == np.arange(len(take))).all())
        return batches, None if whole else take

    def _read_batches(self, batches: Numbers) -> list[memoryview]:
        """Whole messages; neighbours in the file share a request."""
        firsts = self.index.first_rows[batches]
        starts = self.index.offset[firsts].astype(np.int64)
        ends = starts + self.index.size[firsts].astype(np.int64)
        begins, stops, group = merge_ranges(starts, ends)
        read = [
            read_exactly(self._source, begin, stop - begin)
            for begin, stop in zip(begins.tolist(), stops.tolist(), strict=True)
        ]
        shift = starts - begins[group]
        sizes = ends - starts
        return [
            read[g][s : s + n]
            for g, s, n in zip(group.tolist(), shift.tolist(), sizes.tolist(), strict=True)
        ]

    def _decode(self, batches: Numbers, messages: list[memoryview], take: Numbers | None) -> Rows:
        lengths = self.index.batch_lengths[batches].tolist()
        for batch, message, rows in zip(batches.tolist(), messages, lengths, strict=True):
            self._check_message(batch, message, rows)
        try:
            return decode_rows(self._preamble.schema, messages, take)
        except InvalidShardFormatError:
            self._name_damaged(batches, messages)
            raise

    def _check_message(self, batch: int, message: memoryview, rows: int) -> None:
        try:
            found = check_batch(message)
        except InvalidShardFormatError as error:
            place = self._place(int(self.index.first_rows[batch]))
            raise InvalidShardFormatError(f"{place}: {error}") from None
        if found.rows != rows:
            raise InvalidShardFormatError(
                f"{self._place(int(self.index.first_rows[batch]))}: the index lists {rows} rows of "
                f"a batch that has {found.rows}"
            )

    def _name_damaged(self, batches: Numbers, messages: list[memoryview]) -> None:
        """Decode batch by batch, so that the error names the one that is damaged."""
        for batch, message in zip(batches.tolist(), messages, strict=True):
            try:
                decode_rows(self._preamble.schema, [message])
            except InvalidShardFormatError as error:
                place = self._place(int(self.index.first_rows[batch]))
                raise InvalidShardFormatError(f"{place}: {error}") from None

    def _check_coords(self, decoded: Rows, wanted: Numbers) -> None:
        differ = (decoded.coords != self.index.coords[wanted]).any(axis=1)
        if differ.any():
            at = int(differ.argmax())
            raise InvalidShardFormatError(
                f"{self._place(int(wanted[at]))}: the stream holds chunk "
                f"{tuple(decoded.coords[at].tolist())} there, so index and stream disagree. "
                "Re-export into an empty folder"
            )


class ShardReader(ShardRangeReader):
    """The same with the whole Arrow file in memory: one request, then no waiting."""

    def _open(self, arrow: Location) -> ByteSource:
        source = open_source(arrow)
        if isinstance(source, BytesSource):
            return source
        data = read_exactly(source, 0, source.size)
        if isinstance(source, FileSource):
            source.close()
        return BytesSource(data, source_name(source))


def _listings(arrow: Location, csv: Location | None, offsets: Location | None) -> list[Listing]:
    """The index that was named or lies beside the Arrow file, and its companion where needed."""
    stem = _stem(arrow if csv is None else csv)
    main = _beside(stem, ".csv") if csv is None else open_source(csv)
    found = [] if main is None else [_listing(main)]
    if found and found[0].has_ranges:
        return found  # a companion could only be older
    companion = _beside(stem, "-offsets.csv") if offsets is None else open_source(offsets)
    return found if companion is None else [*found, _listing(companion)]


def _stem(where: Location) -> str | None:
    if not isinstance(where, str | os.PathLike):
        return None
    return os.path.splitext(os.fspath(where))[0]  # noqa: PTH122 (may be a gs:// URL)


def _beside(stem: str | None, ending: str) -> ByteSource | None:
    if stem is None:
        return None
    try:
        return open_source(stem + ending)
    except SourceNotFoundError:
        return None


def _listing(source: ByteSource) -> Listing:
    data = read_exactly(source, 0, source.size)
    if isinstance(source, FileSource):
        source.close()
    return parse_listing(data, source_name(source))


def _from_schema_end(index: ShardIndex, end: int, name: str) -> ShardIndex:
    """The index with its first range beginning behind the schema message.

    DVID's own files may count the schema to the first row (offset 0, size covering both).
    """
    if not len(index):
        return ShardIndex(index.coords, index.offset, index.size, index.batch_row, end)
    begin, size = int(index.offset[0]), int(index.size[0])
    if begin > end or begin + size <= end:
        raise InvalidShardFormatError(
            f"{name}: the index begins at byte {begin}, the first batch at {end}: the index is not "
            "this file's. Re-export into an empty folder"
        )
    first = np.arange(len(index)) < index.batch_lengths[0]
    offset = np.where(first, np.uint64(end), index.offset)
    shorter = np.where(first, np.uint64(begin + size - end), index.size)
    return ShardIndex(index.coords, offset, shorter, index.batch_row, end)


def _checked(x: int, y: int, z: int) -> Triple:
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
