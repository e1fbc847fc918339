"""Reader of a shard file: index and chunks, read by range and checked.

Format: Neuroglancer `src/datasource/precomputed/sharded.md`. Any order of chunks, gaps and wrapping
deltas are accepted; refused are an id twice, payloads that share bytes, payloads without bytes, and
ranges beyond the file. Memory: 24 bytes per chunk and one window.
"""

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np

import _braid
from braid.exceptions import ChunkNotFoundError, InvalidShardFormatError
from braid.io.byte_source import ByteSource, read_exactly, source_name
from braid.io.crc32c import RangeChecksum, crc32c_text
from braid.io.ranges import plan_windows
from braid.precomputed.data_encoding import gunzip_all
from braid.precomputed.shard_writer import head_bytes
from braid.precomputed.sharding import minishard_numbers, shard_box, shard_numbers
from braid.precomputed.volume_spec import ScaleSpec, ShardingSpec
from braid.typing import BytesLike, Int64Array, UInt64Array

__all__ = [
    "ChunkWindow",
    "Entries",
    "ShardFile",
    "Stored",
    "decode_all",
    "largest_chunk_bytes",
]


_WINDOW_BYTES = 8 << 20
_ENTRY = np.dtype("<u8")
_ENTRY_BYTES = 24  # id, start, size
_GZIP = 31  # zlib's window bits for a gzip member
_ISIZE_BYTES = 4
_MAX_CHUNK_BYTES = 1 << 28  # where the scale is not known
_LABEL_BYTES = {"uint64": 8, "uint32": 4}


