"""Rows of a DVID export become chunks of a Neuroglancer volume, in chunk-id order.

Whole 64x64x64 chunks with 8x8x8 blocks take the palette path: a block's label table is replaced
and its values repacked; voxels never exist. All others (clipped at the volume's edge, other chunk
or block sizes, decimated in z) take the voxel path: decode, cut, encode. Where both apply they give
the same bytes.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

import _braid
from braid import morton
from braid.blocks import Blocks, Where, unzip
from braid.chunks import Chunks
from braid.exceptions import DecompressionError, EncodingError
from braid.gzipped import payloads_of
from braid.in_order import in_order
from braid.record_batches import Rows
from braid.source_blocks import BLOCK_VOXELS, Triple, block_extent, check_z_step
from braid.tally import StepTally
from braid.volume import ScaleSpec

__all__ = ["BATCH_BYTES", "BATCH_CHUNKS", "Encode", "Tally", "Transcoder", "Window"]

BATCH_BYTES = 2 << 20  # uncompressed blocks in one batch; larger ones have a batch of their own
_VOXEL_BATCH_BYTES = 8 << 20  # of chunks encoded from voxels, neighbours of which share blocks
_SMALL_BATCH_BYTES = 128 << 10  # each batch costs some Python
BATCH_CHUNKS = 512  # a minishard of the usual specs
_VOXEL_BYTES = 8
_DECODED_BLOCKS = 8  # kept decoded: small chunks come back to a block, 2 MiB each

U64 = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]
Encode = Callable[[U64], bytes]
"""Encodes a chunk's voxels, (z, y, x) uint64, clipped to the volume."""
Batch = tuple["Window", Numbers, Numbers]  # chunks by the palette path, and by the voxel path


@dataclass(frozen=True)
class Window:
    """Consecutive chunks of a shard and the rows that they are made of.

    Attributes:
        ids: (m,) uint64, chunk ids, ascending.
        part_start: (m + 1,) int64 into parts.
        parts: (p,) int64, rows; chunk i is made of parts[part_start[i]:part_start[i + 1]].
        rows: the rows themselves.
        where: names a row in errors.
    """

    ids: U64
    part_start: Numbers
    parts: Numbers
    rows: Rows
    where: Where


@dataclass
class Tally(StepTally):
    """What transcoding has done so far."""

    unzip_s: float = 0.0
    transcode_s: float = 0.0


