"""Shard files: from our writer, and valid but untidy ones."""

import gzip
import random
from collections.abc import Generator, Iterable

import numpy as np
from hypothesis import strategies as st

from braid.precomputed.chunk_batch import ChunkBatch
from braid.precomputed.shard_writer import shard_pieces
from braid.precomputed.sharding import minishard_numbers
from braid.precomputed.volume_spec import ShardingSpec

SHARDINGS = st.builds(
    ShardingSpec,
    st.integers(0, 4),
    st.integers(0, 4),
    st.integers(0, 6),
    st.sampled_from(["raw", "gzip"]),
    st.sampled_from(["raw", "gzip"]),
)


def finish(pieces: Generator[bytes, None, bytes]) -> bytes:
    """Run a writer: the head it returns, then the body it yields."""
    body = []
    while True:
        try:
            body.append(next(pieces))
        except StopIteration as stop:
            head: bytes = stop.value
            return head + b"".join(body)


def shard_of(
    chunks: Iterable[tuple[int, bytes]], sharding: ShardingSpec, shard: int, batch: int = 3
) -> bytes:
    """The whole shard file of stored chunks, which come to the writer in batches."""
    held = list(chunks)
    batches = (ChunkBatch.of(held[i : i + batch]) for i in range(0, len(held), batch))
    return finish(shard_pieces(batches, sharding, shard))


@st.composite
def shard_chunks(draw: st.DrawFn) -> tuple[ShardingSpec, int, dict[int, bytes]]:
    """A sharding, a shard of it, and chunks by ascending id, data encoding not applied."""
    sharding = draw(SHARDINGS)
    shard = draw(st.integers(0, 2**sharding.shard_bits - 1))
    low = sharding.preshift_bits + sharding.minishard_bits
    ids = draw(st.sets(st.integers(shard << low, (shard + 1 << low) - 1), max_size=40))
    rng = random.Random(draw(st.integers(0, 2**32)))
    return sharding, shard, {i: rng.randbytes(rng.randint(1, 60)) for i in sorted(ids)}


def stored(sharding: ShardingSpec, chunk: bytes) -> bytes:
    """A chunk's payload."""
    return gzip.compress(chunk, mtime=0) if sharding.data_encoding == "gzip" else chunk


def untidy_shard(sharding: ShardingSpec, chunks: dict[int, bytes], rng: random.Random) -> bytes:
    """A valid shard file as another writer might lay it out.

    Payloads and minishard indices in any order with gaps between them, ids in any order within a
    minishard, so that deltas wrap around.
    """
    minishards: dict[int, list[int]] = {}
    ids = list(chunks)
    rng.shuffle(ids)
    for i in ids:
        number = int(minishard_numbers(np.array([i], np.uint64), sharding)[0])
        minishards.setdefault(number, []).append(i)
    head = np.zeros((1 << sharding.minishard_bits, 2), "<u8")
    body = bytearray(rng.randbytes(rng.randint(0, 5)))
    places: dict[int, tuple[int, int]] = {}
    for i in rng.sample(ids, len(ids)):
        payload = stored(sharding, chunks[i])
        places[i] = len(body), len(payload)
        body += payload + rng.randbytes(rng.choice([0, 0, 3]))
    for number, members in rng.sample(sorted(minishards.items()), len(minishards)):
        index = _index(members, places)
        if sharding.minishard_index_encoding == "gzip":
            index = gzip.compress(index)
        head[number] = len(body), len(body) + len(index)
        body += index + rng.randbytes(rng.choice([0, 2]))
    return head.tobytes() + bytes(body)


def _index(members: list[int], places: dict[int, tuple[int, int]]) -> bytes:
    table = np.zeros((3, len(members)), "<u8")
    last_id, last_end = 0, 0
    for column, i in enumerate(members):
        start, size = places[i]
        table[:, column] = [(i - last_id) % 2**64, (start - last_end) % 2**64, size]
        last_id, last_end = i, start + size
    return table.tobytes()
