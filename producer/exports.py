"""Arrow shards of an export, opened through a storage."""

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


def _beside(source: Storage, path: str) -> Source | None:
    try:
        return source.source(path)
    except ObjectNotFound:
        return None
