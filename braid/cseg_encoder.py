"""Voxels and DVID blocks to compressed_segmentation chunks, one at a time.

Format: Neuroglancer `src/sliceview/compressed_segmentation/README.md`. Bytes equal TensorStore's.
"""

import math
from typing import Any

import deflate
import numpy as np
import numpy.typing as npt

import _braid
from braid.dvid import block
from braid.dvid.block import BLOCK_SHAPE, SUBBLOCK_EDGE, LabelsLike
from braid.exceptions import DecompressionError, EncodingError
from braid.typing import Vec3

SUBBLOCK = (SUBBLOCK_EDGE, SUBBLOCK_EDGE, SUBBLOCK_EDGE)
AXES = 3
GZIP_LEVEL = 6

__all__ = ["CSEGEncoder"]


class CSEGEncoder:
    """Encodes single-channel compressed_segmentation chunks. All shapes are (z, y, x)."""

    @staticmethod
    def max_encoded_size(shape: Vec3, block_size: Vec3 = SUBBLOCK) -> int:
        """Most bytes, before gzip, of a chunk of uint64 labels of this shape."""
        blocks = math.prod(-(-s // b) for s, b in zip(shape, block_size, strict=True))
        voxels = math.prod(block_size)
        value_bits = 16 if voxels <= 1 << 16 else 32
        return 4 + blocks * (8 + 4 * -(-voxels * value_bits // 32) + 8 * voxels)

    def encode_chunk(self, data: npt.NDArray[Any], block_size: Vec3 = SUBBLOCK) -> bytes:
        """Encode voxels.

        Args:
            data: integer labels of shape (z, y, x); uint32 gives a chunk of 32-bit labels, any
                other dtype one of 64-bit labels.
            block_size: voxels (z, y, x) of a block.

        Raises:
            EncodingError: not three axes, not labels, an impossible block size, or a chunk too
                large for the format's 24-bit offsets.
        """
        voxels = _as_voxels(np.asarray(data))
        try:
            return _braid.cseg_encode(voxels, tuple(block_size)[::-1])
        except _braid.KernelError as error:
            raise EncodingError(str(error)) from error

    def dvid_to_cseg(  # noqa: PLR0917 - BRAID 1.0 takes them by position
        self,
        dvid_data: bytes,
        block_size: Vec3 = SUBBLOCK,
        supervoxels: LabelsLike | None = None,
        agglo_labels: LabelsLike | None = None,
        zstd_input: bool = True,
        gzip_output: bool = False,
    ) -> bytes:
        """Encode a DVID block, palette by palette where shape and block size allow.

        Args:
            dvid_data: one block of at most 64^3 voxels.
            block_size: voxels (z, y, x) of a block of the output.
            supervoxels: those that are mapped; with `agglo_labels` or not at all.
            agglo_labels: the label of each supervoxel.
            zstd_input: whether the block is a zstd frame.
            gzip_output: whether to gzip the chunk.

        Raises:
            DecompressionError: bad zstd, or counts that do not fit the block's bytes.
            EncodingError: an impossible block size.
        """
        most_bytes = block.largest_block_bytes()
        raw = block.decompress_block(dvid_data, most_bytes) if zstd_input else dvid_data
        mapping = block.mapping(agglo_labels, supervoxels)
        shape = _block_shape(raw)
        chunk = b""
        if shape == BLOCK_SHAPE and tuple(block_size) == SUBBLOCK:
            chunk = block.transcode(raw, mapping)
        if not chunk:  # another shape, or all zeros, for which transcoding gives nothing
            chunk = self.encode_chunk(block.decode(raw, shape, mapping), block_size)
        return bytes(deflate.gzip_compress(chunk, GZIP_LEVEL)) if gzip_output else chunk


def _as_voxels(data: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if data.ndim != AXES or data.size == 0 or data.dtype.kind not in "ui":
        raise EncodingError(
            f"expected integer labels (z, y, x), found {data.dtype} of shape {data.shape}"
        )
    if data.dtype.kind == "i" and data.min() < 0:
        raise EncodingError(f"expected labels from 0 up, found {data.min()}")
    return data if data.dtype == np.uint32 else data.astype(np.uint64, copy=False)


def _block_shape(raw: bytes) -> Vec3:
    """Voxels (z, y, x) that a block's header claims; refused if more than a block can have."""
    gx, gy, gz, _ = block.header(raw)
    subblocks = gx * gy * gz
    if not 0 < subblocks <= math.prod(BLOCK_SHAPE) // SUBBLOCK_EDGE**3:
        raise DecompressionError(
            f"expected a block of 1 to 512 sub-blocks, found {gx} x {gy} x {gz}"
        )
    return gz * SUBBLOCK_EDGE, gy * SUBBLOCK_EDGE, gx * SUBBLOCK_EDGE
