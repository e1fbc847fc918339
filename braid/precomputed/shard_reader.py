"""Reader of a shard file: its chunks, read by range and checked.

Memory: 24 bytes per chunk for the index, which `shard_entries` reads, and one window.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np

import _braid
from braid.exceptions import ChunkNotFoundError, InvalidShardFormatError
from braid.io.byte_source import ByteSource, read_exactly, source_name
from braid.io.crc32c import RangeChecksum, crc32c_text
from braid.io.ranges import plan_windows
from braid.precomputed.data_encoding import gunzip_all
from braid.precomputed.shard_entries import EntriesReader
from braid.precomputed.sharding import shard_box
from braid.precomputed.volume_spec import ScaleSpec, ShardingSpec
from braid.typing import BytesLike, Int64Array, UInt64Array

__all__ = [
    "ChunkWindow",
    "ShardFile",
    "Stored",
    "decode_all",
    "largest_chunk_bytes",
]


_WINDOW_BYTES = 8 << 20
_ISIZE_BYTES = 4
_MAX_CHUNK_BYTES = 1 << 28  # where the scale is not known
_LABEL_BYTES = {"uint64": 8, "uint32": 4}


class ChunkWindow(NamedTuple):
    """Chunks read together, by ascending id; chunk i is data[start[i]:end[i]]."""

    ids: UInt64Array
    start: Int64Array
    end: Int64Array
    data: BytesLike

    def runs(self) -> list[tuple[int, int]]:
        """Ranges of chunks that follow each other without a gap, joined."""
        breaks = np.flatnonzero(self.start[1:] != self.end[:-1])
        begins = self.start[np.append(0, breaks + 1)].tolist()
        stops = self.end[np.append(breaks, len(self.end) - 1)].tolist()
        return list(zip(begins, stops, strict=True))

    def packed(self) -> tuple[BytesLike, Int64Array]:
        """The payloads without gaps, and the start of each and the end of the last."""
        runs = self.runs()
        if len(runs) == 1:
            ((begin, stop),) = runs
            return self.data[begin:stop], np.append(self.start, stop) - begin
        data = b"".join(self.data[begin:stop] for begin, stop in runs)
        return data, np.append(0, np.cumsum(self.end - self.start))


class ShardFile:
    """Open shard file, its index read and checked.

    Args:
        source: the file's bytes.
        sharding: how its scale cuts ids.
        shard: its number, if known: then foreign ids are refused.
        id_bits: bits of the scale's ids, if more than preshift, minishard and shard bits together.
        max_chunks: most chunks that the shard can hold.
        max_chunk_bytes: most bytes of a chunk once its data encoding is undone.

    Raises:
        InvalidShardFormatError: the index breaks the format.
    """

    def __init__(
        self,
        source: ByteSource,
        sharding: ShardingSpec,
        *,
        shard: int | None = None,
        id_bits: int = 0,
        max_chunks: int = 1 << 64,
        max_chunk_bytes: int = _MAX_CHUNK_BYTES,
    ) -> None:
        self._source = source
        self._sharding = sharding
        self._max_chunk_bytes = max_chunk_bytes
        self._checksum: RangeChecksum | None = None
        index = EntriesReader(
            source,
            sharding,
            shard=shard,
            id_bits=id_bits,
            max_chunks=max_chunks,
            max_chunk_bytes=max_chunk_bytes,
        )
        self.entries = index.read()
        self._index_checksum = index.checksum

    @classmethod
    def open(cls, source: ByteSource, scale: ScaleSpec, shard: int) -> Self:
        """Open a shard of a scale, with every limit that the scale gives."""
        begin, end = shard_box(scale, shard)
        return cls(
            source,
            scale.sharding,
            shard=shard,
            id_bits=scale.id_bits,
            max_chunks=math.prod(e - b for b, e in zip(begin, end, strict=True)),
            max_chunk_bytes=largest_chunk_bytes(scale),
        )

    @property
    def name(self) -> str:
        """Name of the file in errors."""
        return source_name(self._source)

    @property
    def source(self) -> ByteSource:
        """Source of the file's bytes."""
        return self._source

    @property
    def data_encoding(self) -> str:
        """Of its payloads: `raw` or `gzip`."""
        return self._sharding.data_encoding

    @property
    def crc32c(self) -> str | None:
        """CRC-32C of the whole file as GCS prints it; None until all chunks were iterated over.

        Bytes that belong to no chunk (shardlift writes none) are read for it.
        """
        if self._checksum is None:
            return None
        for start, end in self._checksum.gaps(self._source.size):
            for at in range(start, end, _WINDOW_BYTES):
                piece = read_exactly(self._source, at, min(_WINDOW_BYTES, end - at))
                self._checksum.add(at, piece)
        return crc32c_text(self._checksum.value())

    def __len__(self) -> int:
        return len(self.entries)

    def ids(self) -> UInt64Array:
        """(n,) uint64 chunk ids, ascending."""
        return self.entries.ids

    def chunk(self, chunk_id: int) -> bytes:
        """Read one chunk, data encoding undone.

        Raises:
            ChunkNotFoundError: the shard does not hold it.
            InvalidShardFormatError: its payload does not decode.
        """
        at = int(np.searchsorted(self.entries.ids, np.uint64(chunk_id)))
        if at == len(self.entries) or int(self.entries.ids[at]) != chunk_id:
            raise ChunkNotFoundError(f"{self.name}: no chunk with id {chunk_id}")
        start, size = int(self.entries.start[at]), int(self.entries.size[at])
        return self.decode(chunk_id, bytes(read_exactly(self._source, start, size)))

    def decode(self, chunk_id: int, payload: bytes) -> bytes:
        """Undo the data encoding of a payload.

        Raises:
            InvalidShardFormatError: it is not gzip, or larger than a chunk can be.
        """
        return bytes(decode_all([(self, chunk_id, payload)])[0])

    def decoded_bytes(self, chunk_id: int, payload: BytesLike) -> int:
        """Bytes that `decode` will give, as the payload claims.

        Raises:
            InvalidShardFormatError: more than a chunk can have.
        """
        if self.data_encoding == "raw":
            return len(payload)
        claimed = int.from_bytes(payload[-_ISIZE_BYTES:], "little")
        if claimed > self._max_chunk_bytes:
            raise InvalidShardFormatError(
                f"{self.name}: chunk {chunk_id} claims {claimed} bytes, over the "
                f"{self._max_chunk_bytes} that a chunk can have"
            )
        return claimed

    def decoded_sizes(self, ids: UInt64Array, data: BytesLike, start: Int64Array) -> Int64Array:
        """`decoded_bytes` of many payloads; payload i is data[start[i]:start[i + 1]]."""
        sizes = np.diff(start)
        if self.data_encoding == "raw":
            return sizes
        last = start[1:, None] + np.arange(-_ISIZE_BYTES, 0)
        stored = np.frombuffer(data, np.uint8)
        claimed: Int64Array = stored[np.maximum(last, 0)].view("<u4")[:, 0].astype(np.int64)
        for i in np.flatnonzero((claimed > self._max_chunk_bytes) | (sizes < _ISIZE_BYTES)):
            payload = bytes(data[start[i] : start[i + 1]])
            claimed[i] = self.decoded_bytes(int(ids[i]), payload)
        return claimed

    def iter_chunks(
        self, window_bytes: int = _WINDOW_BYTES, first_id: int = 0, end_id: int = 1 << 64
    ) -> Iterator[tuple[int, bytes]]:
        """Chunks in id order as (id, payload as stored); arguments as in `iter_windows`."""
        for window in self.iter_windows(window_bytes, first_id, end_id):
            bounds = zip(window.start.tolist(), window.end.tolist(), strict=True)
            for chunk_id, (start, end) in zip(window.ids.tolist(), bounds, strict=True):
                yield chunk_id, bytes(window.data[start:end])

    def iter_windows(
        self,
        window_bytes: int = _WINDOW_BYTES,
        first_id: int = 0,
        end_id: int = 1 << 64,
        first_bytes: int | None = None,
    ) -> Iterator[ChunkWindow]:
        """Chunks in id order, many at a time; each window is one read.

        Args:
            window_bytes: most bytes held at a time (a larger payload is held alone).
            first_id: begin with this id.
            end_id: stop before this id.
            first_bytes: most bytes of the first window; None: as of the others.

        Raises:
            InvalidShardFormatError: the file has shrunk.
        """
        ids = self.entries.ids
        low = int(np.searchsorted(ids, np.uint64(first_id)))
        high = int(np.searchsorted(ids, np.uint64(end_id - 1), "right")) if end_id > 0 else 0
        whole = low == 0 and high == len(ids)
        checksum = self._index_checksum.copy()
        starts = self.entries.start[low:high]
        ends = starts + self.entries.size[low:high]
        windows = plan_windows(
            starts.tolist(), ends.tolist(), window_bytes, first_limit_bytes=first_bytes
        )
        for first, last, begin, stop in windows:
            data = read_exactly(self._source, begin, stop - begin)
            window = ChunkWindow(
                ids[low:high][first:last],
                starts[first:last] - begin,
                ends[first:last] - begin,
                data,
            )
            for start, end in window.runs():
                checksum.add(begin + start, data[start:end])
            yield window
        if whole:
            self._checksum = checksum


