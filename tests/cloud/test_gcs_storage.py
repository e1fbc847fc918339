"""GCS faults: passing ones are retried, lasting ones become one-line errors."""

import gc
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from runtime.errors import (
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    ObjectNotFound,
    UnreachableError,
    UsageError,
)
from runtime.storage import Pieces, Storage, open_storage
from tests.support.gcs_server import Answer, GcsServer, Request, refused

OPERATIONS: dict[str, Callable[[Storage], object]] = {
    "read": lambda storage: storage.read("a"),
    "range": lambda storage: storage.source("a").read_at(1, 2),
    "stat": lambda storage: storage.stat("a"),
    "list": lambda storage: list(storage.list()),
    "folders": lambda storage: storage.folders(),
    "write": lambda storage: storage.write("b", b"x"),
    "create": lambda storage: storage.create("c", b"x"),
    "delete": lambda storage: storage.delete("a"),
    "shard": lambda storage: storage.write_shard("s", shard(), 4, lambda: None),
    "sweep": lambda storage: storage.sweep_temporaries(),
    "check_readable": lambda storage: storage.check_readable(),
    "check_writable": lambda storage: storage.check_writable(),
}


def shard() -> Pieces:
    """Two chunks of an upload and a bit."""
    for _ in range(17):
        yield b"x" * (1 << 20)
    return b"HEAD"


def small(content: bytes) -> Pieces:
    """A shard that is uploaded at once."""
    yield content
    return b"HEAD"


@pytest.fixture
def storage(bucket: str) -> Storage:
    """A prefix that holds one object."""
    storage = open_storage(f"gs://{bucket}/p")
    storage.write("a", b"12345")
    return storage


@pytest.fixture
def impatient(gcs: GcsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Storage trouble is not waited out."""
    del gcs  # which sets a longer time
    monkeypatch.setenv("STORAGE_RETRY_S", "0")


@pytest.mark.parametrize("how", [503, 429, 500, "reset", "lost"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_passing_faults_are_retried(
    gcs: GcsServer, storage: Storage, name: str, how: int | str
) -> None:
    """A busy server, a broken connection, an answer that never came: the result is the same."""
    gcs.fail("storage/v1", how=how)
    result = OPERATIONS[name](storage)
    if name == "create":
        assert result is True
    elif not (name == "delete" and how == "lost"):  # the second try finds nothing to delete
        gcs.heal()
        assert result is not False
    assert not [found for found in gcs.names(bucket_of(storage)) if ".tmp-" in found]


def bucket_of(storage: Storage) -> str:
    """The bucket of a gs:// storage."""
    return storage.url.split("/")[2]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("how", [503, "reset"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_lasting_faults_are_unreachable(
    gcs: GcsServer, storage: Storage, name: str, how: int | str
) -> None:
    """One line that names bucket and object; exit code 3."""
    gcs.fail("storage/v1", times=99, how=how)
    with pytest.raises(UnreachableError, match=f"gs://{bucket_of(storage)}") as caught:
        OPERATIONS[name](storage)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == EXIT_UNREACHABLE
    assert caught.value.hint


@pytest.mark.parametrize("name", OPERATIONS)
def test_missing_rights_name_the_role(gcs: GcsServer, storage: Storage, name: str) -> None:
    """Nothing is tried again: it would not help."""
    gcs.fail("storage/v1", how=403, times=99)
    before = len(gcs.seen)
    with pytest.raises(UsageError, match="no permission") as caught:
        OPERATIONS[name](storage)
    assert "roles/storage.objectUser" in (caught.value.hint or "")
    assert caught.value.exit_code == EXIT_USAGE
    assert len(gcs.seen) <= before + 3  # the request; a shard's two parts are tidied up


@pytest.mark.parametrize("name", OPERATIONS)
def test_refused_credentials_name_the_login(gcs: GcsServer, storage: Storage, name: str) -> None:
    """After a 401 the client asks for new ones, which an expired login does not give."""
    gcs.fail("storage/v1", how=401, times=99)
    with pytest.raises(UsageError, match="refuses these credentials") as caught:
        OPERATIONS[name](storage)
    assert "gcloud auth" in (caught.value.hint or "")


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"delete"}))
def test_a_missing_bucket_is_named(gcs: GcsServer, name: str) -> None:
    """Not an object that is not found."""
    del gcs
    with pytest.raises(UnreachableError, match="gs://no-such-bucket: no such bucket"):
        OPERATIONS[name](open_storage("gs://no-such-bucket/p"))


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_not_there_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connection refused, in one line."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    with pytest.raises(UnreachableError, match=r"gs://some-bucket/p/a: .*\(ConnectionError\)"):
        open_storage("gs://some-bucket/p").read("a")


