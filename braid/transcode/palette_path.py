"""Whole 64x64x64 chunks with 8x8x8 blocks: a block's labels are replaced, its values repacked.

Voxels never exist. One kernel takes a chunk all the way, from the zstd frame to the gzip member;
threads share a batch's chunks. Where the C functions that it calls cannot be found, a kernel for
each step gives the same bytes.
"""

from typing import Final

import _braid
from braid.dvid.block_batch import check_sizes, refusal, unzip
from braid.native_symbols import libdeflate, libzstd
from braid.parallel.stats import TranscodeStats
from braid.precomputed.chunk_batch import ChunkBatch
from braid.precomputed.data_encoding import payloads_of
from braid.transcode.row_window import RowWindow
from braid.typing import Int64Array

__all__ = ["PaletteBatch", "by_steps", "in_one_go"]

_RAW: Final = "raw"


def in_one_go() -> bool:
    """Whether `PaletteBatch` can work here."""
    return libzstd() is not None and libdeflate() is not None


class PaletteBatch:
    """Chunks of a window that threads make together; a `braid.parallel.work_sharing.SharedTask`.

    Args:
        window: holds them.
        chunks: which, by ascending number; each is made of one row.
        mapped: write agglomerated labels; without, supervoxels.
        data_encoding: of the shard, `raw` or `gzip`.
        level: of gzip, libdeflate's.

    Raises:
        DecompressionError: a row claims a size that no block has.
    """

    def __init__(
        self, window: RowWindow, chunks: Int64Array, data_encoding: str, level: int, *, mapped: bool
    ) -> None:
        rows = window.rows
        self._where = window.where
        self._ids = window.ids[chunks]
        self._rows = window.parts[window.part_start[chunks]]  # one block is one chunk
        check_sizes(rows, self._rows, window.where)
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
        """Let nobody make another."""
        self._batch.stop()

    def result(self) -> tuple[ChunkBatch, TranscodeStats]:
        """Payloads of all chunks that are not zeros.

        Raises:
            DecompressionError: a row does not decode; the text says file, row and chunk.
        """
        try:
            made = self._batch.result()
        except _braid.KernelError as error:
            raise refusal(error, self._where(int(self._rows[max(error.item, 0)]))) from error
        decompress_s, transcode_s, gzip_s = made.seconds
        tally = TranscodeStats(
            labels=int(made.labels.sum()),
            decompress_s=decompress_s,
            transcode_s=transcode_s,
            gzip_s=gzip_s,
        )
        return ChunkBatch(self._ids, made.start, made.data).without_empty(), tally


def by_steps(
    window: RowWindow,
    chunks: Int64Array,
    data_encoding: str,
    level: int,
    tally: TranscodeStats,
    *,
    mapped: bool,
) -> ChunkBatch:
    """The same payloads, by a kernel for each step; see `PaletteBatch`."""
    with tally.clock("decompress_s"):
        rows = window.parts[window.part_start[chunks]]
        blocks = unzip(window.rows, rows, mapped=mapped, where=window.where)
    with tally.clock("transcode_s"):
        try:
            made = _braid.transcode_blocks(blocks.data, blocks.start, *(blocks.mapping or ()))
        except _braid.KernelError as error:
            raise refusal(error, window.where(int(rows[max(error.item, 0)]))) from error
    tally.labels += int(made.labels.sum())
    kept = ChunkBatch(window.ids[chunks], made.start, made.data.data).without_empty()
    with tally.clock("gzip_s"):
        return payloads_of(kept, data_encoding, level)
