"""Writer of a shard file: chunks in id order, streamed.

Format: Neuroglancer `src/datasource/precomputed/sharded.md`. Layout: the body is nothing but
payloads in id order, all minishard indices at the tail. So the body streams out while chunks
come in, and only the shard index, which stands first in the file, is known last: it is returned.
"""

from collections.abc import Generator, Iterable
from itertools import pairwise

import deflate
import numpy as np

from braid.exceptions import InvalidShardFormatError
from braid.precomputed.chunk_batch import ChunkBatch
from braid.precomputed.sharding import minishard_numbers
from braid.precomputed.volume_spec import ShardingSpec
from braid.typing import UInt64Array

__all__ = ["head_bytes", "shard_pieces"]


_ENTRY = np.dtype("<u8")
_INDEX_GZIP_LEVEL = 6  # part of every output's bytes, so not an option


def head_bytes(sharding: ShardingSpec) -> int:
    """Bytes of the shard index: a u64 pair per minishard."""
    return 2 * _ENTRY.itemsize << sharding.minishard_bits


def shard_pieces(
    chunks: Iterable[ChunkBatch], sharding: ShardingSpec, shard: int
) -> Generator[bytes, None, bytes]:
    """Yield the body of a shard file in pieces, and return its head.

    Args:
        chunks: batches with ascending ids of this shard, data encoding applied.
        sharding: how ids are cut.
        shard: the shard's number.

    Returns:
        The shard index, `head_bytes(sharding)` long; it goes before the body.

    Raises:
        InvalidShardFormatError: an id does not ascend or belongs elsewhere, or a payload is empty.
    """
    index = _Index(sharding, shard)
    for batch in chunks:
        if len(batch):
            index.add(batch)
            yield bytes(batch.data[: batch.size])
    tail, head = index.encode()
    if tail:
        yield tail
    return head


class _Index:
    """Ids and sizes of the chunks so far, 16 bytes per chunk."""

    def __init__(self, sharding: ShardingSpec, shard: int) -> None:
        self._sharding = sharding
        low = sharding.preshift_bits + sharding.minishard_bits
        self._next, self._end = shard << low, (shard + 1) << low
        self._ids: list[UInt64Array] = []
        self._sizes: list[UInt64Array] = []

    def add(self, chunks: ChunkBatch) -> None:
        sizes = (chunks.start[1:] - chunks.start[:-1]).astype(_ENTRY)
        self._check(chunks.ids, sizes)
        self._next = int(chunks.ids[-1]) + 1
        self._ids.append(chunks.ids)
        self._sizes.append(sizes)

    def _check(self, ids: UInt64Array, sizes: UInt64Array) -> None:
        """Refuse ids that do not ascend from where the ones before ended, within the shard."""
        inside = self._next <= int(ids[0]) and int(ids[-1]) < self._end
        if inside and (ids[1:] > ids[:-1]).all() and sizes.all():
            return
        least = self._next
        for chunk_id, size in zip(ids.tolist(), sizes.tolist(), strict=True):
            if not least <= chunk_id < self._end:
                raise InvalidShardFormatError(
                    f"chunk id {chunk_id} is out of order: this shard goes on with "
                    f"{least}..{self._end - 1}"
                )
            if size == 0:
                raise InvalidShardFormatError(f"chunk id {chunk_id} has an empty payload")
            least = chunk_id + 1

    def encode(self) -> tuple[bytes, bytes]:
        """Encode the minishard indices, one after another, and the shard index."""
        ids = np.concatenate([*self._ids, np.zeros(0, _ENTRY)])
        sizes = np.concatenate([*self._sizes, np.zeros(0, _ENTRY)])
        ends = np.cumsum(sizes, dtype=_ENTRY)
        numbers = minishard_numbers(ids, self._sharding)
        at = int(ends[-1]) if len(ends) else 0
        head = np.zeros((1 << self._sharding.minishard_bits, 2), _ENTRY)
        # Ids ascend within one shard, so a minishard's chunks stand side by side.
        breaks = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
        firsts = [0, *breaks.tolist()] if len(ids) else []
        parts = []
        for low, high in pairwise([*firsts, len(ids)]):
            minishard = int(numbers[low])
            parts.append(self._minishard(ids[low:high], ends[low:high], sizes[low:high]))
            head[minishard] = at, at + len(parts[-1])
            at += len(parts[-1])
        return b"".join(parts), head.tobytes()

    def _minishard(self, ids: UInt64Array, ends: UInt64Array, sizes: UInt64Array) -> bytes:
        rows = np.zeros((3, len(ids)), _ENTRY)
        rows[0, 0], rows[0, 1:] = ids[0], np.diff(ids)
        # Each start counts from the end of the chunk before: all but the first follow at once.
        rows[1, 0] = ends[0] - sizes[0]
        rows[2] = sizes
        data = rows.tobytes()
        if self._sharding.minishard_index_encoding == "gzip":
            return bytes(deflate.gzip_compress(data, _INDEX_GZIP_LEVEL))
        return data
