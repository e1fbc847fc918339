"""CSV index of an Arrow shard: byte range of every row, in every dialect DVID has written.

Dialects (parsed by header names): `x,y,z,rec[,morton]`, `x,y,z,rec,offset,size`,
`x,y,z,offset,size,batch_idx` (current), `x,y,z,rec,batch_offset,batch_idx` and
`x,y,z,rec,offset,size,batch_idx`; an optional first line `# schema_size=N` is never trusted.
`offset,size` is the byte range of a record batch's IPC message, repeated for each of its rows.
"""

from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from typing import Final

import numpy as np

from braid.dvid.packed_heads import PackedHeads
from braid.exceptions import InvalidShardFormatError, one_line
from braid.typing import BoolArray, Int32Array, Int64Array, UInt32Array, UInt64Array

__all__ = [
    "HEADER_BYTES",
    "Listing",
    "ShardIndex",
    "check_unique",
    "has_ranges",
    "parse_listing",
    "write_index",
]


# 32,768 rows take about 1.3 MB; this only stops a file that is not an index from filling memory.
_MAX_CSV_BYTES = 1 << 26
HEADER_BYTES: Final = 64 << 10
"""Of an index, with its header, which is among the first lines."""

_CHUNK = ("x", "y", "z")
_COLUMNS = (*_CHUNK, "rec", "offset", "size", "batch_idx")
_OF_NUMBERS = b"0123456789+-, \t\r\n"


@dataclass(frozen=True)
class ShardIndex:
    """Byte range of every row, in stream order. Row numbers are positions in here.

    Attributes:
        coords: (n, 3) int32, chunk coordinates xyz.
        offset: (n,) uint64, first byte of the IPC message with the row's record batch.
        size: (n,) uint64, bytes of that message.
        batch_row: (n,) uint32, the row's position in its record batch.
        schema_size: bytes before the first batch.
        heads: of the record batches, as far as a scan has read and kept them.
    """

    coords: Int32Array
    offset: UInt64Array
    size: UInt64Array
    batch_row: UInt32Array
    schema_size: int
    heads: PackedHeads | None = None

    def __len__(self) -> int:
        return len(self.coords)

    @cached_property
    def batch(self) -> Int64Array:
        """(n,) number of each row's record batch, counted along the stream."""
        return np.cumsum(self.batch_row == 0) - 1

    @cached_property
    def first_rows(self) -> Int64Array:
        """(batches,) first row of each record batch."""
        return np.flatnonzero(self.batch_row == 0)

    @cached_property
    def batch_lengths(self) -> Int64Array:
        """(batches,) rows of each record batch."""
        return np.diff(self.first_rows, append=len(self))

    @property
    def end(self) -> int:
        """Byte past the last record batch."""
        return int(self.offset[-1] + self.size[-1]) if len(self) else self.schema_size


@dataclass(frozen=True)
class Listing:
    """Columns of one CSV file, rows sorted into stream order; absent columns are None."""

    name: str
    coords: Int32Array
    offset: Int64Array | None
    size: Int64Array | None
    batch_row: Int64Array | None

    @property
    def has_ranges(self) -> bool:
        """Whether this dialect has byte ranges."""
        return self.offset is not None and self.size is not None

    def index(self) -> ShardIndex | None:
        """Shard index, if this dialect has byte ranges.

        Raises:
            InvalidShardFormatError: ranges overlap, leave gaps, or record batches are not whole.
        """
        if self.offset is None or self.size is None:
            return None
        place = _place_in_batch(self.offset)
        _check_ranges(self.name, self.offset, self.size, place)
        if self.batch_row is not None:
            _refuse(self.name, self.batch_row != place, "batch_idx does not count up from 0")
        return ShardIndex(
            coords=self.coords,
            offset=self.offset.astype(np.uint64),
            size=self.size.astype(np.uint64),
            batch_row=place.astype(np.uint32),
            schema_size=int(self.offset[0]) if len(self.offset) else 0,
        )

    def check_agrees(self, index: ShardIndex, other: str) -> None:
        """Check that every row names the same chunk as the index made from `other`.

        Raises:
            InvalidShardFormatError: the two disagree.
        """
        if len(self.coords) != len(index):
            raise InvalidShardFormatError(
                f"{self.name} lists {len(self.coords)} rows, {other} holds {len(index)}"
            )
        _refuse(
            self.name,
            (self.coords != index.coords).any(axis=1),
            f"the chunk is not the one that {other} holds there",
        )


def parse_listing(data: bytes | memoryview, name: str) -> Listing:
    """Parse a CSV index of any dialect.

    Args:
        data: the file.
        name: of the file, for errors.

    Raises:
        InvalidShardFormatError: not such an index, or it lists a chunk twice.
    """
    numbers = _read_csv(data, name)
    chunks = np.stack([numbers[axis] for axis in _CHUNK], axis=1)
    order = _stream_order(numbers, len(chunks), name)
    coords = _coords(chunks, name)[order]
    check_unique(coords, name)
    offset = numbers.get("offset")
    return Listing(
        name=name,
        coords=coords,
        offset=None if offset is None else offset[order],
        size=numbers["size"][order] if offset is not None and "size" in numbers else None,
        batch_row=numbers["batch_idx"][order] if "batch_idx" in numbers else None,
    )


def has_ranges(head: bytes, name: str) -> bool:
    """Whether an index has byte ranges, by its header, which `head` contains.

    Raises:
        InvalidShardFormatError: not such an index.
    """
    header, _ = _header_and_rows(head)
    _check_header(header, name)
    return {"offset", "size"} <= set(header)


