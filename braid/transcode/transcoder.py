"""Transcoder: rows of a DVID export become chunks of a Neuroglancer volume, in chunk-id order.

Whole chunks take the palette path; all others (clipped at the volume's edge, other chunk or block
sizes, decimated in z) go through voxels. Where both apply they give the same bytes.
"""

import math
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from braid.exceptions import DecompressionError
from braid.parallel.work_sharing import SharedTask, run_shared
from braid.precomputed import morton
from braid.precomputed.chunk_batch import ChunkBatch
from braid.precomputed.data_encoding import payloads_of
from braid.precomputed.volume_spec import CodePath, ScaleSpec
from braid.transcode.bad_chunks import BadChunks, SkippingTask
from braid.transcode.block_assignment import BLOCK_VOXELS, check_z_step
from braid.transcode.palette_path import PaletteTask, has_fused_kernel, payloads_by_steps
from braid.transcode.row_window import RowWindow
from braid.transcode.tasks import (
    BadChunk,
    CompositeTask,
    SplitTask,
    TaskResult,
    TranscodeStats,
)
from braid.transcode.voxel_path import Encode, VoxelPath
from braid.typing import BoolArray, Int64Array, UInt64Array

__all__ = ["BATCH_BYTES", "BATCH_CHUNKS", "Transcoder"]

BATCH_BYTES = 4 << 20  # uncompressed blocks in one batch; a larger chunk is a batch of its own
BATCH_CHUNKS = 512  # a minishard of the usual specs
_SLICE_BYTES = 8 << 20  # of voxels that one thread encodes; neighbours share blocks
_VOXEL_BYTES = 8

_StartTask = Callable[[RowWindow, Int64Array], SharedTask[TaskResult]]


@dataclass
class Transcoder:
    """Makes the chunks of one scale.

    Attributes:
        scale: the output scale.
        mapped: write agglomerated labels; without, supervoxels.
        gzip_level: libdeflate's, 1 to 12 (0 stores).
        threads: that share the work; the result does not depend on it.
        z_step: keep every z_step-th source slice.
        encode: of voxels to a chunk; None for compressed_segmentation by the kernel.
        by_voxels: take the voxel path even where palettes would serve.
        skip_bad: leave out chunks made of a row that does not decode; without, it is an error.
        stats: counts and times of all that was consumed.
        bad_chunks: left out so far.
    """

    scale: ScaleSpec
    mapped: bool = True
    gzip_level: int = 6
    threads: int = 1
    z_step: int = 1
    encode: Encode | None = None
    by_voxels: bool = False
    skip_bad: bool = False
    stats: TranscodeStats = field(default_factory=TranscodeStats)
    bad_chunks: BadChunks = field(default_factory=BadChunks)

    def __post_init__(self) -> None:
        check_z_step(self.z_step)
        self._voxel_path = VoxelPath(self.scale, self.mapped, self.z_step, self.encode)

    @property
    def uses_palettes(self) -> bool:
        """Whether chunks inside the volume take the palette path."""
        other = self.by_voxels or self.encode is not None
        return self.scale.code_path(self.z_step) is CodePath.PALETTE and not other

    def payloads(self, windows: Iterable[RowWindow]) -> Generator[ChunkBatch]:
        """Stored chunks, batch by batch in the windows' order; chunks of zeros are left out.

        Raises:
            DecompressionError: a row does not decode, unless such chunks are left out; the text
                has file, row and chunk.
            EncodingError: a chunk needs larger offsets than the format has.
        """
        tasks = (task for window in windows for task in self._tasks(window))
        with closing(run_shared(tasks, self.threads, "transcode")) as results:
            for result in results:
                self.stats.add(result.stats)
                self.bad_chunks.add(result.bad)
                yield result.chunks

    def _tasks(self, window: RowWindow) -> Iterator[CompositeTask]:
        """A task for each batch of the window's chunks."""
        whole = self._whole(window.ids)
        for first, end in window.cut(BATCH_CHUNKS, BATCH_BYTES):
            numbers = np.arange(first, end)
            mine = whole[first:end]
            tasks: list[SharedTask[TaskResult]] = []
            if not mine.all():  # first, for they take longer
                tasks.append(self._task(self._voxel_task, window, numbers[~mine]))
            if mine.any():
                tasks.append(self._task(self._palette_task, window, numbers[mine]))
            yield CompositeTask(tasks)

    def _task(
        self, start: _StartTask, window: RowWindow, chunks: Int64Array
    ) -> SharedTask[TaskResult]:
        """A task of one code path, which leaves bad chunks out if that is wanted."""
        if not self.skip_bad:
            return start(window, chunks)

        def describe(number: int, error: DecompressionError) -> BadChunk:
            x, y, z = morton.decode(window.ids[number : number + 1], self.scale.grid)[0].tolist()
            return BadChunk((x, y, z), window.describe_row(error.row or 0), error.cause)

        return SkippingTask(chunks, partial(start, window), describe)

    def _whole(self, ids: UInt64Array) -> BoolArray:
        """Which chunks the palette path serves: those that the volume does not clip."""
        if not self.uses_palettes:
            return np.zeros(len(ids), bool)
        end = (morton.decode(ids, self.scale.grid) + 1) * BLOCK_VOXELS
        return np.asarray((end <= self.scale.size).all(axis=1))

    def _palette_task(self, window: RowWindow, chunks: Int64Array) -> SharedTask[TaskResult]:
        encoding = self.scale.sharding.data_encoding
        if has_fused_kernel():
            return PaletteTask(window, chunks, encoding, self.gzip_level, mapped=self.mapped)

        def make(part: Int64Array, stats: TranscodeStats) -> ChunkBatch:
            return payloads_by_steps(
                window, part, encoding, self.gzip_level, stats, mapped=self.mapped
            )

        return SplitTask(self._split(chunks, BATCH_CHUNKS), make)

    def _voxel_task(self, window: RowWindow, chunks: Int64Array) -> SharedTask[TaskResult]:
        def make(part: Int64Array, stats: TranscodeStats) -> ChunkBatch:
            encoded = self._voxel_path.chunks(window, part, stats)
            with stats.clock("gzip_s"):
                return payloads_of(encoded, self.scale.sharding.data_encoding, self.gzip_level)

        return SplitTask(self._split(chunks, self._slice_chunks), make)

    @property
    def _slice_chunks(self) -> int:
        """Most chunks that one thread encodes from voxels at a time."""
        return max(1, _SLICE_BYTES // (math.prod(self.scale.chunk_size) * _VOXEL_BYTES))

    def _split(self, chunks: Int64Array, most: int) -> list[Int64Array]:
        """Slices of neighbours, and some for each thread."""
        if self.threads > 1:
            most = min(most, max(1, len(chunks) // (2 * self.threads)))
        return [chunks[at : at + most] for at in range(0, len(chunks), most)]
