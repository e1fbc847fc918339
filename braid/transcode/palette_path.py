"""Palette path: whole 64x64x64 chunks with 8x8x8 blocks; labels are replaced, values repacked.

Voxels never exist. One fused kernel takes a chunk from the zstd frame to the gzip member, and
threads share a batch's chunks. Where the C functions that it calls are hidden, a kernel for each
step gives the same bytes.
"""

from typing import Final

import _braid
from braid.dvid.block_batch import check_sizes, decompress_blocks, row_error
from braid.native_symbols import libdeflate, libzstd
from braid.precomputed.chunk_batch import ChunkBatch
from braid.precomputed.data_encoding import payloads_of
from braid.transcode.row_window import RowWindow
from braid.transcode.tasks import TaskResult, TranscodeStats
from braid.typing import Int64Array

__all__ = ["PaletteTask", "has_fused_kernel", "payloads_by_steps"]

_RAW: Final = "raw"


def has_fused_kernel() -> bool:
    """Whether the C functions that `PaletteTask` calls were found."""
    return libzstd() is not None and libdeflate() is not None


class PaletteTask:
    """Chunks of a window through the fused kernel; a `braid.parallel.work_sharing.SharedTask`.

    Args:
        window: holds them.
        chunks: which, by ascending number; each is made of one row.
        mapped: write agglomerated labels; without, supervoxels.
        data_encoding: of the shard, `raw` or `gzip`.
        level: of gzip, libdeflate's.

    Raises:
        DecompressionError: a row claims a size that a block cannot have.
    """

    def __init__(
        self, window: RowWindow, chunks: Int64Array, data_encoding: str, level: int, *, mapped: bool
    ) -> None:
        rows = window.rows
        self._describe_row = window.describe_row
        self._ids = window.ids[chunks]
        self._rows = window.parts[window.part_start[chunks]]  # one block is one chunk
        check_sizes(rows, self._rows, window.describe_row)
        mapping = rows.labels, rows.label_start, rows.supervoxels, rows.supervoxel_start
        self._batch = _braid.PayloadBatch(
            self._rows,
            rows.blocks,
            rows.block_start,
            rows.uncompressed_size,
            libzstd() or (),
            None if data_encoding == _RAW else libdeflate(),
            level,
            *(mapping if mapped else ()),
        )

    def work(self) -> None:
        """Make chunks until none is left."""
        self._batch.work()

    def stop(self) -> None:
        """Cancel the remaining chunks."""
        self._batch.stop()

    def result(self) -> TaskResult:
        """Payloads of all chunks.

        Raises:
            DecompressionError: a row does not decode; the text has file, row and chunk.
        """
        try:
            made = self._batch.result()
        except _braid.KernelError as error:
            row = int(self._rows[max(error.item, 0)])
            raise row_error(error, row, self._describe_row) from error
        decompress_s, transcode_s, gzip_s = made.seconds
        stats = TranscodeStats(
            labels=int(made.labels.sum()),
            decompress_s=decompress_s,
            transcode_s=transcode_s,
            gzip_s=gzip_s,
        )
        return TaskResult(ChunkBatch(self._ids, made.start, made.data).without_empty(), stats)


def payloads_by_steps(
    window: RowWindow,
    chunks: Int64Array,
    data_encoding: str,
    level: int,
    stats: TranscodeStats,
    *,
    mapped: bool,
) -> ChunkBatch:
    """The same payloads, by a kernel for each step; see `PaletteTask`."""
    describe_row = window.describe_row
    with stats.clock("decompress_s"):
        rows = window.parts[window.part_start[chunks]]
        blocks = decompress_blocks(window.rows, rows, mapped=mapped, describe_row=describe_row)
    with stats.clock("transcode_s"):
        try:
            made = _braid.transcode_blocks(blocks.data, blocks.start, *(blocks.mapping or ()))
        except _braid.KernelError as error:
            raise row_error(error, int(rows[max(error.item, 0)]), describe_row) from error
    stats.labels += int(made.labels.sum())
    kept = ChunkBatch(window.ids[chunks], made.start, made.data.data).without_empty()
    with stats.clock("gzip_s"):
        return payloads_of(kept, data_encoding, level)
