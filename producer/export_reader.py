"""Opening Arrow files of an export through a storage, with as few requests as they allow."""

import os
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

from braid.dvid.csv_index import HEADER_BYTES, Listing, has_ranges, parse_listing
from braid.dvid.index_loader import load_index
from braid.dvid.row_reader import RowReader
from braid.dvid.stream_scan import read_preamble
from braid.exceptions import BraidError, InvalidShardFormatError
from braid.reader import ShardRangeReader
from producer.export_listing import ExportFile
from runtime.errors import ObjectNotFound
from runtime.storage import ObjectInfo, Storage, source_stamp
from runtime.storage.base import Source

# An index of 32,768 rows takes some ten MB while it is parsed, and no thread parses faster than
# a core.
_PARSING: Final = threading.BoundedSemaphore(os.cpu_count() or 1)


def open_shard(source: Storage, path: str) -> ShardRangeReader:
    """Open the Arrow file at `path` with its indices; the reader is a context manager.

    Raises:
        ObjectNotFound: the file does not exist.
        InvalidShardFormatError: the file or an index is damaged.
    """
    stem = path.removesuffix(".arrow")
    return ShardRangeReader(
        source.source(path),
        _open_if_exists(source, f"{stem}.csv"),
        _open_if_exists(source, f"{stem}-offsets.csv"),
    )


class ExportReader(RowReader):
    """Rows of a listed file.

    Attributes:
        source: the Arrow file, to be read by range.
    """

    def __init__(self, source: Source, listings: list[Listing]) -> None:
        preamble = read_preamble(source)
        super().__init__(source, preamble, load_index(source, preamble, listings))
        self.source = source


@contextmanager
def open_file(source: Storage, file: ExportFile) -> Iterator[ExportReader]:
    """Open a listed file with its indices; only those that are needed are read.

    Raises:
        ObjectNotFound: a file was removed since the listing.
        InvalidShardFormatError: the file or an index is damaged, or changed since the listing.
        DamagedInTransit: it was read twice, and the bytes differ: see `read_again`.
    """
    with closing(source.source(file.path)) as arrow:
        if arrow.stamp != source_stamp(file.arrow):
            raise InvalidShardFormatError(
                f"{file.path}: it changed since it was listed: wait until export and copy have "
                "ended, then start again"
            )
        try:
            yield ExportReader(arrow, read_listings(source, file))
        except BraidError:
            arrow.verify(doubted=True)
            raise


def read_listings(source: Storage, file: ExportFile) -> list[Listing]:
    """Parse the indices of a listed file: one with byte ranges suffices.

    Raises:
        InvalidShardFormatError: one is not an index.
    """
    found: list[Listing] = []
    for index in indices_of(file):
        data = source.read(index.path)
        with _PARSING:
            found.append(parse_listing(data, f"{source.url}/{index.path}"))
        if found[-1].has_ranges:
            break
    return found


def indices_of(file: ExportFile) -> list[ObjectInfo]:
    """Indices of a listed file, the one that DVID wrote itself first."""
    return sorted(file.indices, key=lambda index: index.path.endswith("-offsets.csv"))


def has_offsets(source: Storage, file: ExportFile) -> bool:
    """Whether a listed file has an index with byte offsets, by its header.

    Raises:
        InvalidShardFormatError: its CSV file is not an index.
    """
    return any(
        has_ranges(source.read_at(index.path, 0, HEADER_BYTES), f"{source.url}/{index.path}")
        for index in indices_of(file)
    )


def _open_if_exists(source: Storage, path: str) -> Source | None:
    try:
        return source.source(path)
    except ObjectNotFound:
        return None
