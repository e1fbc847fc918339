"""Export files that feed one output shard, read in windows of rows.

Rows lie roughly in ZYX order and the output wants chunk-id order, so rows are read in windows of
consecutive chunks, bounded in bytes. Remote files of up to 256 MiB in all are fetched whole, in
parts, and work begins with the first; local ones that are no larger than the windows of a shard are
read at once; others are read by merged ranges. What several files need first is requested side by
side.
"""

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Self

import numpy as np

from braid.dvid.block_batch import RowPlace
from braid.dvid.row_reader import in_order_of_use
from braid.exceptions import BraidError, InvalidShardFormatError
from braid.io.byte_source import ByteSource, BytesSource, read_exactly
from braid.io.crc32c import crc32c
from braid.parallel.ordered_map import ordered_map
from braid.precomputed.volume_spec import ScaleSpec
from braid.reader import Rows, ShardRangeReader
from braid.transcode.block_assignment import BlockAssignment
from braid.transcode.file_extent import check_rows
from braid.transcode.row_window import RowWindow
from braid.typing import Int32Array, Int64Array
from consumer.executor.fetches import Fetches, Part
from consumer.executor.file_opening import INDEX_ENDS, OpenedFile, opened_files
from consumer.executor.range_prefetch import RangePrefetch
from consumer.executor.whole_fetch import WholeFetch, may_hold
from consumer.executor.window_plan import Span, WindowPlan, plan_windows
from delivery.ledger.source_digest import source_digest
from memmodel.estimate import (
    HELD_WINDOW_BYTES,
    LOCAL_WHOLE_BYTES,
    LOCAL_WINDOW_BYTES,
    REMOTE_WINDOW_BYTES,
)
from memmodel.estimate import SHARED_SOURCE_BYTES as SHARED_BYTES
from memmodel.estimate import WHOLE_OBJECT_BYTES as WHOLE_BYTES
from runtime.errors import DamagedInTransit, ObjectNotFound, UnreachableError
from runtime.storage import Source, Storage, changed_meanwhile, source_stamp
from runtime.urls import is_remote


