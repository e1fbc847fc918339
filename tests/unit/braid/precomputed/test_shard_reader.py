"""Lawful shard files of any hand are read; broken ones are refused and cost little."""

import gzip
import random
import struct
import tempfile
import tracemalloc
from pathlib import Path
from typing import Literal

import google_crc32c
import numpy as np
import pytest
import tensorstore as ts
from cloudvolume.datasource.precomputed.sharding import (
    ShardingSpecification,
    synthesize_shard_file,
)
from hypothesis import given
from hypothesis import strategies as st

from braid.exceptions import BraidError, ChunkNotFoundError, InvalidShardFormatError
from braid.io.byte_source import BytesSource, FileSource
from braid.io.crc32c import crc32c_text
from braid.precomputed import morton
from braid.precomputed.shard_reader import ShardFile, largest_chunk_bytes
from braid.precomputed.sharding import shard_hex, shard_numbers, shard_path
from braid.precomputed.volume_spec import ShardingSpec
from tests.support.shards import shard_chunks, shard_of, stored, untidy_shard
from tests.support.specs import made_scale

Made = tuple[ShardingSpec, int, dict[int, bytes]]
RAW = ShardingSpec(2, 1, 1)


def read_all(file: ShardFile, window_bytes: int = 1 << 20) -> dict[int, bytes]:
    """Every chunk, decoded."""
    return {i: file.decode(i, payload) for i, payload in file.iter_chunks(window_bytes)}


def checksum(data: bytes) -> str:
    """The CRC-32C as GCS prints it."""
    return crc32c_text(google_crc32c.value(data))


def by_hand(entries: list[tuple[int, int, int]], body: bytes) -> bytes:
    """A RAW shard file whose only used minishard is 0, from (id, start, size), lawful or not."""
    table = np.zeros((3, len(entries)), "<u8")
    last_id, last_end = 0, 0
    for column, (i, start, size) in enumerate(entries):
        table[:, column] = [(i - last_id) % 2**64, (start - last_end) % 2**64, size]
        last_id, last_end = i, start + size
    index = table.tobytes()
    head = np.zeros((2**RAW.minishard_bits, 2), "<u8")
    head[0] = len(body), len(body) + len(index)
    return head.tobytes() + body + index


@given(shard_chunks(), st.integers(1, 200), st.randoms())
def test_untidy_files_are_read(made: Made, window_bytes: int, rng: random.Random) -> None:
    """Payloads and indices in any order, gaps and wrapping deltas: the same chunks, in id order."""
    sharding, shard, chunks = made
    data = untidy_shard(sharding, chunks, rng)
    file = ShardFile(BytesSource(data), sharding, shard=shard)
    assert file.ids().tolist() == sorted(chunks)
    assert file.crc32c is None
    found = read_all(file, window_bytes)
    assert list(found) == sorted(chunks)
    assert found == chunks
    assert file.crc32c == checksum(data)


@given(shard_chunks())
def test_our_own_files_are_read(made: Made) -> None:
    """What the writer wrote comes back, chunk by chunk too; its checksum needs no more reads."""
    sharding, shard, chunks = made
    payloads = ((i, stored(sharding, c)) for i, c in chunks.items())
    data = shard_of(payloads, sharding, shard)
    source = BytesSource(data)
    file = ShardFile(source, sharding, shard=shard)
    assert read_all(file) == chunks
    requests = source.requests
    assert file.crc32c == checksum(data)
    assert source.requests == requests
    assert {i: file.chunk(i) for i in chunks} == chunks


@given(shard_chunks())
def test_cloud_volumes_files_are_read(made: Made) -> None:
    """A shard that cloud-volume put together."""
    sharding, shard, chunks = made
    spec = ShardingSpecification.from_dict(sharding.to_info())
    data = synthesize_shard_file(spec, dict(chunks))
    assert read_all(ShardFile(BytesSource(data), sharding, shard=shard)) == chunks