@dataclass(frozen=True)
class Entries:
    """Entries of a shard's index, ascending by id.

    Attributes:
        ids: (n,) uint64.
        start: (n,) int64, first byte of the payload in the file.
        size: (n,) int64, bytes of the payload as stored.
    """

    ids: UInt64Array
    start: Int64Array
    size: Int64Array

    def __len__(self) -> int:
        return len(self.ids)


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
        self._shard = shard
        self._max_chunk_bytes = max_chunk_bytes
        self._index_checksum = RangeChecksum()
        self._checksum: RangeChecksum | None = None
        shard_bits = sharding.minishard_bits + sharding.shard_bits
        self._id_bits = max(id_bits, sharding.preshift_bits + shard_bits)
        self._head = head_bytes(sharding)
        self._max_chunks = min(max_chunks, source.size)
        self._max_per_minishard = min(1 << (self._id_bits - shard_bits), self._max_chunks)
        self.entries = self._read_entries()

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
        self, window_bytes: int = _WINDOW_BYTES, first_id: int = 0, end_id: int = 1 << 64
    ) -> Iterator["ChunkWindow"]:
        """Chunks in id order, many at a time; each window is one read.

        Args:
            window_bytes: most bytes held at a time (a larger payload is held alone).
            first_id: begin with this id.
            end_id: stop before this id.

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
        windows = plan_windows(starts.tolist(), ends.tolist(), window_bytes)
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

    def _read_entries(self) -> Entries:
        if self._head > self._source.size:
            raise self._broken(f"a shard index takes {self._head} bytes, the file has fewer")
        head = read_exactly(self._source, 0, self._head)
        self._index_checksum.add(0, head)
        ranges = self._index_ranges(np.frombuffer(head, _ENTRY).reshape(-1, 2))
        parts = list(self._minishards(ranges))
        ids, start, size = np.concatenate([np.zeros((3, 0), np.uint64), *parts], axis=1)
        order = np.argsort(ids)
        entries = Entries(
            ids[order],
            start[order].astype(np.int64) + self._head,
            size[order].astype(np.int64),
        )
        self._check_entries(entries)
        self._check_disjoint(entries, ranges)
        return entries

    def _index_ranges(self, pairs: UInt64Array) -> list[tuple[int, int, int]]:
        """(start, end, minishard) of every index with content, by start, relative to the body."""
        body = np.uint64(self._source.size - self._head)
        bad = np.flatnonzero((pairs[:, 0] > pairs[:, 1]) | (pairs[:, 1] > body))
        if len(bad):
            raise self._broken(f"minishard {bad[0]}: its index lies beyond the file")
        used = np.flatnonzero(pairs[:, 0] < pairs[:, 1])
        ranges = sorted(zip(*pairs[used].T.tolist(), used.tolist(), strict=True))
        for before, after in pairwise(ranges):
            if after[0] < before[1]:
                raise self._broken(f"minishards {before[2]} and {after[2]} share bytes")
        limit = _stored_limit(self._max_per_minishard * _ENTRY_BYTES)
        long = [(end - start, minishard) for start, end, minishard in ranges if end - start > limit]
        if long:
            raise self._broken(f"minishard {long[0][1]}: an index of {long[0][0]} bytes")
        return ranges

    def _minishards(self, ranges: list[tuple[int, int, int]]) -> Iterator[UInt64Array]:
        """(3, n) ids, starts relative to the body, sizes, of each minishard."""
        starts = [start for start, _, _ in ranges]
        ends = [end for _, end, _ in ranges]
        count = 0
        for first, last, begin, stop in plan_windows(starts, ends, _WINDOW_BYTES):
            data = read_exactly(self._source, self._head + begin, stop - begin)
            for start, end, minishard in ranges[first:last]:
                index = data[start - begin : end - begin]
                self._index_checksum.add(self._head + start, index)
                table = self._minishard(index, minishard)
                count += table.shape[1]
                if count > self._max_chunks:
                    raise self._broken(f"over {self._max_chunks} chunks, more than it can hold")
                yield table

    def _minishard(self, index: memoryview, minishard: int) -> UInt64Array:
        limit = self._max_per_minishard * _ENTRY_BYTES
        try:
            raw = self._decode_index(index, limit)
            if not 0 < len(raw) <= limit or len(raw) % _ENTRY_BYTES:
                raise self._broken(f"an index of {len(raw)} bytes, expected 24 per chunk")
            table = np.frombuffer(raw, _ENTRY).reshape(3, -1)
            ids = np.cumsum(table[0], dtype=np.uint64)  # deltas may wrap around
            sizes = table[2]
            ends = np.cumsum(table[1], dtype=np.uint64) + np.cumsum(sizes, dtype=np.uint64)
            found = np.stack([ids, ends - sizes, sizes])
            self._check_minishard(found, minishard)
        except InvalidShardFormatError as error:
            text = str(error).removeprefix(f"{self.name}: ")
            raise self._broken(f"minishard {minishard}: {text}") from None
        return found

    def _decode_index(self, index: memoryview, limit: int) -> bytes:
        if self._sharding.minishard_index_encoding == "raw":
            return bytes(index)
        inflate = zlib.decompressobj(_GZIP)
        try:
            raw = inflate.decompress(index, limit + 1)
        except zlib.error as error:
            raise self._broken(f"its index is not gzip ({error})") from None
        if len(raw) > limit or not inflate.eof or inflate.unused_data:
            raise self._broken("its index is too long, cut short, or followed by something")
        return raw

    def _check_minishard(self, table: UInt64Array, minishard: int) -> None:
        ids, starts, sizes = table
        body = np.uint64(self._source.size - self._head)
        if not sizes.all():
            raise self._broken(f"chunk {ids[int((sizes == 0).argmax())]} has no bytes")
        beyond = (starts > body) | (sizes > body - np.minimum(starts, body))
        if beyond.any():
            raise self._broken(f"chunk {ids[int(beyond.argmax())]} lies beyond the file")
        elsewhere = minishard_numbers(ids, self._sharding) != np.uint64(minishard)
        if self._shard is not None:
            elsewhere |= shard_numbers(ids, self._sharding) != np.uint64(self._shard)
        if self._id_bits < 64:  # noqa: PLR2004 (a u64 has no more)
            elsewhere |= ids >> np.uint64(self._id_bits) != np.uint64(0)
        if elsewhere.any():
            raise self._broken(f"chunk {ids[int(elsewhere.argmax())]} belongs elsewhere")

    def _check_entries(self, entries: Entries) -> None:
        twice = np.flatnonzero(entries.ids[1:] == entries.ids[:-1])
        if len(twice):
            raise self._broken(f"chunk {entries.ids[twice[0]]} is there twice")
        limit = _stored_limit(self._max_chunk_bytes)
        large = np.flatnonzero(entries.size > limit)
        if len(large):
            raise self._broken(
                f"chunk {entries.ids[large[0]]} has {entries.size[large[0]]} bytes, over {limit}"
            )

    def _check_disjoint(self, entries: Entries, ranges: list[tuple[int, int, int]]) -> None:
        indices = np.array(ranges, np.int64).reshape(-1, 3) + self._head
        starts = np.concatenate([entries.start, indices[:, 0]])
        ends = np.concatenate([entries.start + entries.size, indices[:, 1]])
        order = np.argsort(starts)
        shared = np.flatnonzero(starts[order][1:] < ends[order][:-1])
        if len(shared):
            raise self._broken(f"two chunks or indices share byte {starts[order][shared[0] + 1]}")

    def _broken(self, why: str) -> InvalidShardFormatError:
        return InvalidShardFormatError(f"{self.name}: {why}")


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


def _stored_limit(plain_bytes: int) -> int:
    """Most bytes that so many can take as stored: gzip adds to what it cannot shrink."""
    return plain_bytes + plain_bytes // 8 + 1024


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
