"""Voters: fine chunks of whole cells in, coarse chunks out, by blocks or by voxels.

Both take the same arguments and give the same bytes; where the block kernel can serve, it is an
order of magnitude faster.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol, TypedDict

import numpy as np

import _braid
from braid.downsample.cells import CellShape
from braid.exceptions import DecompressionError
from braid.precomputed.chunk_codec import Voxels, decode_chunk, encode_chunk, voxel_dtype
from braid.typing import BytesLike, Int64Array, Vec3

__all__ = [
    "BlockGeometry",
    "BlockVoter",
    "Voter",
    "VoxelVoter",
    "block_geometry",
    "takes_blocks",
]


_BLOCK = (8, 8, 8)
_LARGEST_SPAN = 8192  # voxels per axis that the block kernel reads for one chunk


class Voter(Protocol):
    """Makes coarse chunks from cells."""

    def vote(self, coords: Int64Array, chunks: Sequence[BytesLike | None]) -> _braid.Transcoded:
        """Vote on cells.

        Args:
            coords: (k, 3) grid coordinates of the coarse chunks.
            chunks: every slot of every cell, data encoding undone; None: zeros.

        Returns:
            A coarse chunk for each cell, without bytes if all its voxels are 0.

        Raises:
            KernelError: a chunk behind cell `.item` breaks its format.
            EncodingError: a coarse chunk is too large for the format.
        """
        ...


def takes_blocks(shape: CellShape) -> bool:
    """Whether the block kernel serves these scales."""
    edges = (*shape.fine.chunk_size, *shape.coarse.chunk_size)
    return (
        shape.fine.block_size == shape.coarse.block_size == _BLOCK
        and all(edge % 8 == 0 for edge in edges)
        and max(*shape.fine.chunk_size, *shape.span) <= _LARGEST_SPAN
    )


class BlockGeometry(TypedDict):
    """Two scales as the block kernel takes them; all but the last are (x, y, z)."""

    fine_size: Vec3
    fine_chunk: Vec3
    coarse_chunk: Vec3
    slots: Vec3
    factors: Vec3
    label_bits: int


def block_geometry(shape: CellShape) -> BlockGeometry:
    """Two scales that the block kernel serves."""
    return {
        "fine_size": shape.fine.size,
        "fine_chunk": shape.fine.chunk_size,
        "coarse_chunk": shape.coarse.chunk_size,
        "slots": shape.slots,
        "factors": shape.factor,
        "label_bits": 32 if shape.fine.data_type == "uint32" else 64,
    }


class BlockVoter:
    """Votes on compressed_segmentation blocks of 8x8x8; voxels never exist as labels."""

    def __init__(self, shape: CellShape, *, nonzero: bool) -> None:
        self._geometry = block_geometry(shape)
        self._nonzero = nonzero

    def vote(self, coords: Int64Array, chunks: Sequence[BytesLike | None]) -> _braid.Transcoded:
        """See `Voter`; one call of the kernel without the GIL."""
        return _braid.downsample_cells(chunks, coords, nonzero=self._nonzero, **self._geometry)


class VoxelVoter:
    """Decodes, votes and encodes cell by cell, for any encoding, block and chunk size."""

    def __init__(self, shape: CellShape, *, nonzero: bool) -> None:
        self._shape = shape
        self._nonzero = nonzero
        self._offsets = shape.offsets()

    def vote(self, coords: Int64Array, chunks: Sequence[BytesLike | None]) -> _braid.Transcoded:
        """See `Voter`."""
        slots = len(self._offsets)
        made = [
            self._vote(i, coords[i], chunks[i * slots : (i + 1) * slots])
            for i in range(len(coords))
        ]
        start = accumulate((len(chunk) for chunk, _ in made), initial=0)
        return _braid.Transcoded(
            np.frombuffer(b"".join(chunk for chunk, _ in made), np.uint8),
            np.fromiter(start, np.int64, len(made) + 1),
            np.array([labels for _, labels in made], np.uint32),
        )

    def _vote(
        self, item: int, coord: Int64Array, chunks: Sequence[BytesLike | None]
    ) -> tuple[bytes, int]:
        """A coarse chunk and its number of distinct labels, 0 included; no bytes if all is 0."""
        voxels = _braid.downsample_voxels(
            self._region(item, coord, chunks), self._shape.factor, self._nonzero
        )
        if not voxels.any():
            return b"", 0
        return encode_chunk(self._shape.coarse, voxels), len(np.unique(voxels))

    def _region(self, item: int, coord: Int64Array, chunks: Sequence[BytesLike | None]) -> Voxels:
        """Fine voxels behind a coarse chunk."""
        fine = self._shape.fine
        begin = coord * self._shape.span
        end = np.minimum(begin + self._shape.span, fine.size)
        region: Voxels = np.zeros((end - begin)[::-1], voxel_dtype(fine))
        for chunk, fine_coord in zip(chunks, begin // fine.chunk_size + self._offsets, strict=True):
            low = fine_coord * fine.chunk_size
            high = np.minimum(low + fine.chunk_size, fine.size)
            if chunk is None or (low >= end).any():
                continue
            try:
                voxels = decode_chunk(fine, chunk, tuple((high - low)[::-1].tolist()))
            except DecompressionError as error:
                where = tuple(fine_coord.tolist())
                raise _braid.KernelError(f"chunk {where}: {error}", item) from None
            first, last = np.maximum(low, begin), np.minimum(high, end)
            region[_box(first - begin, last - begin)] = voxels[_box(first - low, last - low)]
        return region


def _box(begin: Int64Array, end: Int64Array) -> tuple[slice, ...]:
    """Index of a (z, y, x) array."""
    return tuple(slice(int(b), int(e)) for b, e in zip(begin[::-1], end[::-1], strict=True))