def test_tensorstores_files_are_read() -> None:
    """A shard that TensorStore wrote, chunk by chunk, so that it rewrote the file each time."""
    sharding = ShardingSpec(2, 3, 4, "gzip", "gzip")
    chunks = {i: bytes([i]) * i for i in range(96, 128, 3)}
    with tempfile.TemporaryDirectory() as folder:
        store = ts.KvStore.open(
            {
                "driver": "neuroglancer_uint64_sharded",
                "base": {"driver": "file", "path": f"{folder}/"},
                "metadata": sharding.to_info(),
            }
        ).result()
        for i, chunk in chunks.items():
            store.write(i.to_bytes(8, "big"), chunk).result()
        with FileSource(Path(folder) / "3.shard") as source:
            file = ShardFile(source, sharding, shard=3)
            assert read_all(file) == chunks
            assert file.crc32c == checksum((Path(folder) / "3.shard").read_bytes())


@pytest.mark.parametrize("grid", [(5, 1, 9), (3, 20, 2), (1, 1, 7), (17, 9, 4)])
def test_ids_are_tensorstores(tmp_path: Path, grid: tuple[int, int, int]) -> None:
    """What TensorStore writes is found under the same ids, in the same shards, voxel for voxel."""
    x, y, z = grid
    size = (4 * x - 1, 4 * y - 1, 4 * z - 1)
    scale = made_scale(size, (4, 4, 4), (1, 2, 8))
    store = ts.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{tmp_path}/"},
            "multiscale_metadata": {
                "type": "segmentation",
                "data_type": "uint64",
                "num_channels": 1,
            },
            "scale_metadata": {
                "key": scale.key,
                "size": size,
                "resolution": [8, 8, 8],
                "chunk_size": [4, 4, 4],
                "encoding": "raw",
                "sharding": scale.sharding.to_info(),
            },
        },
        create=True,
    ).result()
    rng = np.random.default_rng(1)
    voxels = rng.integers(1, 2**64, size, np.uint64)
    store[..., 0].write(voxels).result()
    chunks = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(-1, 3)
    ids = morton.encode(chunks, scale.grid)
    numbers = shard_numbers(ids, scale.sharding)
    assert sorted(p.name for p in (tmp_path / scale.key).iterdir()) == sorted(
        f"{shard_hex(int(n), scale.sharding)}.shard" for n in set(numbers.tolist())
    )
    for (x, y, z), chunk_id, number in zip(
        chunks.tolist(), ids.tolist(), numbers.tolist(), strict=True
    ):
        with FileSource(tmp_path / shard_path(scale, number)) as source:
            data = ShardFile.open(source, scale, number).chunk(chunk_id)
        begin, end = scale.chunk_box((x, y, z))
        part = voxels[tuple(slice(b, e) for b, e in zip(begin, end, strict=True))]
        assert data == part.transpose(2, 1, 0).tobytes()


def test_ids_beyond_the_sharding_bits() -> None:
    """Ids with more bits than the sharding has are read if the caller gives their number."""
    sharding = ShardingSpec(1, 1, 1)
    chunks = {0b0_1_0_1: b"a", 0b1_1_0_1: b"b"}
    data = untidy_shard(sharding, chunks, random.Random(1))
    with pytest.raises(InvalidShardFormatError, match="chunk 13 belongs elsewhere"):
        ShardFile(BytesSource(data), sharding, shard=1)
    assert read_all(ShardFile(BytesSource(data), sharding, shard=1, id_bits=4)) == chunks


def test_parts_of_a_shard() -> None:
    """A range of ids is read alone; only a pass over all of them gives the checksum."""
    sharding = ShardingSpec(3, 1, 0)
    data = shard_of(((i, bytes([i])) for i in range(1, 16)), sharding, 0)
    file = ShardFile(BytesSource(data), sharding)
    assert [i for i, _ in file.iter_chunks(first_id=4, end_id=9)] == [4, 5, 6, 7, 8]
    assert list(file.iter_chunks(first_id=16)) == []
    assert list(file.iter_chunks(end_id=0)) == []
    assert file.crc32c is None
    assert next(file.iter_chunks())[0] == 1
    assert file.crc32c is None
    assert len(list(file.iter_chunks(end_id=2**64))) == 15
    assert file.crc32c == checksum(data)


