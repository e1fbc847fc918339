"""Window of rows: consecutive chunks of a shard and the rows behind them, read at once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from braid.dvid.block_batch import RowPlace
from braid.dvid.rows import Rows
from braid.typing import Int64Array, UInt64Array

__all__ = ["RowWindow"]


@dataclass(frozen=True)
class RowWindow:
    """Consecutive chunks of a shard and the rows that they are made of.

    Attributes:
        ids: (m,) chunk ids, ascending.
        part_start: (m + 1,) into parts.
        parts: (p,) rows; chunk i is made of parts[part_start[i]:part_start[i + 1]].
        rows: the rows themselves.
        describe_row: place of a row in the export.
    """

    ids: UInt64Array
    part_start: Int64Array
    parts: Int64Array
    rows: Rows
    describe_row: Callable[[int], RowPlace]

    def cut(self, most_chunks: int, most_bytes: int) -> Iterator[tuple[int, int]]:
        """Yield slices of chunks, as (first, end), bounded in count and in uncompressed bytes.

        Slices are of about one size. A chunk that alone passes the bytes is a slice of its own.
        """
        sizes = self.rows.uncompressed_size[self.parts]
        reach = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])[self.part_start]
        first, count = 0, len(self.ids)
        while first < count:
            left = int(reach[-1] - reach[first])
            share = left / max(1, -(-left // most_bytes))
            fits = int(np.searchsorted(reach, reach[first] + share, side="right")) - 1
            end = min(max(fits, first + 1), first + most_chunks, count)
            yield first, end
            first = end
