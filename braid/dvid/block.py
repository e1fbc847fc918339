"""A single DVID block and its label mapping, in the form that the batch kernels take."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

import _braid
from braid.exceptions import DecompressionError
from braid.typing import Int64Array, UInt64Array, Vec3

SUBBLOCK_EDGE = 8  # voxels
BLOCK_SHAPE = (64, 64, 64)  # z, y, x
HEADER_BYTES = 16

LabelsLike = Sequence[int] | npt.NDArray[Any]
LabelMapping = tuple[UInt64Array, Int64Array, UInt64Array, Int64Array]
"""Labels, their starts, supervoxels, their starts: label i is that of supervoxel i."""


def largest_block_bytes(block_shape: Sequence[int] = BLOCK_SHAPE) -> int:
    """Most bytes of a block of (z, y, x) voxels: every voxel a label of its own."""
    voxels = math.prod(block_shape)
    subblocks = -(-voxels // SUBBLOCK_EDGE**3)
    label_and_index, count, nine_bits = 8 + 4, 2, 64 * 9
    return HEADER_BYTES + voxels * label_and_index + subblocks * (count + nine_bits)


def decompress_block(
    compressed: bytes, most_bytes: int, decompressor: zstandard.ZstdDecompressor | None = None
) -> bytes:
    """Decompress a zstd frame, whether or not its header has the size.

    Args:
        compressed: one zstd frame.
        most_bytes: a frame of more is refused before anything is allocated.
        decompressor: to use again; it serves one thread at a time.

    Raises:
        DecompressionError: not a zstd frame, a damaged one, or one too large.
    """
    try:
        claimed = zstandard.frame_content_size(compressed)
        if claimed > most_bytes:
            raise DecompressionError(
                f"zstd frame too large: expected at most {most_bytes} bytes, it claims {claimed}"
            )
        decompressor = decompressor or zstandard.ZstdDecompressor()
        return decompressor.decompress(compressed, max_output_size=most_bytes)
    except zstandard.ZstdError as error:
        raise DecompressionError(f"not a whole zstd frame: {error}") from error


def header(block: bytes) -> tuple[int, int, int, int]:
    """Read a block's header: sub-blocks along x, y and z, and the number of labels.

    Raises:
        DecompressionError: too short for a header.
    """
    if len(block) < HEADER_BYTES:
        raise DecompressionError(
            f"expected a block header of {HEADER_BYTES} bytes, found {len(block)}"
        )
    gx, gy, gz, n_labels = (int(field) for field in np.frombuffer(block[:HEADER_BYTES], "<u4"))
    return gx, gy, gz, n_labels


def mapping(agglo_labels: LabelsLike | None, supervoxels: LabelsLike | None) -> LabelMapping | None:
    """Label mapping of one block; None, which maps nothing, unless both lists are given.

    Raises:
        DecompressionError: one of them is not a list of uint64 labels.
    """
    if agglo_labels is None or supervoxels is None:
        return None
    labels, ids = _labels(agglo_labels, "agglo_labels"), _labels(supervoxels, "supervoxels")
    return labels, _starts(labels.size), ids, _starts(ids.size)


def decode(block: bytes, shape: Vec3, mapped: LabelMapping | None) -> UInt64Array:
    """Decode an uncompressed block to voxels (z, y, x).

    Raises:
        DecompressionError: counts that do not fit the block's bytes, or another shape.
    """
    out = np.empty((1, *shape), np.uint64)
    try:
        _braid.decode_blocks(block, _starts(len(block)), out, *(mapped or ()))
    except _braid.KernelError as error:
        raise DecompressionError(str(error)) from error
    voxels: UInt64Array = out[0]
    return voxels


def transcode(block: bytes, mapped: LabelMapping | None) -> bytes:
    """Transcode an uncompressed 64^3 block to a chunk of 8^3 blocks; no bytes if all is 0.

    Raises:
        DecompressionError: counts that do not fit the block's bytes, or another shape.
    """
    try:
        chunks = _braid.transcode_blocks(block, _starts(len(block)), *(mapped or ()))
    except _braid.KernelError as error:
        raise DecompressionError(str(error)) from error
    return chunks.data.tobytes()


def _labels(labels: LabelsLike, name: str) -> UInt64Array:
    if isinstance(labels, np.ndarray):
        if labels.size and not _unsigned(labels):
            raise DecompressionError(f"{name} are not uint64 labels: found {labels.dtype}")
        return np.ascontiguousarray(labels, dtype=np.uint64).reshape(-1)
    try:
        return np.fromiter(map(operator.index, labels), np.uint64, len(labels))
    except (OverflowError, TypeError) as error:
        raise DecompressionError(f"{name} are not uint64 labels: {error}") from error


def _unsigned(array: npt.NDArray[Any]) -> bool:
    return array.dtype.kind == "u" or (array.dtype.kind == "i" and bool(array.min() >= 0))


def _starts(size: int) -> Int64Array:
    return np.array([0, size], dtype=np.int64)
