"""Rows of a DVID export become chunks of a Neuroglancer volume, in chunk-id order.

Whole chunks take the palette path; all others (clipped at the volume's edge, other chunk or block
sizes, decimated in z) go through voxels. Where both apply they give the same bytes.
"""

import math
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from braid.parallel.stats import TranscodeStats
from braid.parallel.work_sharing import SharedTask, together
from braid.precomputed import morton
from braid.precomputed.chunk_batch import ChunkBatch
from braid.precomputed.data_encoding import payloads_of
from braid.precomputed.volume_spec import CodePath, ScaleSpec
from braid.transcode.block_assignment import BLOCK_VOXELS, check_z_step
from braid.transcode.palette_path import PaletteBatch, by_steps, in_one_go
from braid.transcode.row_window import RowWindow
from braid.transcode.tasks import Batch, Made, Runs
from braid.transcode.voxel_path import Encode, VoxelPath
from braid.typing import BoolArray, Int64Array, UInt64Array

__all__ = ["BATCH_BYTES", "BATCH_CHUNKS", "Transcoder"]

BATCH_BYTES = 4 << 20  # uncompressed blocks in one batch; a larger chunk is a batch of its own
BATCH_CHUNKS = 512  # a minishard of the usual specs
_RUN_BYTES = 8 << 20  # of voxels that one thread encodes; neighbours share blocks
_VOXEL_BYTES = 8


@dataclass
class Transcoder:
    """Makes the chunks of one scale.

    Attributes:
        scale: the output scale.
        mapped: write agglomerated labels; without, supervoxels.
        gzip_level: libdeflate's, 1 to 12 (0 stores).
        threads: that share the work; the result does not depend on it.
        z_step: keep every z_step-th source slice.
        encode: of voxels to a chunk; None for compressed_segmentation by our kernel.
        by_voxels: take the voxel path even where palettes would serve.
        tally: counts and times of all that was consumed.
    """

    scale: ScaleSpec
    mapped: bool = True
    gzip_level: int = 6
    threads: int = 1
    z_step: int = 1
    encode: Encode | None = None
    by_voxels: bool = False
    tally: TranscodeStats = field(default_factory=TranscodeStats)

    def __post_init__(self) -> None:
        check_z_step(self.z_step)
        self._voxel_path = VoxelPath(self.scale, self.mapped, self.z_step, self.encode)

    @property
    def uses_palettes(self) -> bool:
        """Whether chunks inside the volume take the palette path."""
        other = self.by_voxels or self.encode is not None
        return self.scale.code_path(self.z_step) is CodePath.PALETTE and not other

    @property
    def run_chunks(self) -> int:
        """Chunks that one thread encodes from voxels before it looks for others."""
        return max(1, _RUN_BYTES // (math.prod(self.scale.chunk_size) * _VOXEL_BYTES))

    def payloads(self, windows: Iterable[RowWindow]) -> Generator[ChunkBatch]:
        """Stored chunks, batch by batch in the windows' order; chunks of zeros are left out.

        Raises:
            DecompressionError: a row does not decode; the text says file, row and chunk.
            EncodingError: a chunk needs larger offsets than the format has.
        """
        batches = (batch for window in windows for batch in self._batches(window))
        with closing(together(batches, self.threads, "transcode")) as made:
            for payloads, tally in made:
                self.tally.add(tally)
                yield payloads

    def _batches(self, window: RowWindow) -> Iterator[Batch]:
        whole = self._whole(window.ids)
        for first, end in window.cut(BATCH_CHUNKS, BATCH_BYTES):
            numbers = np.arange(first, end)
            mine = whole[first:end]
            parts: list[SharedTask[Made]] = []
            if not mine.all():  # first, for they take longer
                parts.append(self._voxel_runs(window, numbers[~mine]))
            if mine.any():
                parts.append(self._palettes(window, numbers[mine]))
            yield Batch(parts)

    def _whole(self, ids: UInt64Array) -> BoolArray:
        """Which chunks the palette path serves: those that the volume does not clip."""
        if not self.uses_palettes:
            return np.zeros(len(ids), bool)
        end = (morton.decode(ids, self.scale.grid) + 1) * BLOCK_VOXELS
        return np.asarray((end <= self.scale.size).all(axis=1))

    def _palettes(self, window: RowWindow, chunks: Int64Array) -> SharedTask[Made]:
        encoding = self.scale.sharding.data_encoding
        if in_one_go():
            return PaletteBatch(window, chunks, encoding, self.gzip_level, mapped=self.mapped)

        def make(run: Int64Array, tally: TranscodeStats) -> ChunkBatch:
            return by_steps(window, run, encoding, self.gzip_level, tally, mapped=self.mapped)

        return Runs(self._split(chunks, BATCH_CHUNKS), make)

    def _voxel_runs(self, window: RowWindow, chunks: Int64Array) -> SharedTask[Made]:
        def make(run: Int64Array, tally: TranscodeStats) -> ChunkBatch:
            encoded = self._voxel_path.chunks(window, run, tally)
            with tally.clock("gzip_s"):
                return payloads_of(encoded, self.scale.sharding.data_encoding, self.gzip_level)

        return Runs(self._split(chunks, self.run_chunks), make)

    def _split(self, chunks: Int64Array, most: int) -> list[Int64Array]:
        """Runs of neighbours, and some for each thread."""
        if self.threads > 1:
            most = min(most, max(1, len(chunks) // (2 * self.threads)))
        return [chunks[at : at + most] for at in range(0, len(chunks), most)]
