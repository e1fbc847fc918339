"""The test server of GCS, tested with Google's client and TensorStore."""

import json
import urllib.error
import urllib.request
from typing import Any, BinaryIO

import numpy as np
import pytest
import tensorstore as ts
from google.api_core import exceptions as api
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage.exceptions import InvalidResponse

from runtime.storage.checksum import crc32c, encode
from tests.support.gcs_server import GcsServer

Client = Any  # Google publishes no types
Bucket = Any


@pytest.fixture
def client(gcs: GcsServer) -> Client:
    """Google's client."""
    del gcs
    return storage.Client(project="local", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call] # Google's


@pytest.fixture
def home(client: Client, bucket: str) -> Bucket:
    """Google's handle of an empty bucket."""
    return client.bucket(bucket)


def test_buckets_are_made_listed_changed_and_removed(client: Client) -> None:
    """The life of a bucket, and 409 for a second of its name and for one that is not empty."""
    made = client.create_bucket("life-of-a-bucket")
    assert "life-of-a-bucket" in [found.name for found in client.list_buckets()]
    with pytest.raises(api.Conflict):
        client.create_bucket("life-of-a-bucket")
    made.labels = {"a": "b"}
    made.patch()
    assert client.get_bucket("life-of-a-bucket").labels == {"a": "b"}
    made.blob("x").upload_from_string("x", checksum="crc32c")
    with pytest.raises(api.Conflict):
        made.delete()
    made.blob("x").delete()
    made.delete()
    with pytest.raises(api.NotFound):
        client.get_bucket("life-of-a-bucket")


def test_an_object_keeps_bytes_metadata_and_checksum(home: Bucket) -> None:
    """A multipart upload: what was sent is what is read and listed."""
    blob = home.blob("a/ä b.json")
    blob.metadata = {"redo": "1"}
    blob.cache_control = "no-cache"
    blob.upload_from_string(b"\r\n--x\r\n\r\n", content_type="application/json", checksum="crc32c")
    found = home.get_blob("a/ä b.json")
    assert found.download_as_bytes() == b"\r\n--x\r\n\r\n"
    assert (found.metadata, found.cache_control) == ({"redo": "1"}, "no-cache")
    assert found.content_type == "application/json"
    assert found.size == 9
    assert found.crc32c == encode(crc32c(b"\r\n--x\r\n\r\n"))


@pytest.mark.parametrize(
    ("size", "chunk"), [(0, 1), (5, 1), (256 << 10, 1), ((512 << 10) + 1, 1), (1 << 20, 2)]
)
def test_a_resumable_upload_appears_when_it_is_complete(
    home: Bucket, size: int, chunk: int
) -> None:
    """Empty, short, and exactly whole chunks; nothing to be seen before the end."""
    data = np.random.default_rng(size).bytes(size)
    blob = home.blob("r")
    with blob.open("wb", chunk_size=chunk * (256 << 10), ignore_flush=True) as file:
        file.write(data)
        assert not home.blob("r").exists()
    assert home.blob("r").download_as_bytes() == data


def write_then_fail(file: BinaryIO, data: bytes) -> None:
    """A writer that breaks off."""
    file.write(data)
    raise ZeroDivisionError


def test_an_aborted_upload_publishes_nothing(home: Bucket) -> None:
    """An exception inside `open` leaves no object."""
    file = home.blob("r").open("wb", chunk_size=256 << 10)
    with pytest.raises(ZeroDivisionError), file:
        write_then_fail(file, b"x" * (300 << 10))
    assert not home.blob("r").exists()


def test_an_upload_survives_lost_chunks_and_answers(gcs: GcsServer, home: Bucket) -> None:
    """503, a reset and a lost answer to a chunk: the client goes on, the bytes are right."""
    data = np.random.default_rng(1).bytes(1 << 20)
    for how in (503, "reset", "lost"):
        gcs.fail("upload_id=", method="PUT", how=how)
        with home.blob("r").open("wb", chunk_size=256 << 10) as file:
            file.write(data)
        assert home.blob("r").download_as_bytes() == data


