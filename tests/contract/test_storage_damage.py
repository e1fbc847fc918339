"""Bytes that change on the way to and from a bucket, and answers that are none."""

import gzip
import random
from collections.abc import Callable
from contextlib import suppress

import google.auth
import google.auth.exceptions
import pytest
from google.auth.credentials import AnonymousCredentials

from runtime.errors import (
    DamagedInTransit,
    ObjectNotFound,
    PermanentError,
    UnreachableError,
    UsageError,
)
from runtime.storage import Pieces, Storage, gcs_client, open_storage
from runtime.storage.checked_reads import PAGE_BYTES
from runtime.storage.checksum import crc32c, encode
from tests.support.gcs_server import GcsServer

MIB = 1 << 20
DATA = random.Random(2).randbytes(3 * MIB + 5)
LARGE = random.Random(3).randbytes(13 * MIB)  # uploaded in chunks
READING = "alt=media"
DAMAGE = ("short", "flip", "cut", "other", "loop", "reset", "lost", 408, 429, 500, 503, 504)


@pytest.fixture
def storage(bucket: str) -> Storage:
    """An empty bucket."""
    return open_storage(f"gs://{bucket}/root")


def pieces(*body: bytes) -> Pieces:
    """A shard."""
    yield from body
    return b"HEAD"


@pytest.mark.parametrize("how", DAMAGE)
def test_a_whole_object_is_read_again(gcs: GcsServer, storage: Storage, how: int | str) -> None:
    """Its checksum tells, and the reader does not notice."""
    storage.write("a", DATA)
    gcs.fail(READING, how=how)
    assert storage.read("a") == DATA
    gcs.fail(READING, how=how)
    assert storage.source("a").read_at(0, len(DATA)) == DATA


@pytest.mark.parametrize("how", [how for how in DAMAGE if how != "flip"])
def test_a_range_is_read_again(gcs: GcsServer, storage: Storage, how: int | str) -> None:
    """Its length tells."""
    storage.write("a", DATA)
    source = storage.source("a")
    gcs.fail(READING, how=how)
    assert source.read_at(7, 2 * MIB) == DATA[7 : 7 + 2 * MIB]
    source.verify()


@pytest.mark.parametrize("length", [10, 2 * MIB])
def test_a_bit_of_a_range_is_found(gcs: GcsServer, storage: Storage, length: int) -> None:
    """By the object's checksum, or by reading again: before anything is made of it."""
    storage.write("a", DATA)
    source = storage.source("a")
    gcs.fail(READING, how="flip")
    source.read_at(PAGE_BYTES, length)
    with pytest.raises(DamagedInTransit, match=r"root/a: damaged on the way"):
        source.verify()
    source = storage.source("a")
    assert source.read_at(PAGE_BYTES, length) == DATA[PAGE_BYTES : PAGE_BYTES + length]
    source.verify()