def test_windows_bound_what_is_read() -> None:
    """Each read is at most a window, together they read the body once."""
    sharding = ShardingSpec(10, 0, 0)
    data = shard_of(((i, bytes(100)) for i in range(1000)), sharding, 0)
    source = BytesSource(data)
    file = ShardFile(source, sharding)
    before = source.requests
    assert sum(len(p) for _, p in file.iter_chunks(10_000)) == 100_000
    assert source.requests - before == 10


def test_absent_chunks() -> None:
    """A missing chunk raises ChunkNotFoundError."""
    file = ShardFile(BytesSource(by_hand([(1, 0, 1), (3, 1, 1)], b"ab")), RAW)
    assert file.chunk(3) == b"b"
    for i in (0, 2, 4, 2**64 - 1):
        with pytest.raises(ChunkNotFoundError, match=f"no chunk with id {i}"):
            file.chunk(i)


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ([(1, 0, 2), (1, 2, 2)], "chunk 1 is there twice"),
        ([(1, 0, 4), (2, 0, 4)], "share byte"),
        ([(1, 0, 3), (2, 2, 2)], "share byte"),
        ([(1, 0, 0)], "chunk 1 has no bytes"),
        ([(1, 10_000, 1)], "chunk 1 lies beyond the file"),
        ([(1, 0, 10_000)], "chunk 1 lies beyond the file"),
        ([(1, 2**64 - 1, 4)], "chunk 1 lies beyond the file"),
        ([(1, 2, 2**64 - 1)], "chunk 1 lies beyond the file"),
        ([(4, 0, 1)], "chunk 4 belongs elsewhere"),
        ([(8, 0, 1)], "chunk 8 belongs elsewhere"),
        ([(16, 0, 1)], "chunk 16 belongs elsewhere"),
        ([(1, 8, 16)], "share byte"),
        ([(0, 0, 1), (1, 1, 1), (2, 2, 1), (3, 3, 1), (0, 4, 1)], "24 per chunk"),
    ],
)
def test_unlawful_entries(entries: list[tuple[int, int, int]], text: str) -> None:
    """Each thing that the format, or a reader of it, cannot bear is refused by name."""
    data = by_hand(entries, b"abcdefgh")
    with pytest.raises(InvalidShardFormatError, match=text) as caught:
        ShardFile(BytesSource(data, "0.shard"), RAW, shard=0)
    assert str(caught.value).startswith("0.shard: ")


@pytest.mark.parametrize(
    ("head", "text"),
    [
        ([(0, 0), (9, 9)], "minishard 1: its index lies beyond"),
        ([(5, 3), (0, 0)], "minishard 0: its index lies beyond"),
        ([(0, 9), (0, 0)], "minishard 0: its index lies beyond"),
        ([(0, 2**64 - 1), (0, 0)], "minishard 0: its index lies beyond"),
        ([(0, 5), (4, 8)], "minishards 0 and 1 share bytes"),
        ([(0, 7), (0, 0)], "minishard 0: an index of 7 bytes, expected 24 per chunk"),
    ],
)
def test_unlawful_shard_index(head: list[tuple[int, int]], text: str) -> None:
    """Minishard indices that lie outside, overlap, or are not tables."""
    data = np.array(head, "<u8").tobytes() + bytes(8)
    with pytest.raises(InvalidShardFormatError, match=text):
        ShardFile(BytesSource(data), RAW)


def test_empty_minishards_may_be_anywhere_in_the_body() -> None:
    """An empty minishard written as x,x is as good as 0,0."""
    data = np.array([(8, 8), (0, 0)], "<u8").tobytes() + bytes(8)
    assert len(ShardFile(BytesSource(data), RAW)) == 0


