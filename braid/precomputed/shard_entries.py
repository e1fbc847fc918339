"""Entries of a shard file: its shard index and minishard indices, read by range and checked.

Format: Neuroglancer `src/datasource/precomputed/sharded.md`. Any order of chunks, gaps and wrapping
deltas are accepted; refused are an id twice, payloads that share bytes, payloads without bytes, and
ranges beyond the file.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from braid.exceptions import InvalidShardFormatError
from braid.io.byte_source import ByteSource, read_exactly, source_name
from braid.io.crc32c import RangeChecksum
from braid.io.ranges import plan_windows
from braid.precomputed.shard_writer import head_bytes
from braid.precomputed.sharding import minishard_numbers, shard_numbers
from braid.precomputed.volume_spec import ShardingSpec
from braid.typing import Int64Array, UInt64Array

__all__ = ["Entries", "EntriesReader"]


_WINDOW_BYTES = 8 << 20
_ENTRY = np.dtype("<u8")
_ENTRY_BYTES = 24  # id, start, size
_GZIP = 31  # zlib's window bits for a gzip member


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


class EntriesReader:
    """Reads the entries of a shard file; arguments as those of `shard_reader.ShardFile`.

    Attributes:
        checksum: of the index's bytes, once it is read.
    """

    def __init__(
        self,
        source: ByteSource,
        sharding: ShardingSpec,
        *,
        shard: int | None,
        id_bits: int,
        max_chunks: int,
        max_chunk_bytes: int,
    ) -> None:
        self.checksum = RangeChecksum()
        self._source = source
        self._name = source_name(source)
        self._sharding = sharding
        self._shard = shard
        self._max_chunk_bytes = max_chunk_bytes
        shard_bits = sharding.minishard_bits + sharding.shard_bits
        self._id_bits = max(id_bits, sharding.preshift_bits + shard_bits)
        self._head = head_bytes(sharding)
        self._max_chunks = min(max_chunks, source.size)
        self._max_per_minishard = min(1 << (self._id_bits - shard_bits), self._max_chunks)

    def read(self) -> Entries:
        """Read all entries.

        Raises:
            InvalidShardFormatError: the index breaks the format.
        """
        if self._head > self._source.size:
            raise self._broken(f"a shard index takes {self._head} bytes, the file has fewer")
        head = read_exactly(self._source, 0, self._head)
        self.checksum.add(0, head)
        ranges = self._index_ranges(np.frombuffer(head, _ENTRY).reshape(-1, 2))
        parts = list(self._minishards(ranges))
        ids, start, size = np.concatenate([np.zeros((3, 0), np.uint64), *parts], axis=1)
        order = _ascending(ids)
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
                self.checksum.add(self._head + start, index)
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
            text = str(error).removeprefix(f"{self._name}: ")
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
        order = _ascending(starts)
        shared = np.flatnonzero(starts[order][1:] < ends[order][:-1])
        if len(shared):
            raise self._broken(f"two chunks or indices share byte {starts[order][shared[0] + 1]}")

    def _broken(self, why: str) -> InvalidShardFormatError:
        return InvalidShardFormatError(f"{self._name}: {why}")


def _ascending(values: Int64Array | UInt64Array) -> Int64Array | slice:
    """Index that sorts values; a file's own order nearly always does."""
    return slice(None) if (values[1:] > values[:-1]).all() else np.argsort(values)


def _stored_limit(plain_bytes: int) -> int:
    """Most bytes that so many can take as stored: gzip adds to what it cannot shrink."""
    return plain_bytes + plain_bytes // 8 + 1024