class SourceFile:
    """One Arrow file of an export and its index.

    Args:
        storage: where it lies.
        path: of the Arrow file; its CSV files lie in the same folder.
        whole_bytes: fetch the file whole if it is no larger.
        opened: what is on its way of it.
        fetches: fetch a file whole.

    Attributes:
        stamps: of the Arrow file and its CSV files as they were opened, by path.

    Raises:
        ObjectNotFound: there is no such file.
        InvalidShardFormatError: the file or its index is damaged.
        UnreachableError: a file was written while it was read, or damaged on its way.
    """

    def __init__(
        self, storage: Storage, path: str, whole_bytes: int, opened: OpenedFile, fetches: Fetches
    ) -> None:
        self._storage = storage
        self._opened = opened
        self._fetches = fetches
        self._source = self._opened.arrow()
        self.stamps = {path: self._source.stamp}
        self._index_crcs: dict[str, int] = {}
        self.whole_bytes = 0
        self.fetch: WholeFetch | None = None
        self._index_requests = 0
        try:
            with guarded([self]):
                self.reader = self._open(path, whole_bytes)
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """Path or URL of the Arrow file."""
        return self._source.name

    @property
    def requests(self) -> int:
        """Reads of the Arrow file and its index so far."""
        return self._source.requests + self._index_requests

    def read_rows(
        self, rows: Int64Array, *, whole_batches: bool = True, keep: Collection[int] = ()
    ) -> Rows:
        """Read rows in the order given; see `RowReader.read_rows`."""
        return self.reader.read_rows(rows, whole_batches=whole_batches, keep=keep)

    def check_extent(self, scale: ScaleSpec, z_compress: int) -> None:
        """Refuse a file with rows outside the extent that its name stands for.

        Raises:
            InvalidShardFormatError: there is such a row.
        """
        check_rows(self.reader.index.coords, self.reader.name, scale, z_compress)

    def check_unchanged(self) -> None:
        """Refuse what was read if the Arrow file was written meanwhile.

        Raises:
            UnreachableError: it was.
        """
        _check_unchanged(self._source)

    def verify(self, *, doubted: bool) -> None:
        """Prove that what was read of the Arrow file is what lies there; doubted, the indices too.

        Raises:
            DamagedInTransit: it is not; a retry may help.
        """
        self._source.verify(doubted=doubted)
        for path, crc in self._index_crcs.items() if doubted else ():
            if crc32c(self._storage.read(path)) != crc:
                raise DamagedInTransit(
                    f"{self._storage.url}/{path}: read twice, and the bytes differ",
                    hint="it is read again; if it goes on, check disk and network of this machine",
                )

    def check_present(self) -> None:
        """Refuse what was read unless the files of these names still are those that were opened.

        Raises:
            UnreachableError: one was written, replaced or removed.
        """
        for path, stamp in self.stamps.items():
            try:
                present = source_stamp(self._storage.stat(path))
            except ObjectNotFound:
                present = None
            if present != stamp:
                raise changed(f"{self._storage.url}/{path}")

    def place(self, row: int) -> RowPlace:
        """Place of a row."""
        x, y, z = self.reader.index.coords[row].tolist()
        return RowPlace(self.reader.name, row, (x, y, z))

    def plan(self, batches: Iterator[Int64Array]) -> list[Part]:
        """Parts to fetch, for windows of these record batches."""
        if self.fetch is None:
            return []
        self.fetch.plan([self.reader.ranges_of(one) for one in batches])
        return self.fetch.parts

    def read_by_ranges(self) -> None:
        """Fetch the file whole no more."""
        if self.fetch is not None:
            self.fetch.read_by_ranges()
            self.fetch, self.whole_bytes = None, 0

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def _open(self, path: str, whole_bytes: int) -> ShardRangeReader:
        """Read the indices, and the Arrow file if it is fetched whole."""
        arrow: ByteSource = self._source
        if self._source.size <= whole_bytes:
            self.whole_bytes = self._source.size
            if is_remote(self._storage.url):
                arrow = self.fetch = WholeFetch(self._source, self._fetches)
            else:
                whole = read_exactly(self._source, 0, self._source.size)
                arrow = BytesSource(whole, self.name)
        elif is_remote(self._storage.url):
            arrow = RangePrefetch(self._source)
        stem = path.removesuffix(".arrow")
        ends = zip(INDEX_ENDS, self._opened.indices, strict=True)
        indices = [self._index(f"{stem}{end}", read) for end, read in ends]
        return ShardRangeReader(arrow, *indices)

    def _index(self, path: str, read: Callable[[], tuple[bytes, str]]) -> BytesSource | None:
        try:
            data, self.stamps[path] = read()
        except ObjectNotFound:
            return None
        self._index_requests += 1
        self._index_crcs[path] = crc32c(data)
        return BytesSource(data, f"{self._storage.url}/{path}")


@dataclass(frozen=True)
class RowLocations:
    """Where the rows of all files are, one entry per row; row numbers count over all files."""

    coords: Int32Array  # (n, 3)
    file: Int64Array
    row: Int64Array  # in its file
    record_batch: Int64Array  # number of its record batch, counted over all files
    record_batch_bytes: Int64Array

    @classmethod
    def of(cls, files: Sequence[SourceFile]) -> Self:
        """Locations from the files' indices."""
        indices = [file.reader.index for file in files]
        counts = [len(index) for index in indices]
        batches = [len(index.first_rows) for index in indices]
        before = list(accumulate(batches, initial=0))[:-1]
        return cls(
            coords=np.concatenate([*(i.coords for i in indices), np.zeros((0, 3), np.int32)]),
            file=np.repeat(np.arange(len(files)), counts),
            row=_joined([np.arange(count) for count in counts]),
            record_batch=_joined([i.batch + b for i, b in zip(indices, before, strict=True)]),
            record_batch_bytes=_joined([index.size.astype(np.int64) for index in indices]),
        )


