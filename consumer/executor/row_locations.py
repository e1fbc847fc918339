"""Row locations: where the rows of several files are, numbered over all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Self

import numpy as np

from braid.dvid.block_batch import RowPlace
from braid.exceptions import InvalidShardFormatError
from braid.typing import Int32Array, Int64Array
from consumer.executor.source_file import SourceFile


@dataclass(frozen=True)
class RowLocations:
    """Where the rows of all files are, one entry per row; row numbers count over all files."""

    files: Sequence[SourceFile]
    coords: Int32Array  # (n, 3)
    file: Int64Array
    row: Int64Array  # in its file
    record_batch: Int64Array  # number of its record batch, counted over all files
    record_batch_bytes: Int64Array
    first_batches: Sequence[int]  # of each file

    @classmethod
    def of(cls, files: Sequence[SourceFile]) -> Self:
        """Locations from the files' indices."""
        indices = [file.reader.index for file in files]
        counts = [len(index) for index in indices]
        batches = [len(index.first_rows) for index in indices]
        before = list(accumulate(batches, initial=0))[:-1]
        return cls(
            files=files,
            first_batches=before,
            coords=np.concatenate([*(i.coords for i in indices), np.zeros((0, 3), np.int32)]),
            file=np.repeat(np.arange(len(files)), counts),
            row=_joined([np.arange(count) for count in counts]),
            record_batch=_joined([i.batch + b for i, b in zip(indices, before, strict=True)]),
            record_batch_bytes=_joined([index.size.astype(np.int64) for index in indices]),
        )

    def place(self, row: int) -> RowPlace:
        """Place of a row."""
        return self.files[int(self.file[row])].place(int(self.row[row]))

    def bytes_of(self, rows: Int64Array) -> int:
        """Bytes of the record batches that hold these rows, each counted once."""
        batches = self.record_batch[rows]
        once = np.zeros(batches.max(initial=0) + 1, np.int64)
        once[batches] = self.record_batch_bytes[rows]
        return int(once.sum())

    def row_bytes(self, rows: Int64Array) -> Int64Array:
        """Bytes that each of these rows takes without the rest of its record batch."""
        found = np.empty(len(rows), np.int64)
        files = self.file[rows]
        for number in np.unique(files).tolist():
            here = files == number
            found[here] = self.files[number].reader.bytes_of_rows(self.row[rows[here]])
        return found

    def check_unique(self) -> None:
        """Refuse two rows that hold one chunk.

        Raises:
            InvalidShardFormatError: there are.
        """
        if len(self.files) == 1:
            return  # its index was checked
        order = np.lexsort(self.coords.T)
        ordered = self.coords[order]
        twice = np.flatnonzero((ordered[1:] == ordered[:-1]).all(axis=1))
        if len(twice):
            one, other = sorted(order[twice[0] : twice[0] + 2].tolist())
            raise InvalidShardFormatError(
                f"{self.place(one)}: the same chunk is in {self.place(other)}. "
                "Re-export into an empty folder"
            )


def _joined(arrays: Sequence[Int64Array]) -> Int64Array:
    return np.concatenate([*arrays, np.zeros(0, np.int64)])  # `arrays` may be empty
