"""An output shard on its way to the destination."""

from collections.abc import Callable, Generator, Iterable
from itertools import chain

from braid.precomputed.chunk_batch import ChunkBatch
from braid.precomputed.shard_writer import head_bytes, shard_pieces
from braid.precomputed.sharding import shard_path
from braid.precomputed.volume_spec import ScaleSpec
from runtime.storage import Storage


def write_chunks(
    dest: Storage,
    scale: ScaleSpec,
    shard: int,
    chunks: Generator[ChunkBatch],
    confirm: Callable[[], None],
) -> tuple[int, str | None]:
    """Stream chunks into a shard that appears whole; without chunks no shard may be there.

    Args:
        dest: the volume.
        scale: of the shard.
        shard: its number.
        chunks: by ascending id; closed in any case, which stops its threads.
        confirm: called once, just before the shard appears or goes; if it raises, neither happens.

    Returns:
        Bytes and crc32c of the shard; (0, None) without chunks.
    """
    path = shard_path(scale, shard)
    try:
        first = next(chunks, None)
        if first is None:
            confirm()
            dest.delete(path)
            return 0, None
        pieces = shard_pieces(chain([first], chunks), scale.sharding, shard)
        written = dest.write_shard(path, pieces, head_bytes(scale.sharding), confirm)
    finally:
        chunks.close()
    return written.size, written.crc32c


def with_progress(
    chunks: Iterable[ChunkBatch], progress: Callable[[int], None]
) -> Generator[ChunkBatch]:
    """The same chunks, without empty batches; `progress` hears how many have been taken."""
    done = 0
    for batch in chunks:
        if len(batch):
            yield batch
            done += len(batch)
            progress(done)
