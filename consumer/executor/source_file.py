"""Arrow file of an export with its indices; errors of reading it name the file."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from braid.dvid.block_batch import RowPlace
from braid.dvid.csv_index import HEADER_BYTES, has_ranges
from braid.dvid.index_loader import find_listings
from braid.dvid.row_reader import RowReader
from braid.dvid.stream_scan import read_preamble, scan_batches
from braid.exceptions import BraidError
from braid.io.byte_source import ByteSource, BytesSource, read_exactly
from braid.io.crc32c import crc32c
from braid.precomputed.volume_spec import ScaleSpec
from braid.reader import Rows, ShardRangeReader
from braid.transcode.file_extent import check_rows
from braid.typing import Int64Array
from consumer.executor.fetches import Fetches, Part
from consumer.executor.file_opening import INDEX_ENDS, OpenedFile
from consumer.executor.pass_reader import SMALL_BATCH_BYTES, Passing, PassReader
from consumer.executor.range_prefetch import RangePrefetch
from consumer.executor.whole_fetch import WholeFetch
from runtime.errors import DamagedInTransit, ObjectNotFound, UnreachableError
from runtime.storage import Source, Storage, changed_meanwhile, source_stamp
from runtime.urls import is_remote


class SourceFile:
    """One Arrow file of an export and its index.

    Args:
        storage: where it lies.
        path: of the Arrow file; its CSV files lie in the same folder.
        whole_bytes: fetch the file whole if it is no larger.
        scanned_bytes: the same, of a remote file in which a scan has to find the rows.
        opened: what is on its way of it.
        fetches: of files that are fetched whole.
        passing: of files that are read in one pass.

    Attributes:
        stamps: of the Arrow file and its CSV files as they were opened, by path.
        passed: reads it in one pass; None: the file is fetched whole, or by ranges.

    Raises:
        ObjectNotFound: there is no such file.
        InvalidShardFormatError: the file or its index is damaged.
        UnreachableError: a file was written while it was read, or damaged on its way.
    """

    def __init__(
        self,
        storage: Storage,
        path: str,
        whole_bytes: int,
        opened: OpenedFile,
        *,
        scanned_bytes: int,
        fetches: Fetches,
        passing: Passing,
    ) -> None:
        self._storage = storage
        self._opened = opened
        self._fetches = fetches
        self._source = self._opened.arrow()
        self.stamps = {path: self._source.stamp}
        self._index_crcs: dict[str, int] = {}
        self.whole_bytes = 0
        self.fetch: WholeFetch | None = None
        self.passed: PassReader | None = None
        self._index_requests = 0
        try:
            with guarded([self]):
                self.reader = self._open(path, whole_bytes, scanned_bytes, passing)
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

    @property
    def is_held(self) -> bool:
        """Whether reading a window's rows is no request."""
        return self.passed is not None or self.whole_bytes > 0

    def read_rows(
        self,
        window: int,
        rows: Int64Array,
        *,
        whole_batches: bool = True,
        keep: Collection[int] = (),
    ) -> Rows:
        """Read rows of a window in the order given; see `RowReader.read_rows`."""
        if self.passed is not None:
            return self.passed.read_window(window, rows)
        return self.reader.read_rows(rows, whole_batches=whole_batches, keep=keep)

    def finish(self) -> None:
        """Note that the last window was read.

        Raises:
            InvalidShardFormatError: the rest of the file is damaged.
        """
        if self.passed is not None:
            self.passed.finish()

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

    def keep(self) -> list[Part]:
        """Parts to fetch, for windows that may read anything at any time."""
        return [] if self.fetch is None else self.fetch.keep()

    def read_by_ranges(self) -> None:
        """Fetch the file whole no more."""
        if self.fetch is not None:
            self.fetch.read_by_ranges()
            self.fetch, self.whole_bytes = None, 0

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def _indices(self, path: str) -> list[BytesSource | None]:
        stem = path.removesuffix(".arrow")
        ends = zip(INDEX_ENDS, self._opened.indices, strict=True)
        return [self._index(f"{stem}{end}", read) for end, read in ends]

    def _open(self, path: str, whole_bytes: int, scanned_bytes: int, passing: Passing) -> RowReader:
        """Read the indices; the Arrow file is on its way beside them, if it is fetched whole."""
        remote = is_remote(self._storage.url)
        small = self._source.size <= min(whole_bytes, scanned_bytes)
        whole = self._begin_whole(whole_bytes) if small else None
        indices = self._indices(path)
        if remote and not small and _lack_ranges(indices):
            self.passed = self._begin_pass(indices, passing)
            return self.passed or ShardRangeReader(RangePrefetch(self._source), *indices)
        whole = whole or self._begin_whole(whole_bytes)
        ranges = RangePrefetch(self._source) if remote else self._source
        return ShardRangeReader(whole or ranges, *indices)

    def _begin_whole(self, whole_bytes: int) -> ByteSource | None:
        """The file on its way, or read, if it is no larger than this."""
        if self._source.size > whole_bytes:
            return None
        self.whole_bytes = self._source.size
        if is_remote(self._storage.url):
            self.fetch = WholeFetch(self._source, self._fetches)
            return self.fetch
        return BytesSource(read_exactly(self._source, 0, self._source.size), self.name)

    def _begin_pass(
        self, indices: Sequence[BytesSource | None], passing: Passing
    ) -> PassReader | None:
        """Begin a pass, if the chunks are listed and the first record batch is small."""
        preamble = read_preamble(self._source)
        first, _ = next(scan_batches(self._source, preamble), (None, b""))
        listings = find_listings(self._source, *indices)
        if not listings or first is None or first.size > SMALL_BATCH_BYTES:
            return None
        return passing.begin(self._source, preamble, listings)

    def _index(self, path: str, read: Callable[[], tuple[bytes, str]]) -> BytesSource | None:
        try:
            data, self.stamps[path] = read()
        except ObjectNotFound:
            return None
        self._index_requests += 1
        self._index_crcs[path] = crc32c(data)
        return BytesSource(data, f"{self._storage.url}/{path}")


def _lack_ranges(indices: Sequence[BytesSource | None]) -> bool:
    """Whether no index has byte ranges."""
    found = [index for index in indices if index is not None]
    return not any(has_ranges(bytes(one.read_at(0, HEADER_BYTES)), one.name) for one in found)


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
