"""The export files behind one output shard: which rows it needs, and how they are read.

Rows lie roughly in ZYX order and the output wants chunk-id order, so rows are read in windows of
consecutive chunks, bounded in bytes. Remote files of up to 256 MiB are fetched whole, in one
request; local and larger ones by merged ranges.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate
from typing import Self

import numpy as np
import numpy.typing as npt

from braid.dvid.row_reader import in_order_of_use
from braid.exceptions import InvalidShardFormatError
from braid.io.byte_source import ByteSource, BytesSource, read_exactly
from braid.parallel.ordered_map import ordered_map
from braid.precomputed.volume_spec import ScaleSpec
from braid.reader import Rows, ShardRangeReader
from braid.transcode.block_assignment import BlockAssignment
from braid.transcode.file_extent import check_rows
from braid.transcode.row_window import RowWindow
from consumer.executor.range_prefetch import RangeCache
from memmodel.estimate import LOCAL_WINDOW_BYTES, REMOTE_WINDOW_BYTES
from memmodel.estimate import WHOLE_OBJECT_BYTES as WHOLE_BYTES
from runtime.errors import ObjectNotFound
from runtime.storage import Storage
from runtime.urls import is_remote

I64 = npt.NDArray[np.int64]


class SourceFile:
    """One Arrow file of an export and its index.

    Args:
        storage: where it lies.
        path: of the Arrow file; its CSV files stand beside it.
        whole_bytes: fetch it in one request if it is no larger.
    """

    def __init__(self, storage: Storage, path: str, whole_bytes: int) -> None:
        self._source = storage.source(path)
        self.whole_bytes = 0
        self._index_requests = 0
        self._cache: RangeCache | None = None
        arrow: ByteSource = self._source
        if self._source.size <= whole_bytes:
            self.whole_bytes = self._source.size
            arrow = BytesSource(read_exactly(self._source, 0, self._source.size), self._source.name)
        elif is_remote(storage.url):
            arrow = self._cache = RangeCache(self._source)
        stem = path.removesuffix(".arrow")
        indices = [self._index(storage, f"{stem}{end}") for end in (".csv", "-offsets.csv")]
        self.reader = ShardRangeReader(arrow, *indices)

    @property
    def requests(self) -> int:
        """Reads of the Arrow file and its index so far."""
        return self._source.requests + self._index_requests

    def read_rows(self, rows: I64) -> Rows:
        """Rows in the order asked."""
        if self._cache is not None:
            index = self.reader.index
            starts = index.offset[rows].astype(np.int64)
            self._cache.fetch(starts, starts + index.size[rows].astype(np.int64))
        return self.reader.read_rows(rows)

    def check_cell(self, scale: ScaleSpec, z_compress: int) -> None:
        """Refuse rows outside the cell that the file is named after.

        Raises:
            InvalidShardFormatError: there is one.
        """
        check_rows(self.reader.index.coords, self.reader.name, scale, z_compress)

    def where(self, row: int) -> str:
        """Names a row in errors."""
        chunk = tuple(self.reader.index.coords[row].tolist())
        return f"{self.reader.name}: row {row}, chunk {chunk}"

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()

    def _index(self, storage: Storage, path: str) -> BytesSource | None:
        try:
            source = storage.source(path)
        except ObjectNotFound:
            return None
        try:
            data = read_exactly(source, 0, source.size)
            self._index_requests += source.requests
            return BytesSource(data, source.name)
        finally:
            source.close()


@dataclass(frozen=True)
class _Place:
    """Where the rows of all files are, one entry per row; a row's number counts over all files."""

    coords: npt.NDArray[np.int32]  # (n, 3)
    file: I64
    row: I64  # in its file
    message: I64  # a number for each record batch
    message_bytes: I64

    @classmethod
    def of(cls, files: Sequence[SourceFile]) -> Self:
        indices = [file.reader.index for file in files]
        counts = [len(index) for index in indices]
        messages = [len(index.first_rows) for index in indices]
        before = list(accumulate(messages, initial=0))[:-1]
        return cls(
            coords=np.concatenate([*(i.coords for i in indices), np.zeros((0, 3), np.int32)]),
            file=np.repeat(np.arange(len(files)), counts),
            row=_joined([np.arange(count) for count in counts]),
            message=_joined([i.batch + b for i, b in zip(indices, before, strict=True)]),
            message_bytes=_joined([index.size.astype(np.int64) for index in indices]),
        )


