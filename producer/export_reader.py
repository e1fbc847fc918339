"""Opening Arrow files of an export through a storage."""

from braid.dvid.csv_index import parse_listing
from braid.io.byte_source import read_exactly
from braid.reader import ShardRangeReader
from runtime.errors import ObjectNotFound
from runtime.storage import Storage
from runtime.storage.base import Source


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


def has_offsets(source: Storage, path: str) -> bool:
    """Whether an Arrow file has an index with byte offsets.

    Raises:
        InvalidShardFormatError: its CSV file is not an index.
    """
    stem = path.removesuffix(".arrow")
    found = (_open_if_exists(source, stem + ending) for ending in (".csv", "-offsets.csv"))
    return any(
        parse_listing(read_exactly(index, 0, index.size), index.name).has_ranges
        for index in found
        if index is not None
    )


def _open_if_exists(source: Storage, path: str) -> Source | None:
    try:
        return source.source(path)
    except ObjectNotFound:
        return None
