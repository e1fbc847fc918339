"""Cells of a batch as a task that threads share: one fused kernel from payloads to payloads."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

import _braid
from braid.downsample.cells import Cells, CellShape
from braid.downsample.voters import block_geometry
from braid.exceptions import DecompressionError, InvalidShardFormatError
from braid.native_symbols import libdeflate, libinflate
from braid.parallel.stats import StepStats
from braid.precomputed import morton
from braid.precomputed.chunk_batch import ChunkBatch

__all__ = ["CellTask", "DownsampleStats", "MadeCells", "cell_maker"]


@dataclass
class DownsampleStats(StepStats):
    """Counts and times of downsampling."""

    chunks_in: int = 0
    bytes_in: int = 0  # payloads as stored
    read_s: float = 0.0
    gunzip_s: float = 0.0
    vote_s: float = 0.0

    @classmethod
    def of(cls, cells: Cells) -> "DownsampleStats":
        """Counts of what goes in."""
        sizes = np.diff(cells.start)[cells.chunk]
        return cls(chunks_in=len(sizes), bytes_in=int(sizes.sum()))


class MadeCells(NamedTuple):
    """Payloads of a batch's coarse chunks, those of zeros left out, and what they took."""

    chunks: ChunkBatch
    stats: DownsampleStats


def cell_maker(shape: CellShape, *, nonzero: bool, level: int) -> _braid.CellMaker | None:
    """What the tasks of a shard share; None where the C functions that it calls are hidden.

    Args:
        shape: two scales that the block kernel serves.
        nonzero: zeros never vote.
        level: of gzip, libdeflate's.
    """
    unpacks = shape.fine.sharding.data_encoding != "raw"
    packs = shape.coarse.sharding.data_encoding != "raw"
    if (unpacks and libinflate() is None) or (packs and libdeflate() is None):
        return None
    return _braid.CellMaker(
        **block_geometry(shape),
        nonzero=nonzero,
        gunzip=libinflate() if unpacks else None,
        gzip=libdeflate() if packs else None,
        level=level,
    )


class CellTask:
    """Cells through the fused kernel; a `braid.parallel.work_sharing.SharedTask`.

    Args:
        maker: of this and other tasks.
        shape: the two scales.
        cells: that share no fine chunk.
    """

    def __init__(self, maker: _braid.CellMaker, shape: CellShape, cells: Cells) -> None:
        self._cells = cells
        self._slots = shape.slot_count
        self._stats = DownsampleStats.of(cells)
        coords = morton.decode(cells.ids, shape.coarse.grid)
        self._batch = _braid.CellBatch(
            maker, cells.data, cells.start, cells.decoded, cells.place, coords
        )

    def work(self) -> None:
        """Make chunks until none is left."""
        self._batch.work()

    def stop(self) -> None:
        """Cancel the remaining cells."""
        self._batch.stop()

    def result(self) -> MadeCells:
        """Payloads of all cells.

        Raises:
            InvalidShardFormatError: a fine chunk is not gzip, or not of the size that it claims.
            DecompressionError: it breaks its format.
        """
        cells = self._cells
        try:
            made = self._batch.result()
        except _braid.MemberError as error:
            bad = int(np.flatnonzero(cells.place == error.item * self._slots + error.slot)[0])
            name = cells.files[cells.file[bad]].name
            text = f"{name}: chunk {cells.chunk_ids[bad]}: {error}"
            raise InvalidShardFormatError(text) from None
        except _braid.KernelError as error:
            raise DecompressionError(
                f"{cells.file_names(error.item, self._slots)}: {error}"
            ) from None
        kept = ChunkBatch(cells.ids, made.start, made.data).without_empty()
        self._stats.gunzip_s, self._stats.vote_s, self._stats.gzip_s = made.seconds
        self._stats.chunks, self._stats.labels = len(kept), int(made.labels.sum())
        return MadeCells(kept, self._stats)