Stored = tuple[ShardFile, int, BytesLike]  # file, chunk id, payload


def decode_all(stored: Sequence[Stored]) -> Sequence[BytesLike]:
    """Undo the data encoding of many payloads of one scale, in one call.

    Raises:
        InvalidShardFormatError: one is not gzip, or larger than a chunk can be.
    """
    payloads = [payload for _, _, payload in stored]
    if not stored or stored[0][0].data_encoding == "raw":
        return payloads
    sizes = [file.decoded_bytes(chunk_id, payload) for file, chunk_id, payload in stored]
    try:
        return gunzip_all(payloads, sizes)
    except _braid.KernelError as error:
        file, chunk_id, _ = stored[error.item]
        raise InvalidShardFormatError(f"{file.name}: chunk {chunk_id}: {error}") from None


def largest_chunk_bytes(scale: ScaleSpec) -> int:
    """Most bytes of a chunk of this scale before the data encoding."""
    label = _LABEL_BYTES[scale.data_type]
    if scale.block_size is None:
        return label * math.prod(scale.chunk_size)
    blocks = math.prod(
        -(-chunk // block) for chunk, block in zip(scale.chunk_size, scale.block_size, strict=True)
    )
    voxels = math.prod(scale.block_size)
    value = 2 if voxels <= 1 << 16 else 4  # a value counts the labels of one block
    # Offset of the channel; then per block a header, values, and a table.
    return 4 + blocks * (8 + (value + label) * voxels)
