"""Arrow file of an export with its indices; errors of reading it name the file."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from braid.dvid.block_batch import RowPlace
from braid.exceptions import BraidError
from braid.io.byte_source import ByteSource, BytesSource, read_exactly
from braid.io.crc32c import crc32c
from braid.precomputed.volume_spec import ScaleSpec
from braid.reader import Rows, ShardRangeReader
from braid.transcode.file_extent import check_rows
from braid.typing import Int64Array
from consumer.executor.fetches import Fetches, Part
from consumer.executor.file_opening import INDEX_ENDS, OpenedFile
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