@dataclass
class Transcoder:
    """Makes the chunks of one scale.

    Attributes:
        scale: the output scale.
        mapped: write agglomerated labels; without, supervoxels.
        gzip_level: libdeflate's, 1 to 12 (0 stores).
        threads: batches worked on at the same time; the result does not depend on it.
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
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        check_z_step(self.z_step)

    @property
    def uses_palettes(self) -> bool:
        """Whether chunks inside the volume take the palette path."""
        other = self.by_voxels or self.z_step > 1 or self.encode is not None
        return self.scale.route == "palette" and not other

    @property
    def _batch_chunks(self) -> int:
        """Chunks of a batch at most; encoded from voxels they may be as large as those."""
        if self.uses_palettes:
            return BATCH_CHUNKS
        voxels = math.prod(self.scale.chunk_size) * _VOXEL_BYTES
        return min(BATCH_CHUNKS, max(1, _VOXEL_BATCH_BYTES // voxels))

    def payloads(self, windows: Iterable[Window]) -> Generator[Chunks]:
        """Stored chunks, batch by batch in the windows' order; chunks of zeros are left out.

        Raises:
            DecompressionError: a row does not decode; the text says file, row and chunk.
            EncodingError: a chunk needs larger offsets than the format has.
        """
        batches = (batch for window in windows for batch in self._batches(window))
        # Some batches wait, so that no thread does when another takes longer.
        ahead = 2 * self.threads if self.threads > 1 else 0
        made = in_order(self._work, batches, self.threads, ahead, "transcode")
        with closing(made):
            for payloads, tally in made:
                self.tally.add(tally)
                yield payloads

    def _batches(self, window: Window) -> Iterator[Batch]:
        whole = self._whole(window.ids)
        numbers = np.arange(len(window.ids))
        for first, end in _cut(window, self._batch_chunks, self.threads):
            mine = whole[first:end]
            yield window, numbers[first:end][mine], numbers[first:end][~mine]

    def _work(self, batch: Batch) -> tuple[Chunks, Tally]:
        window, whole, others = batch
        tally = Tally()
        chunks = self._by_palette(window, whole, tally).merged(
            self._by_voxels(window, others, tally)
        )
        tally.chunks = len(chunks)
        with tally.clock("gzip_s"):
            encoding = self.scale.sharding.data_encoding
            return payloads_of(chunks, encoding, self.gzip_level), tally

    def _whole(self, ids: U64) -> npt.NDArray[np.bool_]:
        """Which chunks the palette path serves: those that the volume does not clip."""
        if not self.uses_palettes:
            return np.zeros(len(ids), bool)
        end = (morton.decode(ids, self.scale.grid) + 1) * BLOCK_VOXELS
        return np.asarray((end <= self.scale.size).all(axis=1))

    def _by_palette(self, window: Window, chunks: Numbers, tally: Tally) -> Chunks:
        if not len(chunks):
            return Chunks.of([])
        with tally.clock("unzip_s"):
            rows = window.parts[window.part_start[chunks]]  # one block is one chunk
            blocks = unzip(window.rows, rows, mapped=self.mapped, where=window.where)
        with tally.clock("transcode_s"):
            try:
                made = _braid.transcode_blocks(blocks.data, blocks.start, *(blocks.mapping or ()))
            except _braid.KernelError as error:
                place = window.where(int(rows[max(error.item, 0)]))
                raise DecompressionError(f"{place}: {error}") from error
        tally.labels += int(made.labels.sum())
        return Chunks(window.ids[chunks], made.start, made.data.data).without_empty()

    def _by_voxels(self, window: Window, chunks: Numbers, tally: Tally) -> Chunks:
        if not len(chunks):
            return Chunks.of([])
        spans = [
            slice(a, b)
            for a, b in zip(window.part_start[chunks], window.part_start[chunks + 1], strict=True)
        ]
        rows = np.unique(np.concatenate([window.parts[span] for span in spans]))
        with tally.clock("unzip_s"):
            blocks = unzip(window.rows, rows, mapped=self.mapped, where=window.where)
        made: list[tuple[int, bytes]] = []
        with tally.clock("transcode_s"):
            cutter = _Cutter(self.scale, self.z_step, blocks, window)
            for chunk, span in zip(window.ids[chunks].tolist(), spans, strict=True):
                voxels = cutter.voxels(chunk, window.parts[span])
                if voxels.any():
                    made.append((chunk, self._encoded(chunk, voxels)))
                    tally.labels += self._labels(window, window.parts[span])
        return Chunks.of(made)

    def _encoded(self, chunk_id: int, voxels: U64) -> bytes:
        try:
            if self.encode is not None:
                return self.encode(voxels)
            return _braid.cseg_encode(voxels, self.scale.block_size or (8, 8, 8))
        except (_braid.KernelError, EncodingError) as error:
            at = tuple(morton.decode([chunk_id], self.scale.grid)[0].tolist())
            raise EncodingError(f"scale {self.scale.key}: chunk {at}: {error}") from error

    def _labels(self, window: Window, rows: Numbers) -> int:
        """Labels in the tables of a chunk's blocks; a few may lie beyond the volume's edge."""
        listed = window.rows.label_list if self.mapped else window.rows.supervoxel_list
        return len(np.unique(np.concatenate([listed(int(row)) for row in rows])))


class _Cutter:
    """Cuts chunks out of decoded blocks."""

    def __init__(self, scale: ScaleSpec, z_step: int, blocks: Blocks, window: Window) -> None:
        self._scale = scale
        self._z_step = z_step
        self._extent = block_extent(z_step)
        self._blocks = blocks
        self._window = window
        self._decoded: OrderedDict[int, U64] = OrderedDict()

    def voxels(self, chunk_id: int, rows: Numbers) -> U64:
        """A chunk's voxels (z, y, x), clipped to the volume; 0 where there is no block."""
        chunk = morton.decode([chunk_id], self._scale.grid)[0].tolist()
        begin, end = self._scale.chunk_box((chunk[0], chunk[1], chunk[2]))
        dx, dy, dz = (e - b for b, e in zip(begin, end, strict=True))
        out = np.zeros((dz, dy, dx), np.uint64)
        for row in rows.tolist():
            at = self._window.rows.coords[row].astype(np.int64) * self._extent
            to, source = _overlap(begin, end, at.tolist(), self._extent)
            out[to] = self._block(row)[source]
        return out

    def _block(self, row: int) -> U64:
        """A block's kept slices, (z / z_step, y, x)."""
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
            raise DecompressionError(f"{self._window.where(row)}: {error}") from error
        self._decoded[row] = out[0, :: self._z_step]
        return self._decoded[row]


def _overlap(
    begin: Triple, end: Triple, block: list[int], extent: Triple
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a block meets a chunk, as ZYX slices of the chunk and of the block."""
    low = [max(b, at) for b, at in zip(begin, block, strict=True)]
    high = [min(e, at + n) for e, at, n in zip(end, block, extent, strict=True)]
    of_chunk = [slice(a - b, z - b) for a, z, b in zip(low, high, begin, strict=True)]
    of_block = [slice(a - b, z - b) for a, z, b in zip(low, high, block, strict=True)]
    return tuple(reversed(of_chunk)), tuple(reversed(of_block))


def _cut(window: Window, most_chunks: int, threads: int = 1) -> Iterator[tuple[int, int]]:
    """Runs of chunks, bounded in count and in uncompressed bytes; some for each thread."""
    through = np.concatenate(
        [[0], np.cumsum(window.rows.uncompressed_size[window.parts], dtype=np.int64)]
    )
    reach = through[window.part_start]  # bytes before each chunk
    first, count = 0, len(window.ids)
    while first < count:
        limit = BATCH_BYTES
        if threads > 1:  # ever smaller towards the end, so that all threads end together
            share = int(reach[-1] - reach[first]) // (threads + 1)
            limit = min(BATCH_BYTES, max(_SMALL_BATCH_BYTES, share))
        fits = int(np.searchsorted(reach, reach[first] + limit, side="right")) - 1
        end = min(max(fits, first + 1), first + most_chunks, count)
        yield first, end
        first = end