class SourceFiles:
    """All files that feed an output shard; row numbers count over all of them.

    Args:
        storage: where the export lies.
        paths: Arrow files, relative to the storage.

    Raises:
        ObjectNotFound: a file is missing.
        InvalidShardFormatError: a file or its index is damaged, or two rows hold one chunk.
        UnreachableError: a file was written while it was read.
    """

    def __init__(self, storage: Storage, paths: Sequence[str]) -> None:
        self._remote = is_remote(storage.url)
        self.files: list[SourceFile] = []
        left = WHOLE_BYTES if self._remote else LOCAL_WHOLE_BYTES
        with ExitStack() as stack:
            fetches = self._fetches = Fetches()
            stack.callback(fetches.close)
            opened = stack.enter_context(opened_files(storage, paths, side_by_side=self._remote))
            for path, one in zip(paths, opened, strict=True):
                self.files.append(SourceFile(storage, path, left, one, fetches))
                stack.callback(self.files[-1].close)
                left -= self.files[-1].whole_bytes
            self._locations = RowLocations.of(self.files)
            counts = (len(file.reader.index.first_rows) for file in self.files)
            self._first_batches = list(accumulate(counts, initial=0))
            with guarded(self.files):
                self._check_unique()
            self._closing = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing.close()

    @property
    def coords(self) -> Int32Array:
        """(n, 3) block coordinates x, y, z of all rows."""
        return self._locations.coords

    @property
    def requests(self) -> int:
        """Reads so far."""
        return sum(file.requests for file in self.files)

    @property
    def digest(self) -> str:
        """Digest of the stamps of all files as they were opened."""
        return source_digest({path: s for file in self.files for path, s in file.stamps.items()})

    def check_unchanged(self) -> None:
        """Refuse what was read if any file was written meanwhile.

        Raises:
            UnreachableError: one was.
        """
        for file in self.files:
            file.check_unchanged()

    def verify(self, *, doubted: bool) -> None:
        """Prove that what was read is what lies there.

        Args:
            doubted: a chunk did not decode.

        Raises:
            DamagedInTransit: it is not; a retry may help.
        """
        for file in self.files:
            file.verify(doubted=doubted)

    def check_extents(self, scale: ScaleSpec, z_compress: int) -> None:
        """Refuse files with rows outside the extent of their name, which every shard would miss.

        Raises:
            InvalidShardFormatError: there is such a row.
        """
        for file in self.files:
            file.check_extent(scale, z_compress)

    @property
    def _window_bytes(self) -> int:
        """Bytes of record batches to read at once."""
        if not self._remote:
            return LOCAL_WINDOW_BYTES
        held = all(file.whole_bytes for file in self.files)
        return HELD_WINDOW_BYTES if held else REMOTE_WINDOW_BYTES

    def bytes_of(self, rows: Int64Array) -> int:
        """Bytes of the record batches that hold these rows, each counted once."""
        batches = self._locations.record_batch[rows]
        once = np.zeros(batches.max(initial=0) + 1, np.int64)
        once[batches] = self._locations.record_batch_bytes[rows]
        return int(once.sum())

    def windows(self, assigned: BlockAssignment) -> Generator[RowWindow]:
        """Read the rows that a shard needs, window by window; the next is read ahead."""
        plan = self._plan(assigned)
        if not self._fetch_in_order(assigned, plan):
            for file in self.files:
                file.read_by_ranges()
            self._fetches.plan([])
            plan = self._plan(assigned)

        def read(numbered: tuple[int, Span]) -> RowWindow:
            number, span = numbered
            self._fetches.reach(number)
            return self._read(assigned, span, whole_batches=plan.whole_batches)

        several = not (isinstance(plan.spans, list) and len(plan.spans) == 1)
        spans = enumerate(plan.spans)
        yield from ordered_map(read, spans, threads=1, prefetch=int(several), name="read")

    def place(self, row: int) -> RowPlace:
        """Place of a row."""
        return self.files[int(self._locations.file[row])].place(int(self._locations.row[row]))

    def _plan(self, assigned: BlockAssignment) -> WindowPlan:
        at = assigned.blocks
        return plan_windows(
            assigned,
            self._locations.record_batch[at],
            self._locations.record_batch_bytes[at],
            self._bytes_of_rows,
            self._window_bytes,
            page_bytes=max((file.reader.page_bytes for file in self.files), default=1),
        )

    def _fetch_in_order(self, assigned: BlockAssignment, plan: WindowPlan) -> bool:
        """Fetch files in the order of use; False if windows share more than may be held."""
        whole = [number for number, file in enumerate(self.files) if file.fetch is not None]
        if not whole:
            return True
        if not (plan.whole_batches and isinstance(plan.spans, list)):
            return sum(file.whole_bytes for file in self.files) <= SHARED_BYTES
        parts = []
        for number in whole:
            batches = self._batches_by_window(assigned, plan.spans, number)
            parts += self.files[number].plan(batches)
        if not may_hold(parts):
            return False
        self._fetches.plan(parts)
        return True

    def _batches_by_window(
        self, assigned: BlockAssignment, spans: list[Span], number: int
    ) -> Iterator[Int64Array]:
        """Record batches of a file that each window reads."""
        for first, end, _ in spans:
            rows = assigned.blocks[first:end]
            batches = self._locations.record_batch[rows[self._locations.file[rows] == number]]
            yield np.unique(batches) - self._first_batches[number]

    def _bytes_of_rows(self, rows: Int64Array) -> Int64Array:
        """Bytes that each of these rows takes without the rest of its record batch."""
        found = np.empty(len(rows), np.int64)
        files = self._locations.file[rows]
        for number in np.unique(files).tolist():
            here = files == number
            reader = self.files[number].reader
            found[here] = reader.bytes_of_rows(self._locations.row[rows[here]])
        return found

    def _read(self, assigned: BlockAssignment, span: Span, *, whole_batches: bool) -> RowWindow:
        """The chunks of a slice of pairs, and their rows in the order of first use."""
        first, end, keep = span
        pairs, ids = assigned.blocks[first:end], assigned.ids[first:end]
        wanted, parts = in_order_of_use(pairs)
        file = self._locations.file[wanted]
        by_file = np.argsort(file, kind="stable")
        rows = [
            self.files[number].read_rows(
                self._locations.row[wanted[file == number]],
                whole_batches=whole_batches,
                keep=[batch - self._first_batches[number] for batch in keep],
            )
            for number in np.unique(file).tolist()
        ]
        position = np.empty_like(by_file)
        position[by_file] = np.arange(len(by_file))
        numbers = wanted[by_file]
        chunk_ids, part_start = np.unique(ids, return_index=True)
        return RowWindow(
            ids=chunk_ids,
            part_start=np.append(part_start, len(ids)),
            parts=position[parts],
            rows=_concatenated(rows),
            describe_row=lambda row: self.place(int(numbers[row])),
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
                f"{self.place(one)}: the same chunk is in {self.place(other)}. "
                "Re-export into an empty folder"
            )


