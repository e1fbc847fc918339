"""Arrow shards of an export, opened through a storage."""

from braid.dvid.csv_index import parse_listing
from braid.io.byte_source import read_exactly
from braid.reader import ShardRangeReader
from runtime.errors import ObjectNotFound
from runtime.storage import Storage
from runtime.storage.base import Source


def open_shard(source: Storage, path: str) -> ShardRangeReader:
    """The Arrow shard at `path` with whatever index lies beside it; close its sources by `with`.

    Raises:
        ObjectNotFound: there is no such file.
        InvalidShardFormatError: it or its index is damaged.
    """
    stem = path.removesuffix(".arrow")
    return ShardRangeReader(
        source.source(path), _beside(source, f"{stem}.csv"), _beside(source, f"{stem}-offsets.csv")
    )


def has_offsets(source: Storage, path: str) -> bool:
    """Whether an index with byte offsets lies beside the Arrow shard.

    Raises:
        InvalidShardFormatError: what lies there is no index.
    """
    stem = path.removesuffix(".arrow")
    found = (_beside(source, stem + ending) for ending in (".csv", "-offsets.csv"))
    return any(
        parse_listing(read_exactly(index, 0, index.size), index.name).has_ranges
        for index in found
        if index is not None
    )


def _beside(source: Storage, path: str) -> Source | None:
    try:
        return source.source(path)
    except ObjectNotFound:
        return None
