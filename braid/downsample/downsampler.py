"""Downsampler: chunks of a coarse shard from the stored chunks of the scale before.

Cells stream through in batches bounded by what they hold, so memory does not grow with the shard.
Scales with compressed_segmentation blocks of 8x8x8 go through the block kernel; all others are
decoded, voted on as voxels and encoded, one cell at a time. Both give the same bytes.
"""

import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

import _braid
from braid.downsample.cells import Cell, CellShape, Inputs, iter_cells
from braid.downsample.voters import BlockVoter, Voter, VoxelVoter, takes_blocks
from braid.exceptions import DecompressionError
from braid.parallel.ordered_map import ordered_map
from braid.parallel.stats import StepStats
from braid.precomputed import morton
from braid.precomputed.chunk_batch import ChunkBatch
from braid.precomputed.data_encoding import payloads_of
from braid.precomputed.shard_reader import decode_all
from braid.precomputed.volume_spec import ScaleSpec
from braid.typing import BytesLike, UInt64Array

__all__ = ["BATCH_BYTES", "BATCH_CELLS", "DownsampleStats", "Downsampler", "Rule"]

BATCH_BYTES = 2 << 20  # decompressed fine chunks in one batch; a larger cell is a batch of its own
BATCH_CELLS = 256


class Rule(StrEnum):
    """Voting rule; ties go to the smallest label in both."""

    MODE = "mode"  # every voxel, zeros too: TensorStore's
    NONZERO_MODE = "nonzero-mode"  # zeros never vote; 0 only if all are: DVID's


@dataclass
class DownsampleStats(StepStats):
    """Counts and times of downsampling."""

    chunks_in: int = 0
    bytes_in: int = 0  # payloads as stored
    read_s: float = 0.0
    gunzip_s: float = 0.0
    vote_s: float = 0.0


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
        batches = self._batches(iter_cells(self._shape, shard, fine_shards))
        results = ordered_map(self._work, batches, self.threads, self.threads, "vote")
        with closing(results):
            for payloads, stats in results:
                self.stats.add(stats)
                yield payloads

    def _batches(self, cells: Iterator[Cell]) -> Iterator[list[Cell]]:
        batch: list[Cell] = []
        held = 0
        for cell in self._timed(cells):
            size = sum(m.file.decoded_bytes(m.chunk_id, m.payload) for m in cell.members)
            if batch and (held + size > BATCH_BYTES or len(batch) == BATCH_CELLS):
                yield batch
                batch, held = [], 0
            batch.append(cell)
            held += size
        if batch:
            yield batch

    def _timed(self, cells: Iterator[Cell]) -> Iterator[Cell]:
        began = time.perf_counter()
        for cell in cells:
            self.stats.read_s += time.perf_counter() - began
            yield cell
            began = time.perf_counter()
        self.stats.read_s += time.perf_counter() - began

    def _work(self, batch: Sequence[Cell]) -> tuple[ChunkBatch, DownsampleStats]:
        stats = DownsampleStats(chunks_in=sum(len(cell.members) for cell in batch))
        stats.bytes_in = sum(len(m.payload) for cell in batch for m in cell.members)
        with stats.clock("gunzip_s"):
            chunks = self._chunks(batch)
        ids = np.array([cell.coarse_id for cell in batch], np.uint64)
        with stats.clock("vote_s"):
            voted = self._vote(batch, ids, chunks)
        chunks.clear()  # not held while the results are compressed
        kept = ChunkBatch(ids, voted.start, voted.data.data).without_empty()
        with stats.clock("gzip_s"):
            payloads = payloads_of(kept, self.coarse.sharding.data_encoding, self.gzip_level)
        stats.chunks, stats.labels = len(kept), int(voted.labels.sum())
        return payloads, stats

    def _chunks(self, batch: Sequence[Cell]) -> list[BytesLike | None]:
        """Fine chunks of a batch, data encoding undone: every slot of every cell."""
        slots = math.prod(self._shape.slots)
        members = {m.chunk_id: m for cell in batch for m in cell.members}
        decoded = decode_all([(m.file, m.chunk_id, m.payload) for m in members.values()])
        found = dict(zip(members, decoded, strict=True))
        chunks: list[BytesLike | None] = [None] * (slots * len(batch))
        for at, cell in enumerate(batch):
            for member in cell.members:
                chunks[at * slots + member.slot] = found[member.chunk_id]
        return chunks

    def _vote(
        self, batch: Sequence[Cell], ids: UInt64Array, chunks: list[BytesLike | None]
    ) -> _braid.Transcoded:
        try:
            return self._voter.vote(morton.decode(ids, self.coarse.grid), chunks)
        except _braid.KernelError as error:
            files = {member.file.name for member in batch[error.item].members}
            raise DecompressionError(f"{', '.join(sorted(files))}: {error}") from None
