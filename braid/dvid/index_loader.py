"""Loader of a shard's index: from CSV files or a scan, checked against the Arrow file.

An index may be a CSV file of any dialect, or an old one with its companion; without any the stream
is scanned.
"""

import os
from typing import TypeAlias

import numpy as np

from braid.dvid.csv_index import Listing, ShardIndex, parse_listing
from braid.dvid.stream_scan import Preamble, check_end, scan_offsets
from braid.exceptions import InvalidShardFormatError, SourceNotFoundError
from braid.io.byte_source import ByteSource, FileSource, open_source, read_exactly, source_name

__all__ = ["Location", "find_listings", "load_index"]

Location: TypeAlias = str | os.PathLike[str] | ByteSource


def find_listings(arrow: Location, csv: Location | None, offsets: Location | None) -> list[Listing]:
    """Parse the given index or the one next to the Arrow file, and its companion if needed."""
    stem = _stem(arrow if csv is None else csv)
    main = _open_sibling(stem, ".csv") if csv is None else open_source(csv)
    found = [] if main is None else [_listing(main)]
    if found and found[0].has_ranges:
        return found  # a companion could only be older
    companion = _open_sibling(stem, "-offsets.csv") if offsets is None else open_source(offsets)
    return found if companion is None else [*found, _listing(companion)]


def _stem(where: Location) -> str | None:
    if not isinstance(where, str | os.PathLike):
        return None
    return os.path.splitext(os.fspath(where))[0]  # noqa: PTH122 (may be a gs:// URL)


def _open_sibling(stem: str | None, ending: str) -> ByteSource | None:
    if stem is None:
        return None
    try:
        return open_source(stem + ending)
    except SourceNotFoundError:
        return None


def _listing(source: ByteSource) -> Listing:
    data = read_exactly(source, 0, source.size)
    if isinstance(source, FileSource):
        source.close()
    return parse_listing(data, source_name(source))


def load_index(source: ByteSource, preamble: Preamble, listings: list[Listing]) -> ShardIndex:
    """Load the index of a shard, from the first listing that has byte ranges, else by a scan.

    Raises:
        InvalidShardFormatError: index and stream disagree, or either is damaged.
    """
    name = source_name(source)
    indices = [listing.index() for listing in listings]
    found = next((index for index in indices if index is not None), None)
    if found is None:
        index = scan_offsets(source)
    else:
        index = _from_schema_end(found, preamble.end, name)
        check_end(source, preamble, index.end)
    for listing in listings:
        listing.check_agrees(index, name)
    return index


def _from_schema_end(index: ShardIndex, end: int, name: str) -> ShardIndex:
    """Index whose first range begins behind the schema message."""
    # DVID's own files may count the schema to the first row (offset 0, size covering both).
    if not len(index):
        return ShardIndex(index.coords, index.offset, index.size, index.batch_row, end)
    begin, size = int(index.offset[0]), int(index.size[0])
    if begin > end or begin + size <= end:
        raise InvalidShardFormatError(
            f"{name}: the index begins at byte {begin}, the first batch at {end}: the index is not "
            "this file's. Re-export into an empty folder"
        )
    if begin == end:
        return index
    first = np.arange(len(index)) < index.batch_lengths[0]
    offset = np.where(first, np.uint64(end), index.offset)
    shorter = np.where(first, np.uint64(begin + size - end), index.size)
    return ShardIndex(index.coords, offset, shorter, index.batch_row, end)