@pytest.mark.parametrize("data", [b"", bytes(31)])
def test_too_short_for_a_head(data: bytes) -> None:
    """A file shorter than its shard index."""
    with pytest.raises(InvalidShardFormatError, match="takes 32 bytes"):
        ShardFile(BytesSource(data), RAW)


def test_a_huge_head_is_not_read() -> None:
    """A sharding that claims 2^24 minishards allocates nothing for a small file."""
    with pytest.raises(InvalidShardFormatError, match="takes 268435456 bytes"):
        ShardFile(BytesSource(bytes(100)), ShardingSpec(0, 24, 0))


def test_an_index_bomb_is_not_inflated() -> None:
    """A minishard index that inflates to far more than its minishard can hold is given up."""
    sharding = ShardingSpec(9, 0, 0, "raw", "gzip")
    bomb = gzip.compress(bytes(64 << 20))
    data = struct.pack("<QQ", 0, len(bomb)) + bomb
    tracemalloc.start()
    with pytest.raises(InvalidShardFormatError, match="minishard 0: "):
        ShardFile(BytesSource(data), sharding)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


def test_a_chunk_bomb_is_not_inflated() -> None:
    """A chunk whose gzip claims more than a chunk can have is refused unread."""
    scale = made_scale((64, 64, 64), bits=(0, 0, 0))
    assert largest_chunk_bytes(scale) == 64**3 * 8
    data = shard_of([(0, gzip.compress(bytes(8 << 20)))], scale.sharding, 0)
    file = ShardFile.open(BytesSource(data), scale, 0)
    with pytest.raises(InvalidShardFormatError, match="claims 8388608 bytes"):
        file.chunk(0)


def test_a_payload_larger_than_any_chunk() -> None:
    """A payload that no chunk of the scale could need is refused with the index."""
    scale = made_scale((8, 8, 8), (8, 8, 8), bits=(0, 0, 0))
    data = shard_of([(0, bytes(10_000))], scale.sharding, 0)
    with pytest.raises(InvalidShardFormatError, match="chunk 0 has 10000 bytes"):
        ShardFile.open(BytesSource(data), scale, 0)


def test_bad_gzip_names_the_chunk() -> None:
    """A payload that is not gzip."""
    sharding = ShardingSpec(1, 0, 0, "gzip", "raw")
    file = ShardFile(BytesSource(shard_of([(1, b"no gzip")], sharding, 0)), sharding)
    with pytest.raises(InvalidShardFormatError, match="chunk 1"):
        file.chunk(1)


def test_largest_compressed_segmentation_chunk() -> None:
    """The bound for 64^3 chunks covers the format's own 656,385 words."""
    scale = made_scale((64, 64, 64), bits=(0, 0, 0), encoding="compressed_segmentation")
    assert largest_chunk_bytes(scale) >= 4 * 656_385


@given(shard_chunks(), st.data())
def test_damage_is_refused_or_read(made: Made, data: st.DataObject) -> None:
    """A flipped bit or a cut gives a BraidError or a readable result."""
    sharding, shard, chunks = made
    whole = bytearray(untidy_shard(sharding, chunks, random.Random(1)))
    if data.draw(st.booleans()):
        del whole[data.draw(st.integers(0, len(whole))) :]
    else:
        bit = data.draw(st.integers(0, 8 * len(whole) - 1))
        whole[bit >> 3] ^= 1 << (bit & 7)
    try:
        found = read_all(ShardFile(BytesSource(bytes(whole)), sharding, shard=shard))
    except BraidError:
        return
    assert len(found) <= len(whole)


@given(st.binary(max_size=300), st.integers(0, 3), st.sampled_from(["raw", "gzip"]))
def test_garbage_is_refused_or_read(
    body: bytes, minishard_bits: int, encoding: Literal["raw", "gzip"]
) -> None:
    """Any bytes at all."""
    sharding = ShardingSpec(2, minishard_bits, 2, "gzip", encoding)
    try:
        read_all(ShardFile(BytesSource(body), sharding))
    except BraidError as error:
        assert "\n" not in str(error)  # noqa: PT017 (an error is one of two good ends)