def test_create_whose_answer_was_lost_is_ours(gcs: GcsServer, storage: Storage) -> None:
    """The object was made by the try whose answer never came: True, and only then."""
    gcs.fail("upload", how="lost")
    assert storage.create("r", b"mine")
    assert not storage.create("r", b"mine")


def test_create_that_another_won_is_not_ours(gcs: GcsServer, storage: Storage) -> None:
    """A refusal after trouble is not ours where other bytes are there."""
    storage.write("r", b"theirs")
    gcs.fail("upload", how=503)
    assert not storage.create("r", b"mine")
    assert storage.read("r") == b"theirs"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("broken", ["uploadType=resumable$", "upload_id=", "multipart", "compose"])
@pytest.mark.parametrize("how", [503, "reset"])
def test_a_shard_that_cannot_be_stored_leaves_nothing(
    gcs: GcsServer, storage: Storage, broken: str, how: int | str
) -> None:
    """Whichever request fails for good; nor does a forgotten upload appear later."""
    gcs.fail(broken, times=99, how=how)
    with pytest.raises(UnreachableError):
        storage.write_shard("s", shard(), 4, lambda: None)
    gcs.heal()
    gc.collect()
    assert gcs.names(bucket_of(storage)) == ["p/a"]


@pytest.mark.parametrize("size", ["large", "small"])
def test_a_shard_that_lands_late_changes_nothing(
    gcs: GcsServer, storage: Storage, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    """Its answer was an error; when it takes effect, the next run's shard is there already."""
    late: list[tuple[str, bytes]] = []
    answer = gcs.service.answer

    def delayed(request: Request) -> Answer:
        if is_last(request) and not late:
            late.append((request.path, request.body))
            monkeypatch.setattr(gcs.service, "answer", answer)
            other = open_storage(storage.url)
            other.write_shard("s", small(b"theirs"), 4, lambda: None)
            found = answer(request)  # the late request itself
            assert found.status == 412
            return refused(503, "slow down")
        return answer(request)

    def is_last(request: Request) -> bool:
        multipart = request.query.get("uploadType") == "multipart"
        return multipart if size == "small" else request.path.endswith("/compose")

    def confirm() -> None:
        if late:
            raise LookupError("the run was cancelled")

    monkeypatch.setattr(gcs.service, "answer", delayed)
    mine = small(b"mine") if size == "small" else shard()
    with pytest.raises(LookupError):
        storage.write_shard("s", mine, 4, confirm)
    assert storage.read("s") == b"HEADtheirs"
    assert gcs.names(bucket_of(storage)) == ["p/a", "p/s"]


@pytest.mark.parametrize("size", ["large", "small"])
def test_a_shard_whose_answer_was_lost_is_known_as_ours(
    gcs: GcsServer, storage: Storage, size: str
) -> None:
    """The retry finds another generation than it expects, with its own bytes."""
    asked: list[int] = []
    for number in (1, 2):  # where there is none, and over an older one
        gcs.fail("multipart" if size == "small" else "compose", how="lost")
        mine = small(bytes([number])) if size == "small" else shard()
        info = storage.write_shard("s", mine, 4, lambda: asked.append(1))
        assert storage.stat("s").crc32c == info.crc32c
        assert len(asked) == number


def test_a_part_that_was_deleted_is_trouble_of_the_storage(
    gcs: GcsServer, storage: Storage
) -> None:
    """By a lifecycle rule, say: the shard is not to blame."""

    def confirm() -> None:
        for name in gcs.names(bucket_of(storage)):
            if name.endswith(".body"):
                del gcs.state.objects(bucket_of(storage))[name]

    with pytest.raises(UnreachableError, match="parts were deleted"):
        storage.write_shard("s", shard(), 4, confirm)


def test_objects_are_not_cached(gcs: GcsServer, storage: Storage) -> None:
    """Else an old index would meet new bytes; and nothing is decompressed on the way."""
    storage.write("info", b"{}")
    storage.write_shard("0/0.shard", shard(), 4, lambda: None, {"run": "r"})
    for name, content_type in (("info", "application/json"), ("0/0.shard", _BYTES)):
        properties = gcs.object(bucket_of(storage), f"p/{name}").properties
        assert properties["cacheControl"] == "no-cache"
        assert properties["contentType"] == content_type
        assert "contentEncoding" not in properties


_BYTES = "application/octet-stream"


def test_a_shard_costs_few_requests(gcs: GcsServer, storage: Storage) -> None:
    """What is there, start and chunks of the body, the head, the compose, which deletes these."""
    storage.write_shard("first", shard(), 4, lambda: None)  # looks whether it does
    before = len(gcs.seen)
    storage.write_shard("s", shard(), 4, lambda: None)
    verbs = [line.split()[0] for line in gcs.seen[before:]]
    assert gcs.count(rf"GET /storage/v1/b/{bucket_of(storage)}\?") == 0  # it is not needed
    assert sorted(verbs) == ["GET", *["POST"] * 3, *["PUT"] * 3]
    assert "/compose" in gcs.seen[-1]


def test_a_small_shard_costs_three_requests(gcs: GcsServer, storage: Storage) -> None:
    """What is there, the upload of the whole, and the compose, which deletes it."""
    storage.write_shard("first", small(b"x"), 4, lambda: None)  # looks whether it does
    for content in (b"first", b"second"):
        before = len(gcs.seen)
        info = storage.write_shard("s", small(content), 4, lambda: None, {"run": "r1"})
        assert [line.split()[0] for line in gcs.seen[before:]] == ["GET", "POST", "POST"]
        assert "/compose" in gcs.seen[-1]
        assert storage.read("s") == b"HEAD" + content
        assert storage.stat("s") == info


def test_a_replaced_object_is_not_mixed(storage: Storage) -> None:
    """A source reads one generation; when that is gone it says so."""
    source = storage.source("a")
    storage.write("a", b"67890")
    with pytest.raises(ObjectNotFound):
        source.read_at(0, 2)


def test_google_is_imported_only_for_gs_urls(tmp_path: object) -> None:
    """It takes half a second that a local command need not pay."""
    script = (
        "import sys; from runtime.storage import open_storage; "
        f"open_storage({str(tmp_path)!r}); sys.exit('google.cloud.storage' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_objects_that_stand_for_folders_are_no_files(gcs: GcsServer, bucket: str) -> None:
    """As consoles make them: 0 bytes under a name that ends in a slash, also the root's own."""
    for name in ("p/", "p/8x8x8/", "p/8x8x8/sub/"):
        gcs.state.put(bucket, name, b"", {}, {})
    gcs.state.put(bucket, "p/odd/", b"something", {}, {})
    storage = open_storage(f"gs://{bucket}/p")
    storage.write("8x8x8/0.shard", b"x")
    storage.write("empty", b"")
    assert [info.path for info in storage.list()] == ["8x8x8/0.shard", "empty", "odd/"]
    assert [info.path for info in storage.list("8x8x8/")] == ["8x8x8/0.shard"]


def test_a_long_listing_is_made_of_parts(
    gcs: GcsServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same objects in the same order, also those that no bound was made for."""
    storage = open_storage(f"gs://{bucket}/p")
    for number in range(45):
        storage.write(f"r/s0/{number:02x}.json", b"{}")
    storage.write("r/zz", b"")
    storage.write("s", b"")
    monkeypatch.setattr("tests.support.gcs_server.PAGE", 10)
    bounds = [f"r/s0/{number:02x}.json" for number in range(8, 45, 8)]
    before = gcs.count("GET")
    found = list(storage.list_parts("r/", bounds))
    assert gcs.count("GET") - before == 1 + len([b for b in bounds if b > "r/s0/09.json"]) + 1
    assert found == list(storage.list("r/"))
    assert len(found) == 46


@pytest.mark.parametrize("deletes", [True, False])
def test_composed_parts_are_gone(
    gcs: GcsServer, storage: Storage, monkeypatch: pytest.MonkeyPatch, deletes: bool
) -> None:
    """Also where the service passes over the request to delete them."""
    answer = gcs.service.answer

    def without_deleting(request: Request) -> Answer:
        if not deletes and request.path.endswith("/compose"):
            document = json.loads(request.body)
            assert document.pop("deleteSourceObjects")
            request = replace(request, body=json.dumps(document).encode())
        return answer(request)

    monkeypatch.setattr(gcs.service, "answer", without_deleting)
    for name in ("s", "t"):
        storage.write_shard(name, shard(), 4, lambda: None)
        assert storage.read(name)[:5] == b"HEADx"
    assert gcs.names(bucket_of(storage)) == ["p/a", "p/s", "p/t"]
