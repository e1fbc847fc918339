"""Output of a shard: chunks to the shard file, and the outcome that describes it."""

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from braid.parallel.stats import StepStats
from braid.precomputed.chunk_batch import ChunkBatch
from braid.precomputed.shard_writer import head_bytes, shard_pieces
from braid.precomputed.sharding import shard_path
from braid.precomputed.volume_spec import CodePath, ScaleSpec
from consumer.protocol.tasks import Outcome, Task
from delivery.ledger.receipts import BadChunk
from runtime.storage import Storage


class WrittenShard(NamedTuple):
    """Size and checksum of the file; (0, None) for a shard of zeros, which has no file."""

    size: int = 0
    crc32c: str | None = None


@dataclass(frozen=True, slots=True)
class InputStats:
    """Counts of what was read; fields as in `Outcome`."""

    bytes_in: int
    reads: int
    skipped_outside: int = 0
    skipped_elsewhere: int = 0
    source_digest: str | None = None
    bad_chunk_count: int = 0
    bad_chunks: tuple[BadChunk, ...] = ()
    inputs: dict[str, str] = field(default_factory=dict)
    absent_inputs: int = 0


def build_outcome(
    inputs: InputStats,
    stats: StepStats,
    written: WrittenShard,
    *,
    threads: int,
    code_path: CodePath,
    phases: Mapping[str, float],
) -> Outcome:
    """The outcome of a task of either kind."""
    return Outcome(
        chunks=stats.chunks,
        empty=stats.chunks == 0,
        bytes_in=inputs.bytes_in,
        bytes_out=written.size,
        crc32c=written.crc32c,
        labels=stats.labels,
        reads=inputs.reads,
        skipped_outside=inputs.skipped_outside,
        skipped_elsewhere=inputs.skipped_elsewhere,
        source_digest=inputs.source_digest,
        bad_chunk_count=inputs.bad_chunk_count,
        bad_chunks=inputs.bad_chunks,
        inputs=inputs.inputs,
        absent_inputs=inputs.absent_inputs,
        threads=threads,
        code_path=code_path,
        phases=dict(phases),
    )


def write_chunks(
    dest: Storage,
    scale: ScaleSpec,
    task: Task,
    chunks: Generator[ChunkBatch],
    confirm: Callable[[], None],
) -> WrittenShard:
    """Stream chunks into a shard that appears atomically; without chunks, delete an older shard.

    Args:
        dest: the volume.
        scale: of the shard.
        task: names the shard, and the run that owns what is temporary.
        chunks: by ascending id; closed in any case, which stops its threads.
        confirm: called just before the shard appears or is deleted; if it raises, neither
            happens. Called again if another writer's shard appeared meanwhile.
    """
    path = shard_path(scale, task.shard)
    try:
        first = next(chunks, None)
        if first is None:
            dest.delete_shard(path, confirm)
            return WrittenShard()
        pieces = shard_pieces(chain([first], chunks), scale.sharding, task.shard)
        head, owner = head_bytes(scale.sharding), task.run.rpartition("/")[2]
        written = dest.write_shard(path, pieces, head, confirm, owner=owner, is_new=task.is_new)
    finally:
        chunks.close()
    return WrittenShard(written.size, written.crc32c)


def with_progress(
    chunks: Iterable[ChunkBatch], on_progress: Callable[[int], None]
) -> Generator[ChunkBatch]:
    """Yield the batches that have chunks; calls `on_progress` with the chunks taken so far."""
    done = 0
    for batch in chunks:
        if len(batch):
            yield batch
            done += len(batch)
            on_progress(done)