def write_index(index: ShardIndex) -> str:
    """Render the index as CSV in the current dialect."""
    out = StringIO()
    out.write(f"# schema_size={index.schema_size}\nx,y,z,offset,size,batch_idx\n")
    columns = (*index.coords.T, index.offset, index.size, index.batch_row)
    for row in zip(*(c.tolist() for c in columns), strict=True):
        out.write(f"{','.join(map(str, row))}\n")
    return out.getvalue()


def _read_csv(data: bytes | memoryview, name: str) -> dict[str, Int64Array]:
    """Columns that an index may have, by name; others are skipped."""
    if len(data) > _MAX_CSV_BYTES:
        raise _no_index(name, f"{len(data)} bytes is not a shard index")
    header, rows = _header_and_rows(data)
    _check_header(header, name)
    wanted = [column for column in header if column in _COLUMNS]
    _check_rows(rows, len(header), name)
    if not rows:
        return {column: np.zeros(0, np.int64) for column in wanted}
    places = [header.index(column) for column in wanted]
    try:
        table = np.loadtxt(rows, np.int64, comments=None, delimiter=",", usecols=places, ndmin=2)
    except ValueError as error:
        raise _no_index(name, f"not a CSV index ({one_line(error)})") from None
    return dict(zip(wanted, table.T, strict=True))


def _header_and_rows(data: bytes | memoryview) -> tuple[list[str], list[str]]:
    """Column names and the lines below them; comments above and blank lines are skipped."""
    lines = list(filter(str.strip, str(data, "utf-8-sig", "replace").split("\n")))
    first = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    header = lines[first].split(",") if first < len(lines) else []
    return [column.strip() for column in header], lines[first + 1 :]


def _check_header(header: list[str], name: str) -> None:
    if not set(_CHUNK) <= set(header) or len(set(header)) != len(header):
        raise _no_index(name, f"header {ascii(header)[:160]} is not a shard index's")


def _check_rows(rows: list[str], columns: int, name: str) -> None:
    """Refuse rows without a whole number for each column."""
    text = "\n".join(rows)
    if text.count(",") == len(rows) * (columns - 1) and not _odd(text):
        return
    for number, row in enumerate(rows):
        fields = row.count(",") + 1
        if fields != columns:
            why = f"{fields} fields, the header has {columns}"
        elif _odd(row):
            why = "not whole numbers"
        else:
            continue
        raise _no_index(name, f"row {number} ({ascii(row)[:80]}): {why}")


def _no_index(name: str, why: str) -> InvalidShardFormatError:
    return InvalidShardFormatError(
        f"{name}: {why}. Export this shard again, or take the file away: the Arrow file is then "
        "read whole to find its rows"
    )


def _odd(text: str) -> bytes:
    """Characters that cannot be part of a number."""
    return text.encode().translate(None, _OF_NUMBERS)


def _coords(chunks: Int64Array, name: str) -> Int32Array:
    coords = chunks.astype(np.int32)
    _refuse(name, (coords != chunks).any(axis=1), "a chunk coordinate is not an int32")
    return coords


def _stream_order(numbers: dict[str, Int64Array], count: int, name: str) -> Int64Array:
    """Order of rows in the stream: by record number, else by byte offset."""
    if "rec" in numbers:
        order: Int64Array = np.argsort(numbers["rec"], kind="stable")
        _refuse(name, numbers["rec"][order] != np.arange(count), "rec does not count up from 0")
        return order
    if "offset" in numbers:
        within = numbers.get("batch_idx", np.zeros(count, np.int64))
        return np.lexsort((within, numbers["offset"]))
    return np.arange(count)


def _place_in_batch(offset: Int64Array) -> Int64Array:
    """0, 1, 2… within each span of equal offsets."""
    rows = np.arange(len(offset))
    fresh = np.ones(len(offset), bool)
    fresh[1:] = offset[1:] != offset[:-1]
    return rows - np.maximum.accumulate(np.where(fresh, rows, 0)) if len(rows) else rows


def _check_ranges(name: str, offset: Int64Array, size: Int64Array, place: Int64Array) -> None:
    _refuse(name, (offset < 0) | (size <= 0), "offset or size is not a byte range")
    _refuse(name, size > np.iinfo(np.int64).max - offset, "offset + size is not a byte range")
    fits = np.ones(len(offset), bool)
    follows = offset[1:] == offset[:-1] + size[:-1]
    fits[1:] = np.where(place[1:] > 0, size[1:] == size[:-1], follows)
    _refuse(name, ~fits, "its range does not follow the one before")


def check_unique(coords: Int32Array, name: str) -> None:
    """Check that a shard holds each chunk once.

    Raises:
        InvalidShardFormatError: a chunk is in two rows.
    """
    order = np.lexsort(coords.T)
    ordered = coords[order]
    twice = np.flatnonzero((ordered[1:] == ordered[:-1]).all(axis=1))
    if len(twice):
        first, second = sorted(order[twice[0] : twice[0] + 2].tolist())
        raise InvalidShardFormatError(
            f"{name}: chunk {tuple(coords[first].tolist())} is there twice, in rows {first} and "
            f"{second}. Re-export into an empty folder"
        )


def _refuse(name: str, bad: BoolArray, why: str) -> None:
    if bad.any():
        raise _no_index(name, f"row {int(bad.argmax())}: {why}")