def test_preconditions_hold(home: Bucket) -> None:
    """Create if absent, replace this generation only, not-modified, metageneration."""
    blob = home.blob("p")
    blob.upload_from_string("1", if_generation_match=0)
    with pytest.raises(api.PreconditionFailed):
        home.blob("p").upload_from_string("2", if_generation_match=0)
    file = home.blob("p").open("wb", if_generation_match=0)
    file.write(b"3")
    with pytest.raises((api.PreconditionFailed, InvalidResponse)):
        file.close()
    file.terminate()  # else it tries again, for two minutes, when it is collected
    with pytest.raises(api.PreconditionFailed):
        blob.delete(if_generation_match=1)
    with pytest.raises(api.PreconditionFailed):
        blob.download_as_bytes(if_generation_match=1)
    with pytest.raises(api.NotModified):
        home.blob("p").download_as_bytes(if_generation_not_match=blob.generation)
    blob.metadata = {"a": "b"}
    blob.patch(if_metageneration_match=1)
    assert blob.metageneration == 2
    with pytest.raises(api.PreconditionFailed):
        blob.patch(if_metageneration_match=1)
    with pytest.raises(api.NotFound):
        home.blob("p", generation=1).reload()
    assert home.blob("p").download_as_bytes() == b"1"


def test_ranges_are_answered_exactly(home: Bucket, gcs: GcsServer) -> None:
    """From, from-to, beyond the end (416), and the suffix form that TensorStore uses."""
    blob = home.blob("d")
    blob.upload_from_string(bytes(range(100)))
    home.blob("empty").upload_from_string(b"")
    assert home.blob("empty", chunk_size=256 << 10).download_as_bytes() == b""
    assert home.blob("d", chunk_size=256 << 10).download_as_bytes() == bytes(range(100))
    assert blob.download_as_bytes(start=10, end=19) == bytes(range(10, 20))
    assert blob.download_as_bytes(start=90, end=500) == bytes(range(90, 100))
    with pytest.raises(api.RequestRangeNotSatisfiable):
        blob.download_as_bytes(start=100)
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{gcs.url}/storage/v1/b/{home.name}/o/d?alt=media", headers={"Range": "bytes=-3"}
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - the same
        assert answer.status == 206
        assert answer.read() == bytes([97, 98, 99])
        assert answer.headers["Content-Range"] == "bytes 97-99/100"
        assert answer.headers["x-goog-generation"] == str(blob.generation)
        assert f"crc32c={blob.crc32c}" in answer.headers["x-goog-hash"]


def test_listings_come_in_pages_ordered_with_prefixes(home: Bucket) -> None:
    """Pages of any size, prefixes up to a delimiter, offsets, chosen fields."""
    names = [f"{a}/{b}" for a in "ba" for b in range(5)] + ["z"]
    for name in names:
        home.blob(name).upload_from_string(name)
    assert [found.name for found in home.list_blobs(page_size=3)] == sorted(names)
    pages = home.list_blobs(delimiter="/", page_size=2)
    assert [found.name for found in pages] == ["z"]
    assert pages.prefixes == {"a/", "b/"}
    assert [b.name for b in home.list_blobs(prefix="a/", start_offset="a/1", end_offset="a/4")] == [
        "a/1",
        "a/2",
        "a/3",
    ]
    only = next(iter(home.list_blobs(fields="items(name,size),nextPageToken")))
    assert (only.name, only.size, only.crc32c) == ("a/0", 3, None)