def test_damage_that_does_not_end_is_trouble_of_the_storage(
    gcs: GcsServer, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with the time for retries, and blames nothing else."""
    monkeypatch.setenv("STORAGE_RETRY_S", "0.5")
    storage.write("a", DATA)
    gcs.fail(READING, times=1000, how="short")
    with pytest.raises(UnreachableError, match="damaged on the way: 1572866 bytes came"):
        storage.source("a").read_at(0, len(DATA))
    gcs.heal()
    gcs.fail(READING, times=1000, how="loop")
    with pytest.raises(UnreachableError, match="storage cannot be reached"):
        storage.read("a")


@pytest.mark.parametrize("how", ["flip-sent", "cut", "lost", "reset", "loop", 408, 429, 500, 503])
@pytest.mark.parametrize("data", [DATA, LARGE], ids=["whole", "in chunks"])
def test_an_upload_is_sent_again(
    gcs: GcsServer, storage: Storage, data: bytes, how: int | str
) -> None:
    """Its checksum goes with it, and comes back."""
    for number, method in enumerate(("POST", "PUT")):
        gcs.fail("uploadType=", how=how, method=method)
        storage.write(f"a{number}", data)
        assert storage.read(f"a{number}") == data
        gcs.heal()


@pytest.mark.parametrize("how", [404, 410])
def test_a_lost_upload_begins_anew(gcs: GcsServer, storage: Storage, how: int) -> None:
    """It is no object that is not found."""
    gcs.fail("upload_id=", how=how, method="PUT")
    storage.write("plan", LARGE)
    assert storage.read("plan") == LARGE


@pytest.mark.parametrize("how", [404, 410, "other", "flip-sent"])
def test_a_shard_whose_upload_is_lost_is_trouble_of_the_storage(
    gcs: GcsServer, storage: Storage, how: int | str
) -> None:
    """Its bytes are gone, so it is made again; nothing appears until then."""
    gcs.fail("upload_id=", how=how, method="PUT")
    with pytest.raises(UnreachableError):
        storage.write_shard("s/0.shard", pieces(DATA, LARGE), 4, lambda: None)
    assert not storage.exists("s/0.shard")
    written = storage.write_shard("s/0.shard", pieces(DATA, LARGE), 4, lambda: None)
    assert storage.read("s/0.shard") == b"HEAD" + DATA + LARGE
    assert written.crc32c == encode(crc32c(b"HEAD" + DATA + LARGE))


@pytest.mark.parametrize("how", ["flip", "short", "cut", "other", "lost", 503])
@pytest.mark.parametrize("data", [DATA, LARGE], ids=["at once", "composed"])
def test_a_shard_whose_answer_is_damaged(
    gcs: GcsServer, storage: Storage, data: bytes, how: int | str
) -> None:
    """The object that is there tells."""
    gcs.fail("/compose" if data is LARGE else "uploadType=multipart", how=how)
    written = storage.write_shard("s/0.shard", pieces(data), 4, lambda: None)
    assert storage.read("s/0.shard") == b"HEAD" + data
    assert written.crc32c == encode(crc32c(b"HEAD" + data))


def test_a_lost_answer_hides_no_creation(gcs: GcsServer, storage: Storage) -> None:
    """A 412 after one's own success is a success."""
    gcs.fail("uploadType=", how="lost", method="POST")
    assert storage.create("a", b"mine")
    assert not storage.create("a", b"mine")


@pytest.mark.parametrize("how", ["short", "cut", "other", "loop", "reset", 408, 429, 500, 502, 504])
def test_listings_and_properties_are_requested_again(
    gcs: GcsServer, storage: Storage, how: int | str
) -> None:
    """An answer that is none is not taken for one."""
    storage.write("a", DATA)
    gcs.fail(r"/o\?", how=how, method="GET")
    assert [info.size for info in storage.list()] == [len(DATA)]
    gcs.fail(r"/o/", how=how, method="GET")
    assert storage.stat("a").crc32c == encode(crc32c(DATA))


REQUESTS: dict[str, Callable[[Storage, bytes], object]] = {
    r"/o\?": lambda storage, _: list(storage.list()),
    "/o/": lambda storage, _: storage.source("s/0.shard"),
    "uploadType=": lambda storage, data: storage.write("s/0.shard", data),
    "/compose": lambda storage, data: storage.write_shard(
        "s/0.shard", pieces(data), 4, lambda: None
    ),
}


@pytest.mark.parametrize("pattern", REQUESTS)
def test_a_bit_anywhere_in_an_answer(gcs: GcsServer, storage: Storage, pattern: str) -> None:
    """Nothing protects values of an answer; one that cannot be read is requested again."""
    data, step = (LARGE, 36) if pattern == "/compose" else (DATA[:2], 12)
    storage.write_shard("s/0.shard", pieces(data), 4, lambda: None)
    for place in range(0, 900, step):
        gcs.fail(pattern, how=f"flip {place}")
        REQUESTS[pattern](storage, data)
        gcs.heal()
    assert storage.read("s/0.shard").endswith(data)


def test_a_bit_anywhere_in_the_answer_to_a_part(gcs: GcsServer, storage: Storage) -> None:
    """The shard is there, or it is trouble of the storage and the shard is made again."""
    made = 0
    for place in range(0, 900, 15):
        gcs.fail("upload_id=", how=f"flip {place}", method="PUT", after=1)
        with suppress(UnreachableError):
            storage.write_shard(f"s/{place}.shard", pieces(LARGE), 4, lambda: None)
            assert storage.read(f"s/{place}.shard") == b"HEAD" + LARGE
            made += 1
        gcs.heal()
    assert 0 < made < 60


# -- objects that are stored as gzip


def packed(gcs: GcsServer, bucket: str, name: str, data: bytes) -> None:
    """As `gcloud storage cp -Z` uploads."""
    gcs.state.put(bucket, name, gzip.compress(data), {"contentEncoding": "gzip"}, {})


def test_an_object_stored_as_gzip(gcs: GcsServer, bucket: str, storage: Storage) -> None:
    """It is unpacked where it is read whole; it has no ranges, and that is said."""
    packed(gcs, bucket, "root/info", b'{"a": 1}')
    assert storage.read("info") == b'{"a": 1}'
    assert storage.read_at("info", 2, 3) == b'a":'
    (info,) = storage.list()
    assert info.packed is not None
    with pytest.raises(PermanentError, match="root/info: stored with Content-Encoding gzip") as e:
        storage.source("info")
    assert "--gzip-local" in str(e.value.hint)


def test_an_object_that_only_claims_to_be_gzip(
    gcs: GcsServer, bucket: str, storage: Storage
) -> None:
    """Its bytes are the content."""
    gcs.state.put(bucket, "root/info", b"plain", {"contentEncoding": "gzip"}, {})
    assert storage.read("info") == b"plain"


# -- who reads, and who pays


def test_a_bucket_whose_requesters_pay(
    gcs: GcsServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the setting; with it, every request names the project."""
    gcs.state.bucket_properties[bucket] = {"billing": {"requesterPays": True}}
    with pytest.raises(UsageError, match="requester-pays") as caught:
        open_storage(f"gs://{bucket}/root").check_readable()
    assert "USER_PROJECT" in str(caught.value.hint)
    monkeypatch.setenv("USER_PROJECT", "payer")
    storage = open_storage(f"gs://{bucket}/root")
    storage.check_readable()
    storage.check_writable()
    storage.write("a", LARGE)
    assert storage.create("b", b"b")
    storage.write_shard("s/0.shard", pieces(DATA), 4, lambda: None)
    assert storage.source("a").read_at(5, 10) == LARGE[5:15]
    assert storage.folders() == ["s"]
    assert storage.delete("b")


def test_no_credentials_read_what_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only credentials that cannot be used are an error before the first request."""
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("PROJECT_ID", "of-this-test")
    reason = ["Your default credentials were not found. To set up ..."]

    def default(*_args: object, **_more: object) -> object:
        raise google.auth.exceptions.DefaultCredentialsError(reason[0])  # type: ignore[no-untyped-call] # Google's

    monkeypatch.setattr(google.auth, "default", default)
    client = gcs_client.client()
    assert isinstance(client._credentials, AnonymousCredentials)
    reason[0] = "File /nowhere was not found."
    monkeypatch.setenv("PROJECT_ID", "another-of-this-test")
    with pytest.raises(UsageError, match="cannot be used: File /nowhere was not found"):
        gcs_client.client()


# -- other servers


def test_an_empty_object_whose_size_is_left_out(
    gcs: GcsServer, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some servers do; its size is 0."""
    monkeypatch.setattr(gcs.state, "omits_empty_size", True)
    storage.write("mark", b"")
    assert storage.stat("mark").size == 0
    assert [info.size for info in storage.list()] == [0]
    assert storage.source("mark").read_at(0, 10) == b""
    with pytest.raises(ObjectNotFound):
        storage.stat("other")
