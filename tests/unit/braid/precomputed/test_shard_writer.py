"""What the shard writer makes, TensorStore and cloud-volume read; its layout is promised."""

import gzip
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts
from cloudvolume.datasource.precomputed.sharding import ShardingSpecification, ShardReader
from hypothesis import given
from hypothesis import strategies as st

from braid.exceptions import InvalidShardFormatError
from braid.precomputed import sharding as shards
from braid.precomputed.chunk_batch import ChunkBatch
from braid.precomputed.shard_writer import head_bytes, shard_pieces
from braid.precomputed.volume_spec import ShardingSpec
from tests.support.shards import shard_chunks, shard_of, stored

Made = tuple[ShardingSpec, int, dict[int, bytes]]


def written(made: Made) -> bytes:
    """The whole shard file."""
    sharding, shard, chunks = made
    return shard_of(((i, stored(sharding, c)) for i, c in chunks.items()), sharding, shard)


def cloud_volume_reader(sharding: ShardingSpec) -> ShardReader:
    """cloud-volume's reader of shard bytes."""
    return ShardReader(None, None, ShardingSpecification.from_dict(sharding.to_info()))


@given(shard_chunks())
def test_cloud_volume_reads_it(made: Made) -> None:
    """cloud-volume takes the file apart into exactly the chunks that went in."""
    sharding, _, chunks = made
    assert cloud_volume_reader(sharding).disassemble_shard(written(made)) == chunks


@given(shard_chunks())
def test_tensorstore_reads_it(made: Made) -> None:
    """TensorStore's kvstore finds every chunk, and no other id of the shard."""
    sharding, shard, chunks = made
    low, high = shards.shard_id_range(shard, sharding)
    with tempfile.TemporaryDirectory() as folder:
        name = f"{shards.shard_hex(shard, sharding)}.shard"
        (Path(folder) / name).write_bytes(written(made))
        store = ts.KvStore.open(
            {
                "driver": "neuroglancer_uint64_sharded",
                "base": {"driver": "file", "path": f"{folder}/"},
                "metadata": sharding.to_info(),
            }
        ).result()
        found = {i: store.read(i.to_bytes(8, "big")).result() for i in range(low, high)}
    assert {i: r.value for i, r in found.items() if r.state == "value"} == chunks


@given(shard_chunks())
def test_layout(made: Made) -> None:
    """Head first; then nothing but payloads in id order; then all minishard indices, to the end."""
    sharding, _, chunks = made
    data = written(made)
    payloads = b"".join(stored(sharding, c) for c in chunks.values())
    body = data[head_bytes(sharding) :]
    assert body.startswith(payloads)
    head = np.frombuffer(data[: head_bytes(sharding)], "<u8").reshape(-1, 2)
    used = head[head[:, 0] < head[:, 1]]
    assert not head[head[:, 0] >= head[:, 1]].any()
    edges = [len(payloads), *used[:, 1].tolist()]
    assert used[:, 0].tolist() == edges[:-1]
    assert edges[-1] == len(body)


@given(shard_chunks())
def test_bytes_do_not_vary(made: Made) -> None:
    """The same chunks give the same bytes, without a time of writing in any gzip."""
    assert written(made) == written(made)
    sharding, _, chunks = made
    if sharding.minishard_index_encoding == "gzip" and chunks:
        tail = written(made)[head_bytes(sharding) :][
            sum(len(stored(sharding, c)) for c in chunks.values()) :
        ]
        assert tail[:3] == b"\x1f\x8b\x08"
        assert tail[4:8] == bytes(4)


def test_each_batch_is_a_piece() -> None:
    """Nothing waits in the writer, so that chunks reach the disk while others are made."""
    sharding = ShardingSpec(9, 6, 0)
    batches = [ChunkBatch.of([(i, b"x" * (i + 1)), (i + 1, b"y")]) for i in range(0, 40, 2)]
    empty = ChunkBatch.of([])
    pieces = list(shard_pieces([empty, *batches, empty], sharding, 0))
    assert pieces[:-1] == [batch.data for batch in batches]
    assert len(pieces[-1]) == 24 * 40


@given(shard_chunks(), st.integers(1, 50))
def test_batches_change_nothing(made: Made, batch: int) -> None:
    """However chunks are put together, the file is the same."""
    sharding, shard, chunks = made
    pairs = [(i, stored(sharding, c)) for i, c in chunks.items()]
    assert shard_of(pairs, sharding, shard, batch) == written(made)


def test_no_chunks_make_no_pieces() -> None:
    """A shard of zeros yields nothing, so its caller can leave the file out."""
    pieces = shard_pieces(iter(()), ShardingSpec(1, 1, 1), 0)
    with pytest.raises(StopIteration) as stop:
        next(pieces)
    assert stop.value.value == bytes(head_bytes(ShardingSpec(1, 1, 1))) == bytes(32)


@pytest.mark.parametrize(
    ("ids", "text"),
    [([5, 4], "id 4"), ([5, 5], "id 5"), ([3], "id 3"), ([8], "id 8"), ([4, 5, 6, 7, 8], "id 8")],
)
def test_wrong_order_is_refused(ids: list[int], text: str) -> None:
    """Ids that descend, repeat or belong to another shard are refused."""
    sharding = ShardingSpec(1, 1, 2)
    with pytest.raises(InvalidShardFormatError, match=text):
        shard_of(((i, b"x") for i in ids), sharding, 1)


def test_empty_payload_is_refused() -> None:
    """A payload without bytes would be a hole that readers trip over."""
    with pytest.raises(InvalidShardFormatError, match="id 4 has an empty payload"):
        shard_of([(4, b"")], ShardingSpec(1, 1, 2), 1)


@pytest.mark.parametrize("bits", [(64, 0, 0), (0, 0, 64), (9, 6, 49)])
def test_the_largest_id(bits: tuple[int, int, int]) -> None:
    """The last of 64-bit ids can be written, however the bits are divided."""
    sharding = ShardingSpec(*bits)
    chunk_id = 2**64 - 1
    shard = chunk_id >> (bits[0] + bits[1])
    data = shard_of([(chunk_id, b"last")], sharding, shard)
    assert b"last" in data


@given(st.integers(0, 6))
def test_head_length(minishard_bits: int) -> None:
    """The head is a pair of u64 per minishard."""
    assert head_bytes(ShardingSpec(0, minishard_bits, 0)) == 16 * 2**minishard_bits


def test_gzipped_index_is_a_gzip_member() -> None:
    """The index decodes with the standard library to ids, starts and sizes."""
    sharding = ShardingSpec(2, 0, 0, "raw", "gzip")
    data = shard_of([(1, b"ab"), (3, b"c")], sharding, 0)
    table = np.frombuffer(gzip.decompress(data[16 + 3 :]), "<u8").reshape(3, 2)
    assert table.tolist() == [[1, 2], [0, 0], [2, 1]]
