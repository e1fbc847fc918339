"""DVID blocks to voxels, one at a time; the loops are in `_braid`.

Format: DVID `datatype/common/labels/compressed.go`.
"""

from typing import Any

import numpy as np
import zstandard

from braid.dvid import block
from braid.dvid.block import BLOCK_SHAPE, SUBBLOCK_EDGE, LabelsLike
from braid.exceptions import DecompressionError
from braid.typing import UInt64Array, Vec3

__all__ = ["DVIDDecompressor", "DecompressionError", "bits_for", "get_packed_value"]


def bits_for(n: int) -> int:
    """Bits per value in a sub-block of n labels: ceil(log2(n)), 0 for one label or none."""
    return max(n - 1, 0).bit_length()


def get_packed_value(data: bytes, bit_head: int, bits: int) -> int:
    """Value of `bits` bits from bit `bit_head` on, most significant bit first.

    Raises:
        IndexError: the value ends beyond `data`.
    """
    end = bit_head + bits
    if end > 8 * len(data):
        raise IndexError(f"value ends at bit {end}, the data at bit {8 * len(data)}")
    window = int.from_bytes(data[bit_head >> 3 : (end + 7) >> 3], "big")
    return (window >> (-end & 7)) & ((1 << bits) - 1)


class DVIDDecompressor:
    """Decodes DVID blocks to voxels; one instance serves one thread at a time."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdDecompressor()

    def decompress_block(
        self,
        compressed_data: bytes,
        agglo_labels: LabelsLike | None = None,
        supervoxels: LabelsLike | None = None,
        block_shape: Vec3 = BLOCK_SHAPE,
    ) -> UInt64Array:
        """Decode a zstd-compressed DVID block.

        Args:
            compressed_data: one zstd frame with one block; empty means zeros.
            agglo_labels: the label of each entry of `supervoxels`; both or none map the block.
            supervoxels: those that are mapped; an entry of the block that they lack stays.
            block_shape: voxels (z, y, x) of the block, each a multiple of 8.

        Returns:
            uint64 labels of shape (z, y, x).

        Raises:
            DecompressionError: bad zstd, or counts that do not fit the block's bytes.
        """
        if len(compressed_data) == 0:
            return np.zeros(block_shape, np.uint64)
        most_bytes = block.largest_block_bytes(block_shape)
        raw = block.decompress_block(compressed_data, most_bytes, self._zstd)
        return block.decode(raw, block_shape, block.mapping(agglo_labels, supervoxels))

    def get_block_info(self, compressed_data: bytes) -> dict[str, Any]:
        """Header of a zstd-compressed block; damage is reported as `type`, not raised.

        `type` is empty, solid, compressed, invalid (too short for a header) or zstd_error.
        """
        zstd_bytes = len(compressed_data)
        if zstd_bytes == 0:
            return {"type": "empty", "zstd_size": 0}
        try:
            most_bytes = block.largest_block_bytes()
            raw = block.decompress_block(compressed_data, most_bytes, self._zstd)
        except DecompressionError as error:
            return {"type": "zstd_error", "error": str(error), "zstd_size": zstd_bytes}
        if len(raw) < block.HEADER_BYTES:
            return {"type": "invalid", "zstd_size": zstd_bytes, "dvid_size": len(raw)}
        gx, gy, gz, n_labels = block.header(raw)
        return {
            "type": "solid" if n_labels <= 1 else "compressed",
            "subblocks": (gx, gy, gz),
            "label_count": n_labels,
            "block_size": (gx * SUBBLOCK_EDGE, gy * SUBBLOCK_EDGE, gz * SUBBLOCK_EDGE),
            "zstd_compressed_size": zstd_bytes,
            "dvid_uncompressed_size": len(raw),
        }
