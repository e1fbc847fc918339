"""Record-batch messages become `Rows`, checked so that no offset can lead outside its buffer.

Columns of a DVID export, in order: `chunk_x, chunk_y, chunk_z: int32`, `labels: list<uint64>`,
`supervoxels: list<uint64>`, `dvid_compressed_block: binary`, `uncompressed_size: uint32`; nullable
or not. Format: DVID `datatype/labelmap/ExportShards.md`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from braid.arrow_message import PREFIX_BYTES, RECORD_BATCH, Message, metadata_length, parse_metadata
from braid.exceptions import InvalidShardFormatError

__all__ = ["COLUMNS", "Rows", "check_batch", "decode_rows", "read_schema"]

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

    coords: npt.NDArray[np.int32]
    blocks: npt.NDArray[np.uint8]
    block_start: npt.NDArray[np.int64]
    uncompressed_size: npt.NDArray[np.uint32]
    labels: npt.NDArray[np.uint64]
    label_start: npt.NDArray[np.int64]
    supervoxels: npt.NDArray[np.uint64]
    supervoxel_start: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.coords)

    def block(self, row: int) -> npt.NDArray[np.uint8]:
        """One row's zstd frame."""
        return self.blocks[self.block_start[row] : self.block_start[row + 1]]

    def label_list(self, row: int) -> npt.NDArray[np.uint64]:
        """One row's agglomerated labels."""
        return self.labels[self.label_start[row] : self.label_start[row + 1]]

    def supervoxel_list(self, row: int) -> npt.NDArray[np.uint64]:
        """One row's supervoxels."""
        return self.supervoxels[self.supervoxel_start[row] : self.supervoxel_start[row + 1]]


def read_schema(message: bytes | memoryview) -> pa.Schema:
    """Read a whole schema message and check names, types and order of its columns.

    Raises:
        InvalidShardFormatError: it is no schema, or not that of a DVID export.
    """
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(message))
        _check_columns(schema)
    except (pa.ArrowException, OSError, ValueError) as error:  # a name may be no UTF-8
        raise InvalidShardFormatError(f"unreadable Arrow schema ({_one_line(error)})") from None
    return schema


def check_batch(message: memoryview) -> Message:
    """Check that a byte range is exactly one plain record batch; returns its metadata.

    Raises:
        InvalidShardFormatError: it is anything else.
    """
    if len(message) < PREFIX_BYTES:
        raise InvalidShardFormatError(f"{len(message)} bytes are no Arrow message")
    body_at = PREFIX_BYTES + metadata_length(message)
    if body_at > len(message):
        raise InvalidShardFormatError(f"metadata of {body_at} bytes in a range of {len(message)}")
    found = parse_metadata(message[PREFIX_BYTES:body_at])
    if found.kind != RECORD_BATCH:
        raise InvalidShardFormatError("the range does not begin with a record batch")
    if body_at + found.body_bytes != len(message):
        raise InvalidShardFormatError(
            f"the batch has {body_at + found.body_bytes} bytes, its range {len(message)}"
        )
    if found.compressed:
        raise InvalidShardFormatError("Arrow body compression is not supported")
    return found


def decode_rows(
    schema: pa.Schema,
    messages: Sequence[memoryview],
    take: npt.NDArray[np.int64] | None = None,
) -> Rows:
    """Decode record batches that `check_batch` has passed.

    Args:
        schema: of the stream that they are from.
        messages: whole messages; not copied until their rows are joined.
        take: rows wanted, counted over all batches; None for all.

    Raises:
        InvalidShardFormatError: offsets lead outside their buffers, or something is null.
    """
    try:
        batches = [pa.ipc.read_record_batch(pa.py_buffer(m), schema) for m in messages]
        table = pa.Table.from_batches(batches, schema).select(range(len(COLUMNS)))
        # Concatenating follows offsets, so they are proved first.
        table.validate(full=True)
        if take is not None:
            table = table.take(pa.array(take))
        table = table.combine_chunks()
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise InvalidShardFormatError(f"damaged record batch ({_one_line(error)})") from None
    return _rows(table)


def _rows(table: pa.Table) -> Rows:
    columns = [_plain(table.column(i), name) for i, name in enumerate(COLUMNS.names)]
    x, y, z, labels, supervoxels, blocks, sizes = columns
    label_start, label_values = _lists(labels)
    supervoxel_start, supervoxel_values = _lists(supervoxels)
    block_start, block_bytes = _bytes(blocks)
    return Rows(
        coords=np.stack([c.to_numpy() for c in (x, y, z)], axis=1),
        blocks=block_bytes,
        block_start=block_start,
        uncompressed_size=sizes.to_numpy(),
        labels=label_values,
        label_start=label_start,
        supervoxels=supervoxel_values,
        supervoxel_start=supervoxel_start,
    )


def _plain(column: pa.ChunkedArray, name: str) -> pa.Array:
    """A column as one array without nulls."""
    if column.null_count:
        raise InvalidShardFormatError(f"column {name} holds nulls")
    if column.num_chunks > 1:
        raise InvalidShardFormatError(f"column {name} has over 2 GiB here; read fewer rows at once")
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _lists(column: pa.ListArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Starts and values of a list column."""
    ends = column.offsets.to_numpy().astype(np.int64)
    values = column.values[int(ends[0]) : int(ends[-1])]
    if values.null_count:
        raise InvalidShardFormatError("a list of labels holds nulls")
    return ends - ends[0], np.require(values.to_numpy(), requirements="A")


def _bytes(column: pa.BinaryArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Starts and content of a binary column."""
    _, offsets, data = column.buffers()
    if not len(column):
        return np.zeros(1, np.int64), np.zeros(0, np.uint8)
    every = np.frombuffer(offsets, np.int32)
    ends = every[column.offset : column.offset + len(column) + 1].astype(np.int64)
    content = np.frombuffer(data if data is not None else b"", np.uint8)
    return ends - ends[0], content[ends[0] : ends[-1]]


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
        shown = ascii(f"{found.name}: {found.type}")[1:-1][:120]  # names are anyone's bytes
        raise InvalidShardFormatError(
            f"column {number} is {shown}, expected {wanted.name}: {wanted.type}"
        )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160]