class SourceFiles:
    """All files that feed an output shard. A row's number counts over all of them.

    Args:
        storage: where the export lies.
        paths: Arrow files, relative to the storage.

    Raises:
        ObjectNotFound: a file is not there.
        InvalidShardFormatError: a file or its index is damaged, or two rows hold one chunk.
    """

    def __init__(self, storage: Storage, paths: Sequence[str]) -> None:
        self._remote = is_remote(storage.url)
        self.files: list[SourceFile] = []
        left = WHOLE_BYTES if self._remote else 0
        with ExitStack() as stack:
            for path in paths:
                self.files.append(SourceFile(storage, path, left))
                stack.callback(self.files[-1].close)
                left -= self.files[-1].whole_bytes
            self._place = _Place.of(self.files)
            self._check_unique()
            self._closing = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing.close()

    @property
    def coords(self) -> npt.NDArray[np.int32]:
        """(n, 3) block coordinates x, y, z of all rows."""
        return self._place.coords

    @property
    def requests(self) -> int:
        """Reads so far."""
        return sum(file.requests for file in self.files)

    def check_cells(self, scale: ScaleSpec, z_compress: int) -> None:
        """Refuse rows that every shard would pass over, for they lie outside their file's cell.

        Raises:
            InvalidShardFormatError: there is one.
        """
        for file in self.files:
            file.check_cell(scale, z_compress)

    @property
    def _window_bytes(self) -> int:
        """Bytes of Arrow messages to read at once."""
        here = not self._remote or all(file.whole_bytes for file in self.files)
        return LOCAL_WINDOW_BYTES if here else REMOTE_WINDOW_BYTES

    def bytes_of(self, rows: I64) -> int:
        """Bytes of the Arrow messages that hold these rows."""
        messages, sizes = self._place.message[rows], self._place.message_bytes[rows]
        once = np.zeros(messages.max(initial=0) + 1, np.int64)
        once[messages] = sizes
        return int(once.sum())

    def windows(self, assigned: BlockAssignment) -> Generator[RowWindow]:
        """Read the rows that a shard needs, window by window, one ahead of its use."""

        def read(span: tuple[int, int]) -> RowWindow:
            return self._read(assigned, *span)

        spans = list(self._spans(assigned))
        yield from ordered_map(read, spans, threads=1, ahead=int(len(spans) > 1), name="read")

    def where(self, row: int) -> str:
        """Names a row in errors."""
        return self.files[int(self._place.file[row])].where(int(self._place.row[row]))

    def _spans(self, assigned: BlockAssignment) -> Iterator[tuple[int, int]]:
        """Runs of pairs, whole chunks each, that need about a window's bytes of messages."""
        messages = self._place.message[assigned.blocks].tolist()
        sizes = self._place.message_bytes[assigned.blocks].tolist()
        limit = self._window_bytes
        if 0 < sum(sizes) <= limit:
            yield 0, len(messages)
            return
        begins_chunk = np.diff(assigned.ids, prepend=assigned.ids[:1] ^ 1) != 0
        seen: set[int] = set()
        first, held = 0, 0
        for pair, (message, size, begins) in enumerate(
            zip(messages, sizes, begins_chunk.tolist(), strict=True)
        ):
            if begins and held and message not in seen and held + size > limit:
                yield first, pair
                first, held = pair, 0
                seen.clear()
            if message not in seen:
                seen.add(message)
                held += size
        if first < len(messages):
            yield first, len(messages)

    def _read(self, assigned: BlockAssignment, first: int, end: int) -> RowWindow:
        """The chunks of a run of pairs, and their rows in the order of first use."""
        pairs, ids = assigned.blocks[first:end], assigned.ids[first:end]
        wanted, parts = in_order_of_use(pairs)
        file = self._place.file[wanted]
        by_file = np.argsort(file, kind="stable")
        rows = [
            self.files[number].read_rows(self._place.row[wanted[file == number]])
            for number in np.unique(file).tolist()
        ]
        place = np.empty_like(by_file)
        place[by_file] = np.arange(len(by_file))
        numbers = wanted[by_file]
        chunk_ids, part_start = np.unique(ids, return_index=True)
        return RowWindow(
            ids=chunk_ids,
            part_start=np.append(part_start, len(ids)),
            parts=place[parts],
            rows=_concatenated(rows),
            where=lambda row: self.where(int(numbers[row])),
        )

    def _check_unique(self) -> None:
        if len(self.files) == 1:
            return  # its index was checked
        order = np.lexsort(self.coords.T)
        ordered = self.coords[order]
        twice = np.flatnonzero((ordered[1:] == ordered[:-1]).all(axis=1))
        if len(twice):
            one, other = sorted(order[twice[0] : twice[0] + 2].tolist())
            raise InvalidShardFormatError(
                f"{self.where(one)}: the same chunk is in {self.where(other)}. "
                "Re-export into an empty folder"
            )


def _concatenated(rows: list[Rows]) -> Rows:
    if len(rows) == 1:
        return rows[0]
    return Rows(
        coords=np.concatenate([r.coords for r in rows]),
        blocks=np.concatenate([r.blocks for r in rows]),
        block_start=_starts([r.block_start for r in rows]),
        uncompressed_size=np.concatenate([r.uncompressed_size for r in rows]),
        labels=np.concatenate([r.labels for r in rows]),
        label_start=_starts([r.label_start for r in rows]),
        supervoxels=np.concatenate([r.supervoxels for r in rows]),
        supervoxel_start=_starts([r.supervoxel_start for r in rows]),
    )


def _starts(starts: list[I64]) -> I64:
    """Starts into arrays that were put one behind another."""
    shifts = accumulate((int(start[-1]) for start in starts), initial=0)
    moved = [start + shift for start, shift in zip(starts, shifts, strict=False)]
    return np.concatenate([*(start[:-1] for start in moved[:-1]), moved[-1]])


def _joined(arrays: Sequence[I64]) -> I64:
    return np.concatenate([*arrays, np.zeros(0, np.int64)])  # there may be none
