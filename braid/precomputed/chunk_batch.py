"""Batch of chunks in one buffer, passed between threads without a Python object per chunk."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Self

import numpy as np

from braid.typing import BytesLike, Int64Array, UInt64Array

__all__ = ["BytesLike", "ChunkBatch"]


@dataclass(frozen=True)
class ChunkBatch:
    """Chunks of a shard by ascending id, one after another; encoded, or as stored.

    Attributes:
        ids: (k,) uint64.
        start: (k + 1,) int64 into data; chunk i is data[start[i]:start[i + 1]].
        data: the bytes, from start[0] = 0 to start[-1].
    """

    ids: UInt64Array
    start: Int64Array
    data: BytesLike

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, BytesLike]]) -> Self:
        """Concatenate chunks given as (id, bytes)."""
        held = list(pairs)
        start = np.zeros(len(held) + 1, np.int64)
        np.cumsum([len(data) for _, data in held], out=start[1:])
        ids = np.array([chunk_id for chunk_id, _ in held], np.uint64)
        return cls(ids, start, b"".join(data for _, data in held))

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[tuple[int, BytesLike]]:
        """Yield each chunk as (id, bytes)."""
        for chunk_id, (begin, end) in zip(
            self.ids.tolist(), pairwise(self.start.tolist()), strict=True
        ):
            yield chunk_id, self.data[begin:end]

    @property
    def size(self) -> int:
        """Bytes of all chunks."""
        return int(self.start[-1])

    def without_empty(self) -> "ChunkBatch":
        """Chunks that have bytes: a chunk of zeros has none."""
        kept = self.start[1:] > self.start[:-1]
        if kept.all():
            return self
        return ChunkBatch(
            self.ids[kept], np.append(self.start[:-1][kept], self.start[-1:]), self.data
        )

    @classmethod
    def joined(cls, parts: Iterable["ChunkBatch"]) -> "ChunkBatch":
        """Merge the chunks of several batches, by ascending id."""
        held = [part for part in parts if len(part)]
        if len(held) == 1:
            return held[0]
        return cls.of(sorted(chain.from_iterable(held), key=lambda pair: pair[0]))