def test_compose_joins_copies_copy_batches_delete(home: Bucket, client: Client) -> None:
    """Compose in order with its own metadata, at most 32 parts; rewrite; a batch of deletes."""
    parts = [home.blob(f"p{i:02}") for i in range(33)]
    for index, part in enumerate(parts):
        part.upload_from_string(bytes([index]))
    whole = home.blob("whole")
    whole.metadata = {"k": "v"}
    whole.compose(parts[:32])
    assert whole.download_as_bytes() == bytes(range(32))
    assert whole.component_count == 32
    assert home.get_blob("whole").metadata == {"k": "v"}
    assert home.get_blob("whole").md5_hash is None
    with pytest.raises(api.BadRequest):
        whole.compose(parts)
    copy = home.copy_blob(whole, home, "copied")
    assert copy.download_as_bytes() == bytes(range(32))
    token, done, size = home.blob("rewritten").rewrite(whole)
    assert (token, done, size) == (None, 32, 32)
    with client.batch():
        for part in parts:
            part.delete()
    assert [found.name for found in home.list_blobs()] == ["copied", "rewritten", "whole"]


def test_a_checksum_that_does_not_fit_is_refused(home: Bucket, gcs: GcsServer) -> None:
    """Bytes damaged on the way do not become an object."""
    document = json.dumps({"name": "x", "crc32c": "AAAAAA=="})
    body = f"--b\r\nContent-Type: application/json\r\n\r\n{document}\r\n--b\r\n\r\ndata\r\n--b--"
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{gcs.url}/upload/storage/v1/b/{home.name}/o?uploadType=multipart",
        data=body.encode(),
        headers={"Content-Type": "multipart/related; boundary=b"},
    )
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request)  # noqa: S310 - the same
    assert not home.blob("x").exists()


def test_what_is_not_served_is_a_4xx(gcs: GcsServer, home: Bucket) -> None:
    """Never a 5xx, which would make clients try again for minutes."""
    for path in (
        "/nowhere",
        f"/storage/v1/b/{home.name}/o?matchGlob=x",
        f"/storage/v1/b/{home.name}/o?maxResults=many",
        f"/storage/v1/b/{home.name}/o?pageToken=!",
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(gcs.url + path)  # noqa: S310 - our own server
        assert 400 <= caught.value.code < 500


def test_tensorstore_keeps_values_and_lists_them(bucket: str) -> None:
    """Its key-value store: write, conditional write, ranges, list, delete a range."""
    store = ts.KvStore.open(f"gs://{bucket}/kv/").result()
    for key in ("a", "b/ä 1", "b/2", "c"):
        store.write(key, key.encode() * 10).result()
    assert [key.decode() for key in sorted(store.list().result())] == ["a", "b/2", "b/ä 1", "c"]
    assert store["b/2"] == b"b/2" * 10
    assert store.read("missing").result().state == "missing"
    stale = store.read("c").result().stamp.generation
    store.write("c", b"new").result()
    refused = store.write("c", b"newer", if_equal=stale).result()
    assert refused.generation != store.read("c").result().stamp.generation
    assert store["c"] == b"new"
    store.delete_range(ts.KvStore.KeyRange("b/", "b0")).result()
    assert sorted(store.list().result()) == [b"a", b"c"]


def test_tensorstore_writes_and_reads_a_sharded_volume(bucket: str) -> None:
    """The volume that this project makes, made and read by TensorStore on this server."""
    data = np.random.default_rng(0).integers(0, 9, (130, 70, 64, 1)).astype(np.uint64)
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": f"gs://{bucket}/volume/",
        "multiscale_metadata": {"data_type": "uint64", "num_channels": 1, "type": "segmentation"},
        "scale_metadata": {
            "size": [130, 70, 64],
            "resolution": [8, 8, 8],
            "chunk_size": [64, 64, 64],
            "encoding": "compressed_segmentation",
            "compressed_segmentation_block_size": [8, 8, 8],
            "sharding": {
                "@type": "neuroglancer_uint64_sharded_v1",
                "preshift_bits": 1,
                "minishard_bits": 1,
                "shard_bits": 1,
                "hash": "identity",
                "data_encoding": "gzip",
                "minishard_index_encoding": "gzip",
            },
        },
    }
    with ts.Transaction() as transaction:
        volume = ts.open(spec, create=True).result()
        volume.with_transaction(transaction)[...].write(data).result()
    again = ts.open({**spec, "kvstore": f"gs://{bucket}/volume/"}, open=True).result()
    np.testing.assert_array_equal(again.read().result(), data)