@contextmanager
def guarded(files: Sequence[SourceFile]) -> Iterator[None]:
    """Blame an error in what was read from files on their writer or the way, if it was theirs.

    Raises:
        UnreachableError: a file was written, replaced or removed, or its bytes were damaged on
            their way; then a retry may help.
    """
    try:
        yield
    except ObjectNotFound as error:
        if any(file.name in str(error) for file in files):  # it was there when it was opened
            raise changed(str(error)) from error
        raise
    except BraidError:
        for file in files:
            file.check_present()
            file.verify(doubted=True)
        raise


def changed(what: str) -> UnreachableError:
    """Error of a file that was written or removed while it was read; a retry may help."""
    return changed_meanwhile(what)


def _check_unchanged(source: Source) -> None:
    if source.changed():
        raise changed(source.name)


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


def _starts(starts: list[Int64Array]) -> Int64Array:
    """Starts into the concatenation of arrays."""
    shifts = accumulate((int(start[-1]) for start in starts), initial=0)
    moved = [start + shift for start, shift in zip(starts, shifts, strict=False)]
    return np.concatenate([*(start[:-1] for start in moved[:-1]), moved[-1]])


def _joined(arrays: Sequence[Int64Array]) -> Int64Array:
    return np.concatenate([*arrays, np.zeros(0, np.int64)])  # `arrays` may be empty
