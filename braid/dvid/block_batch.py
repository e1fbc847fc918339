"""Batch of DVID blocks: zstd frames of chosen rows become one buffer that the kernels take.

One call decompresses them all, outside the GIL: small calls from several threads would fight for
it. Sizes come from the file and are checked before anything is allocated.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import zstandard

import _braid
from braid.dvid.block import HEADER_BYTES, LabelMapping, largest_block_bytes
from braid.dvid.rows import Rows
from braid.exceptions import DecompressionError
from braid.native_symbols import libzstd
from braid.typing import Int64Array, UInt8Array, UInt64Array, Vec3

__all__ = [
    "BlockBatch",
    "DescribeRow",
    "RowPlace",
    "check_sizes",
    "decompress_blocks",
    "row_error",
]

RowSelector = Int64Array | slice
DescribeRow = Callable[[int], object]
"""Place of a row, such as a `RowPlace`; its text names the row in errors."""

_LEAST_BYTES = HEADER_BYTES + 8  # a block of one label
_MOST_BYTES = largest_block_bytes()


@dataclass(frozen=True, slots=True)
class RowPlace:
    """Place of a row in an export.

    Attributes:
        file: path or URL.
        row: number in the file.
        chunk: its block's coordinates x, y, z.
    """

    file: str
    row: int
    chunk: Vec3

    def __str__(self) -> str:
        return f"{self.file}: row {self.row}, chunk {self.chunk}"


@dataclass(frozen=True)
class BlockBatch:
    """Uncompressed blocks and what their supervoxels are mapped to.

    Attributes:
        rows: (k,) int64, the row of each block.
        data: blocks one after another.
        start: (k + 1,) int64 into data.
        mapping: labels, their starts, supervoxels, their starts, as the kernels take them; None
            leaves supervoxels as they are.
    """

    rows: Int64Array
    data: bytes | UInt8Array
    start: Int64Array
    mapping: LabelMapping | None

    def one(self, i: int) -> "BlockBatch":
        """Block i alone; nothing is copied."""
        span = slice(i, i + 2)
        mapping = self.mapping
        if mapping is not None:
            labels, label_start, supervoxels, supervoxel_start = mapping
            mapping = labels, label_start[span], supervoxels, supervoxel_start[span]
        return BlockBatch(self.rows[i : i + 1], self.data, self.start[span], mapping)


def decompress_blocks(
    rows: Rows, chosen: Int64Array, *, mapped: bool, describe_row: DescribeRow
) -> BlockBatch:
    """Decompress the blocks of some rows.

    Args:
        rows: as read.
        chosen: (k,) which of them, in the order wanted.
        mapped: bring the rows' labels along; without, supervoxels stay.
        describe_row: names a row in errors.

    Raises:
        DecompressionError: a frame is damaged, or its size is not the one in the file.
    """
    check_sizes(rows, chosen, describe_row)
    selector = _selector(chosen)
    start = np.zeros(len(chosen) + 1, np.int64)
    np.cumsum(rows.uncompressed_size[selector], out=start[1:], dtype=np.int64)
    try:
        data = _decompress(rows, selector, start)
    except _braid.KernelError as error:
        raise row_error(error, int(chosen[error.item]), describe_row) from None
    return BlockBatch(chosen, data, start, _mapping(rows, selector) if mapped else None)


def check_sizes(rows: Rows, chosen: Int64Array, describe_row: DescribeRow) -> None:
    """Refuse sizes that a block cannot have, before as much memory is allocated.

    Raises:
        DecompressionError: a row claims one.
    """
    sizes = rows.uncompressed_size[chosen]
    impossible = (sizes < _LEAST_BYTES) | (sizes > _MOST_BYTES)
    if impossible.any():
        at = int(impossible.argmax())
        raise _decode_error(
            f"expected a block of {_LEAST_BYTES} to {_MOST_BYTES} bytes, "
            f"uncompressed_size says {int(sizes[at])}",
            int(chosen[at]),
            describe_row,
        )


def row_error(error: _braid.KernelError, row: int, describe_row: DescribeRow) -> DecompressionError:
    """Error for a row that does not decode: which one, why, and the next step."""
    if isinstance(error, _braid.FrameError):
        cause = f"damaged zstd frame ({error}). Export this shard again"
        return _decode_error(cause, row, describe_row)
    return _decode_error(str(error), row, describe_row)


def _decode_error(cause: str, row: int, describe_row: DescribeRow) -> DecompressionError:
    found = DecompressionError(f"{describe_row(row)}: {cause}")
    found.row, found.cause = row, cause
    return found


def _selector(chosen: Int64Array) -> RowSelector:
    """Index of the chosen rows; a slice, which copies nothing, where they are neighbours."""
    first, count = int(chosen[0]) if len(chosen) else 0, len(chosen)
    dense = count == 0 or int(chosen[-1]) - first == count - 1
    return slice(first, first + count) if dense and (chosen[1:] > chosen[:-1]).all() else chosen


def _decompress(rows: Rows, selector: RowSelector, start: Int64Array) -> bytes | UInt8Array:
    begin, end = rows.block_start[:-1][selector], rows.block_start[1:][selector]
    functions = libzstd()
    if functions is None:
        return _decompress_each(rows.blocks.data, begin, end, start)
    data = np.empty(int(start[-1]), np.uint8)
    _braid.decompress_frames(rows.blocks, begin, end, start, data, functions)
    return data


def _decompress_each(
    frames: memoryview, begin: Int64Array, end: Int64Array, start: Int64Array
) -> bytes:
    """The same by the package's own function, a call for each frame."""
    decompress_one = zstandard.ZstdDecompressor().decompress
    sizes = np.diff(start).tolist()
    blocks = []
    for item, (a, b, size) in enumerate(zip(begin.tolist(), end.tolist(), sizes, strict=True)):
        frame = frames[a:b]
        try:
            found = zstandard.frame_content_size(frame)  # -1: it does not say
            if found <= size:  # or as much as it claims would be allocated
                blocks.append(decompress_one(frame, max_output_size=size, allow_extra_data=False))
                found = len(blocks[-1])
        except zstandard.ZstdError as error:
            raise _braid.FrameError(str(error), item) from None
        if found != size:
            raise _braid.FrameError(f"it holds {found} bytes, expected {size}", item)
    return b"".join(blocks)


def _mapping(rows: Rows, selector: RowSelector) -> LabelMapping:
    return (
        *_gather(rows.labels, rows.label_start, selector),
        *_gather(rows.supervoxels, rows.supervoxel_start, selector),
    )


def _gather(
    values: UInt64Array, start: Int64Array, selector: RowSelector
) -> tuple[UInt64Array, Int64Array]:
    """Lists of the selected rows, one after another, and where each starts."""
    if isinstance(selector, slice):
        return values, start[selector.start : selector.stop + 1]
    lengths = start[selector + 1] - start[selector]
    ends = np.cumsum(lengths)
    shift = np.repeat(start[selector] - (ends - lengths), lengths)
    return values[shift + np.arange(len(shift))], np.concatenate([[0], ends])
