"""Voxel path: decode blocks, cut chunks, encode them. Serves what palettes cannot."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import _braid
from braid.dvid.block_batch import BlockBatch, decompress_blocks, row_error
from braid.exceptions import EncodingError
from braid.precomputed import morton
from braid.precomputed.chunk_batch import ChunkBatch
from braid.precomputed.volume_spec import ScaleSpec
from braid.transcode.block_assignment import BLOCK_VOXELS, block_extent
from braid.transcode.row_window import RowWindow
from braid.transcode.tasks import TranscodeStats
from braid.typing import Int64Array, UInt64Array, Vec3

__all__ = ["Encode", "VoxelPath"]

_DECODED_BLOCKS = 8  # kept decoded: small chunks come back to a block, 2 MiB each

Encode = Callable[[UInt64Array], bytes]
"""Encodes a chunk's voxels, (z, y, x) uint64, clipped to the volume."""


@dataclass(frozen=True)
class VoxelPath:
    """Encodes chunks of any size, aligned with blocks or not.

    Attributes:
        scale: the output scale.
        mapped: write agglomerated labels; without, supervoxels.
        z_step: keep every z_step-th source slice.
        encode: of voxels to a chunk; None for compressed_segmentation by the kernel.
    """

    scale: ScaleSpec
    mapped: bool
    z_step: int
    encode: Encode | None

    def chunks(self, window: RowWindow, chunks: Int64Array, stats: TranscodeStats) -> ChunkBatch:
        """Encode some of a window's chunks; those of zeros are left out.

        Raises:
            DecompressionError: a row does not decode; the text has file, row and chunk.
            EncodingError: a chunk needs larger offsets than the format has.
        """
        spans = [
            slice(a, b)
            for a, b in zip(window.part_start[chunks], window.part_start[chunks + 1], strict=True)
        ]
        rows = np.unique(np.concatenate([window.parts[span] for span in spans]))
        with stats.clock("decompress_s"):
            blocks = decompress_blocks(
                window.rows, rows, mapped=self.mapped, describe_row=window.describe_row
            )
        made: list[tuple[int, bytes]] = []
        with stats.clock("transcode_s"):
            cutter = _Cutter(self.scale, self.z_step, blocks, window)
            for chunk, span in zip(window.ids[chunks].tolist(), spans, strict=True):
                voxels = cutter.voxels(chunk, window.parts[span])
                if voxels.any():
                    made.append((chunk, self._encoded(chunk, voxels)))
                    stats.labels += self._labels(window, window.parts[span])
        return ChunkBatch.of(made)

    def _encoded(self, chunk_id: int, voxels: UInt64Array) -> bytes:
        try:
            if self.encode is not None:
                return self.encode(voxels)
            return _braid.cseg_encode(voxels, self.scale.block_size or (8, 8, 8))
        except (_braid.KernelError, EncodingError) as error:
            at = tuple(morton.decode([chunk_id], self.scale.grid)[0].tolist())
            raise EncodingError(f"scale {self.scale.key}: chunk {at}: {error}") from error

    def _labels(self, window: RowWindow, rows: Int64Array) -> int:
        """Distinct labels in the tables of a chunk's blocks; a few may lie beyond the edge."""
        listed = window.rows.label_list if self.mapped else window.rows.supervoxel_list
        return len(np.unique(np.concatenate([listed(int(row)) for row in rows])))


class _Cutter:
    """Cuts chunks out of decoded blocks."""

    def __init__(
        self, scale: ScaleSpec, z_step: int, blocks: BlockBatch, window: RowWindow
    ) -> None:
        self._scale = scale
        self._z_step = z_step
        self._extent = block_extent(z_step)
        self._blocks = blocks
        self._window = window
        self._decoded: OrderedDict[int, UInt64Array] = OrderedDict()

    def voxels(self, chunk_id: int, rows: Int64Array) -> UInt64Array:
        """Voxels (z, y, x) of a chunk, clipped to the volume; 0 where there is no block."""
        chunk = morton.decode([chunk_id], self._scale.grid)[0].tolist()
        begin, end = self._scale.chunk_box((chunk[0], chunk[1], chunk[2]))
        dx, dy, dz = (e - b for b, e in zip(begin, end, strict=True))
        out = np.zeros((dz, dy, dx), np.uint64)
        for row in rows.tolist():
            at = self._window.rows.coords[row].astype(np.int64) * self._extent
            to, source = _overlap(begin, end, at.tolist(), self._extent)
            out[to] = self._block(row)[source]
        return out

    def _block(self, row: int) -> UInt64Array:
        """Kept slices of a block, (z / z_step, y, x)."""
        if row in self._decoded:
            self._decoded.move_to_end(row)
            return self._decoded[row]
        if len(self._decoded) == _DECODED_BLOCKS:
            self._decoded.popitem(last=False)
        out = np.empty((1, BLOCK_VOXELS, BLOCK_VOXELS, BLOCK_VOXELS), np.uint64)
        block = self._blocks.one(int(np.searchsorted(self._blocks.rows, row)))
        try:
            _braid.decode_blocks(block.data, block.start, out, *(block.mapping or ()))
        except _braid.KernelError as error:
            raise row_error(error, row, self._window.describe_row) from error
        self._decoded[row] = out[0, :: self._z_step]
        return self._decoded[row]


def _overlap(
    begin: Vec3, end: Vec3, block: list[int], extent: Vec3
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Intersection of a block and a chunk, as ZYX slices of the chunk and of the block."""
    low = [max(b, at) for b, at in zip(begin, block, strict=True)]
    high = [min(e, at + n) for e, at, n in zip(end, block, extent, strict=True)]
    of_chunk = [slice(a - b, z - b) for a, z, b in zip(low, high, begin, strict=True)]
    of_block = [slice(a - b, z - b) for a, z, b in zip(low, high, block, strict=True)]
    return tuple(reversed(of_chunk)), tuple(reversed(of_block))
