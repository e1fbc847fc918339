"""Downsampler: chunks of a coarse shard from the stored chunks of the scale before.

Cells stream through in batches bounded by what they hold, so memory does not grow with the shard.
Scales with compressed_segmentation blocks of 8x8x8 go through the block kernel; all others are
decoded, voted on as voxels and encoded, one cell at a time. Both give the same bytes.

Where every fine chunk belongs to one cell, as nearly always, one fused kernel takes a cell from its
gzip members to the new one, and threads share a batch's cells. Elsewhere, and where the C functions
that it calls are hidden, a thread takes a whole batch through one step after another.
"""

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum

import _braid
from braid.downsample.cell_stream import iter_cells
from braid.downsample.cell_task import (
    CellTask,
    DownsampleStats,
    MadeCells,
    cell_maker,
)
from braid.downsample.cells import CellLimits, Cells, CellShape, Inputs
from braid.downsample.voters import BlockVoter, Voter, VoxelVoter, takes_blocks
from braid.exceptions import DecompressionError
from braid.parallel.ordered_map import ordered_map
from braid.parallel.work_sharing import run_shared
from braid.precomputed import morton
from braid.precomputed.chunk_batch import ChunkBatch
from braid.precomputed.data_encoding import payloads_of
from braid.precomputed.shard_reader import decode_all
from braid.precomputed.sharding import cells_are_consecutive
from braid.precomputed.volume_spec import ScaleSpec
from braid.typing import BytesLike

__all__ = ["BATCH_BYTES", "BATCH_CELLS", "DownsampleStats", "Downsampler", "Rule"]

BATCH_BYTES = 2 << 20  # decompressed fine chunks in one batch; a larger cell is a batch of its own
BATCH_CELLS = 256


class Rule(StrEnum):
    """Voting rule; ties go to the smallest label in both."""

    MODE = "mode"  # every voxel, zeros too: TensorStore's
    NONZERO_MODE = "nonzero-mode"  # zeros never vote; 0 only if all are: DVID's


@dataclass
class Downsampler:
    """Makes shards of one scale from the scale before.

    Attributes:
        fine: the scale before.
        coarse: the scale to make.
        rule: which voxels vote.
        gzip_level: libdeflate's, 1 to 12 (0 stores).
        threads: batches in work at the same time; the result does not depend on it.
        by_voxels: take the voxel path even where the block kernel would serve.
        stats: counts and times of all that was consumed.
    """

    fine: ScaleSpec
    coarse: ScaleSpec
    rule: Rule = Rule.MODE
    gzip_level: int = 6
    threads: int = 1
    by_voxels: bool = False
    stats: DownsampleStats = field(default_factory=DownsampleStats)

    def __post_init__(self) -> None:
        self._shape = CellShape.of(self.fine, self.coarse)
        blocks = takes_blocks(self._shape) and not self.by_voxels
        make: type[BlockVoter | VoxelVoter] = BlockVoter if blocks else VoxelVoter
        self._voter: Voter = make(self._shape, nonzero=self.rule is Rule.NONZERO_MODE)
        self._maker: _braid.CellMaker | None = None
        if blocks and cells_are_consecutive(self.fine, self.coarse):
            nonzero = self.rule is Rule.NONZERO_MODE
            self._maker = cell_maker(self._shape, nonzero=nonzero, level=self.gzip_level)

    @property
    def uses_blocks(self) -> bool:
        """Whether the block kernel does the work."""
        return isinstance(self._voter, BlockVoter)

    def payloads(self, shard: int, fine_shards: Inputs) -> Generator[ChunkBatch]:
        """Stored chunks of a coarse shard, batch by batch; chunks of zeros are left out.

        Args:
            shard: of the coarse scale.
            fine_shards: opens them.

        Raises:
            InvalidShardFormatError: an input file breaks its format.
            DecompressionError: a chunk of one does.
            SpecError: the one scale cannot be made from the other.
        """
        limits = CellLimits(BATCH_BYTES, BATCH_CELLS)
        batches = self._timed(iter_cells(self._shape, shard, fine_shards, limits))
        with closing(self._results(batches)) as results:
            for chunks, stats in results:
                self.stats.add(stats)
                yield chunks

    def _results(self, batches: Iterator[Cells]) -> Generator[MadeCells]:
        maker = self._maker
        if maker is None:
            return ordered_map(self._work, batches, self.threads, self.threads, "vote")
        tasks = (CellTask(maker, self._shape, cells) for cells in batches)
        return run_shared(tasks, self.threads, "vote", aside=True)

    def _timed(self, batches: Iterator[Cells]) -> Iterator[Cells]:
        began = time.perf_counter()
        for cells in batches:
            self.stats.read_s += time.perf_counter() - began
            yield cells
            began = time.perf_counter()
        self.stats.read_s += time.perf_counter() - began

    def _work(self, cells: Cells) -> MadeCells:
        """One step after another."""
        stats = DownsampleStats.of(cells)
        with stats.clock("gunzip_s"):
            chunks = self._chunks(cells)
        with stats.clock("vote_s"):
            voted = self._vote(cells, chunks)
        chunks.clear()  # not held while the results are compressed
        kept = ChunkBatch(cells.ids, voted.start, voted.data.data).without_empty()
        with stats.clock("gzip_s"):
            payloads = payloads_of(kept, self.coarse.sharding.data_encoding, self.gzip_level)
        stats.chunks, stats.labels = len(kept), int(voted.labels.sum())
        return MadeCells(payloads, stats)

    def _chunks(self, cells: Cells) -> list[BytesLike | None]:
        """Fine chunks of a batch, data encoding undone: every slot of every cell."""
        decoded = decode_all(cells.stored())
        chunks: list[BytesLike | None] = [None] * (self._shape.slot_count * len(cells))
        for place, chunk in zip(cells.place.tolist(), cells.chunk.tolist(), strict=True):
            chunks[place] = decoded[chunk]
        return chunks

    def _vote(self, cells: Cells, chunks: list[BytesLike | None]) -> _braid.Transcoded:
        try:
            return self._voter.vote(morton.decode(cells.ids, self.coarse.grid), chunks)
        except _braid.KernelError as error:
            names = cells.file_names(error.item, self._shape.slot_count)
            raise DecompressionError(f"{names}: {error}") from None
