"""What every storage promises, on the local disk and on GCS.

A backend supplies a new storage and a way to look behind its back; the tests are the same.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from runtime.errors import ObjectNotFound, UnreachableError, UsageError
from runtime.storage import Pieces, Storage, absolute, join, open_storage, source_stamp
from runtime.storage.base import temporary_name
from runtime.storage.checksum import combine, crc32c, encode
from runtime.storage.gcs_objects import GcsObjects
from tests.support.gcs_server import GcsServer
from tests.support.waiting import wait_for

MIB = 1 << 20


@dataclass(frozen=True)
class Backend:
    """A storage and what is really there, temporary objects too."""

    storage: Storage
    raw_names: Callable[[], list[str]]
    keeps_metadata: bool

    def reopened(self) -> Storage:
        """The same storage as another process would open it."""
        return open_storage(self.storage.url)


def local_backend(root: Path) -> Backend:
    """Files below a directory that is not there yet."""
    storage = open_storage(str(root / "made" / "later"))

    def raw_names() -> list[str]:
        found = (root / "made" / "later").rglob("*")
        return sorted(str(f.relative_to(root / "made" / "later")) for f in found if f.is_file())

    return Backend(storage, raw_names, keeps_metadata=False)


def gcs_backend(server: GcsServer) -> Backend:
    """A prefix in a new bucket."""
    bucket = f"bucket-{uuid4().hex[:12]}"
    server.make_bucket(bucket)
    storage = open_storage(f"gs://{bucket}/a/prefix")

    def raw_names() -> list[str]:
        return [name.removeprefix("a/prefix/") for name in server.names(bucket)]

    return Backend(storage, raw_names, keeps_metadata=True)


@pytest.fixture(params=["local", "gcs"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """Each storage in turn."""
    if request.param == "local":
        return local_backend(tmp_path)
    return gcs_backend(request.getfixturevalue("gcs"))


@pytest.fixture
def storage(backend: Backend) -> Storage:
    """An empty storage."""
    return backend.storage


def shard(*body: bytes, head: bytes = b"HEAD") -> Pieces:
    """A shard's pieces, as the writer of shards yields them."""
    yield from body
    return head


def agree() -> None:
    """A worker whose lease holds."""


def paths(storage: Storage, prefix: str = "") -> list[str]:
    """The paths of a listing."""
    return [info.path for info in storage.list(prefix)]


class TestStorage:
    """The contract."""

    def test_what_is_written_is_read(self, backend: Backend) -> None:
        """Bytes come back, from another process's view too; writing again replaces."""
        backend.storage.write("info", b"{}")
        backend.storage.write("s0/receipts/0fe9.json", b"\x00\xff" * 1000)
        backend.storage.write("info", b'{"a": 1}')
        again = backend.reopened()
        assert again.read("info") == b'{"a": 1}'
        assert again.read("s0/receipts/0fe9.json") == b"\x00\xff" * 1000
        assert again.url == backend.storage.url

    def test_an_object_may_be_empty(self, storage: Storage) -> None:
        """A publish marker has no bytes."""
        storage.write("mark", b"")
        assert storage.read("mark") == b""
        assert storage.stat("mark").size == 0
        assert storage.read_at("mark", 0, 10) == b""

    def test_what_is_not_there_is_not_found(self, storage: Storage) -> None:
        """Read, stat and source raise ObjectNotFound with the URL; a folder is not an object."""
        storage.write("a/b", b"x")
        for missing in ("nothing", "a", "a/b/c", "a/c"):
            for ask in (storage.read, storage.stat, storage.source):
                with pytest.raises(ObjectNotFound, match=missing):
                    ask(missing)
            assert not storage.exists(missing)
            assert not storage.delete(missing)
        assert storage.exists("a/b")

    def test_an_empty_storage_lists_nothing(self, storage: Storage) -> None:
        """Also before anything was written below its root."""
        assert paths(storage) == []
        assert paths(storage, "a/b") == []
        assert storage.sweep_temporaries(older_than_s=0) == 0

    def test_a_listing_is_recursive_and_sorted_by_path(self, storage: Storage) -> None:
        """In the order of whole paths, where `a.b` comes before `a/b`; prefixes are of text."""
        names = ["a.b", "a/b", "a/b.c/d", "ab/c", "a0", "b", "ä/z", "a/B"]
        for name in names:
            storage.write(name, name.encode())
        assert paths(storage) == sorted(names)
        assert paths(storage, "a/") == ["a/B", "a/b", "a/b.c/d"]
        assert paths(storage, "a/b") == ["a/b", "a/b.c/d"]
        assert paths(storage, "a") == ["a.b", "a/B", "a/b", "a/b.c/d", "a0", "ab/c"]
        assert paths(storage, "a/b.c/d") == ["a/b.c/d"]
        assert paths(storage, "a/x/") == []
        assert storage.folders() == ["a", "ab", "ä"]
        overview = storage.overview()
        assert set(overview.files) == {"a.b", "a0", "b"}
        assert overview.folders == {"a", "ab", "ä"}

    @pytest.mark.parametrize("mib", [1, 17])
    def test_a_shard_that_was_thought_new(self, backend: Backend, mib: int) -> None:
        """It replaces what is there all the same, confirmed again, and leaves nothing else."""
        storage, asked = backend.storage, []
        for body in (b"a", b"b"):
            pieces = shard(*[body * MIB] * mib)
            storage.write_shard("s", pieces, 4, lambda: asked.append(1), is_new=True)
            assert storage.read("s")[-5:] == body * 5
        assert backend.raw_names() == ["s"]
        assert len(asked) == (3 if backend.keeps_metadata else 2)

    def test_a_listing_has_bounds(self, storage: Storage) -> None:
        """From one path to another, both included; either bound may be missing."""
        for name in ["r/0.json", "r/1.json", "r/10.json", "r/2.json", "s/1.json"]:
            storage.write(name, b"x")
        between = storage.list("r/", first="r/1.json", last="r/10.json")
        assert [info.path for info in between] == ["r/1.json", "r/10.json"]
        assert [info.path for info in storage.list(first="r/2.json")] == ["r/2.json", "s/1.json"]
        assert [info.path for info in storage.list("r/", last="r/0.json")] == ["r/0.json"]
        assert list(storage.list("r/", first="r/3", last="r/4")) == []

    def test_an_overview_has_stamps_and_no_temporary_objects(self, backend: Backend) -> None:
        """Entries are those of a listing, so that a rewritten object is seen; none at first."""
        overview = backend.storage.overview()
        assert (dict(overview.files), overview.folders) == ({}, frozenset())
        backend.storage.write("r.json", b"12345", {"redo": "1"})
        first = backend.storage.overview().files["r.json"]
        assert first == next(backend.storage.list())
        backend.storage.write("r.json", b"12346")
        assert source_stamp(backend.storage.overview().files["r.json"]) != source_stamp(first)

    def test_a_listing_holds_size_time_and_metadata(self, backend: Backend) -> None:
        """What status counts is in the listing, or the listing says that it is not (None)."""
        before = datetime.now(UTC) - timedelta(seconds=2)
        backend.storage.write("r.json", b"12345", {"redo": "1", "crc": "ä"})
        backend.storage.create("s.json", b"1", {"redo": "2"})
        first, second = backend.storage.list()
        assert first == backend.storage.stat("r.json")
        assert (first.path, first.size) == ("r.json", 5)
        assert before < first.updated < before + timedelta(seconds=60)
        if backend.keeps_metadata:
            assert first.metadata == {"redo": "1", "crc": "ä"}
            assert second.metadata == {"redo": "2"}
            assert first.crc32c == encode(crc32c(b"12345"))
        else:
            assert first.metadata is None
            assert first.crc32c is None

    def test_ranges_give_the_bytes_asked_for(self, storage: Storage) -> None:
        """Anywhere in the object, short only at its end; each range counts as a request."""
        data = bytes(range(256)) * 10
        storage.write("d", data)
        source = storage.source("d")
        assert source.size == 2560
        assert source.name == join(storage.url, "d")
        for offset, length in [(0, 1), (5, 100), (2559, 1), (2500, 100), (0, 5000)]:
            assert bytes(source.read_at(offset, length)) == data[offset : offset + length]
        assert source.requests == 5
        assert source.read_at(2560, 10) == b""
        assert source.read_at(9999, 10) == b""
        source.close()
        assert storage.read_at("d", 3, 4) == data[3:7]

    def test_a_stamp_changes_with_the_object(self, storage: Storage) -> None:
        """Listing, stat and an opened source agree; a source keeps the stamp of what it opened."""
        storage.write("d", b"old")
        source = storage.source("d")
        before = source.stamp
        (listed,) = storage.list()
        assert source_stamp(listed) == source_stamp(storage.stat("d")) == before
        storage.write("d", b"newer")
        assert source.stamp == before
        source.close()
        replaced = storage.source("d")
        assert before != replaced.stamp == source_stamp(storage.stat("d"))
        replaced.close()

    def test_a_source_never_mixes_two_objects(self, storage: Storage) -> None:
        """When the object is replaced meanwhile: the old bytes or an error."""
        storage.write("d", b"old" * 100)
        source = storage.source("d")
        assert source.read_at(0, 3) == b"old"
        storage.write("d", b"new" * 100)
        try:
            assert source.read_at(3, 3) == b"old"
        except ObjectNotFound:
            pass
        finally:
            source.close()
        assert storage.read_at("d", 3, 3) == b"new"

    def test_create_makes_an_object_once(self, backend: Backend) -> None:
        """The second gets False, and the first's bytes stay, equal or not."""
        assert backend.storage.create("receipt", b"first")
        assert not backend.storage.create("receipt", b"second")
        assert not backend.storage.create("receipt", b"first")
        assert backend.storage.read("receipt") == b"first"
        assert backend.storage.delete("receipt")
        assert backend.storage.create("receipt", b"third")
        assert backend.raw_names() == ["receipt"]

    def test_one_of_many_creators_wins(self, backend: Backend) -> None:
        """At once from several threads: one True, and its bytes are there."""
        start = threading.Barrier(6)

        def create(number: int) -> bool:
            storage = backend.reopened()
            start.wait()
            return storage.create("deep/er/one", b"%d" % number)

        with ThreadPoolExecutor(6) as pool:
            won = list(pool.map(create, range(6)))
        assert sum(won) == 1
        assert backend.storage.read("deep/er/one") == b"%d" % won.index(True)
        assert backend.raw_names() == ["deep/er/one"]

    def test_delete_removes_once(self, storage: Storage) -> None:
        """True for an object that was there, False for none."""
        storage.write("a/b", b"x")
        assert storage.delete("a/b")
        assert not storage.delete("a/b")
        assert paths(storage) == []

    @pytest.mark.parametrize(
        "path", ["", "/etc/passwd", "../up", "a/../../up", "a//b", "a/", "./a", "a/./b", "a\0b"]
    )
    def test_a_path_stays_below_the_root(self, storage: Storage, path: str) -> None:
        """Whatever a message says, nothing outside the root is touched."""
        for ask in (storage.read, storage.stat, storage.source, storage.delete):
            with pytest.raises(UsageError, match="not a path below"):
                ask(path)
        with pytest.raises(UsageError):
            storage.write(path, b"")
        with pytest.raises(UsageError):
            storage.create(path, b"")
        with pytest.raises(UsageError):
            storage.write_shard(path, shard(b"x"), 4, agree)

    def test_checks_pass_where_work_is_possible(self, backend: Backend) -> None:
        """Writing leaves nothing behind, and a root that was written to is readable."""
        backend.storage.check_writable()
        assert backend.raw_names() == []
        backend.storage.write("a", b"")
        backend.storage.check_readable()


class TestWriteShard:
    """The part of the contract that shard files rely on."""

    @pytest.mark.parametrize(
        "body",
        [
            (),
            (b"a",),
            (b"a" * 100, b"", b"b" * 100),
            (b"x" * (9 * MIB), b"y" * (8 * MIB), b"z" * 17),
        ],
        ids=["empty", "one", "some", "large"],
    )
    def test_the_head_stands_before_the_body(
        self, storage: Storage, body: tuple[bytes, ...]
    ) -> None:
        """Although it is made last; size and checksum are of the whole."""
        info = storage.write_shard("16x16x16/0fe9.shard", shard(*body), 4, agree)
        whole = b"HEAD" + b"".join(body)
        assert storage.read("16x16x16/0fe9.shard") == whole
        assert (info.path, info.size) == ("16x16x16/0fe9.shard", len(whole))
        assert info.crc32c == encode(crc32c(whole))
        assert paths(storage) == ["16x16x16/0fe9.shard"]

    def test_nothing_is_seen_before_it_is_confirmed(self, backend: Backend) -> None:
        """At the call of `confirm` all bytes are stored; readers still get the old file."""
        storage, seen = backend.storage, []
        storage.write_shard("s", shard(b"old"), 4, agree)

        def confirm() -> None:
            seen.append((storage.read("s"), paths(storage)))

        storage.write_shard("s", shard(b"new"), 4, confirm)
        assert seen == [(b"HEADold", ["s"])]
        assert storage.read("s") == b"HEADnew"
        assert backend.raw_names() == ["s"]

    def test_a_refusal_publishes_nothing_and_leaves_no_trace(self, backend: Backend) -> None:
        """The lease may be lost at the last moment: the file before stays."""
        storage = backend.storage
        storage.write_shard("s", shard(b"old"), 4, agree)

        def refuse() -> None:
            raise LookupError("lease lost")

        for path in ("s", "t"):
            with pytest.raises(LookupError, match="lease lost"):
                storage.write_shard(path, shard(b"x" * MIB), 4, refuse)
        assert backend.raw_names() == ["s"]
        assert storage.read("s") == b"HEADold"

    @pytest.mark.parametrize(
        "error", [ValueError("bad"), OSError(5, "theirs"), KeyboardInterrupt()]
    )
    def test_an_error_in_the_pieces_is_passed_on(
        self, backend: Backend, error: BaseException
    ) -> None:
        """As it is, even if it looks like storage's own; nothing is published."""

        def broken() -> Pieces:
            yield b"x" * (9 * MIB)
            raise error

        with pytest.raises(type(error)) as caught:
            backend.storage.write_shard("s", broken(), 4, agree)
        assert caught.value is error
        assert backend.raw_names() == []

    def test_a_head_of_another_length_is_a_mistake(self, backend: Backend) -> None:
        """The body's place is fixed by it."""
        with pytest.raises(ValueError, match="expected a head of 8 bytes, found 4"):
            backend.storage.write_shard("s", shard(b"x"), 8, agree)
        assert backend.raw_names() == []

    def test_metadata_is_kept_with_the_file(self, backend: Backend) -> None:
        """Where the storage keeps any."""
        info = backend.storage.write_shard("s", shard(b"x"), 4, agree, {"run": "r1"})
        kept = {"run": "r1"} if backend.keeps_metadata else None
        assert info.metadata == kept
        assert backend.storage.stat("s").metadata == kept

    def test_pieces_are_taken_one_at_a_time(self, storage: Storage) -> None:
        """Memory stays flat: no more than some 16 MiB wait however large the file is."""
        held = 0
        most = 0
        piece_bytes = MIB

        class Piece(bytes):
            __slots__ = ()

            def __del__(self) -> None:
                nonlocal held
                held -= 1

        def pieces() -> Pieces:
            nonlocal held, most
            for _ in range(64):
                held += 1
                most = max(most, held)
                yield Piece(piece_bytes)
            return b"HEAD"

        storage.write_shard("s", pieces(), 4, agree)
        assert most <= 16

    def test_the_last_of_two_writers_stays(self, backend: Backend) -> None:
        """Both write whole files; a reader sees one of them at any time."""
        storage, seen = backend.storage, set()
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                if storage.exists("s"):
                    seen.add(storage.read("s"))

        reader = threading.Thread(target=read)
        reader.start()
        with ThreadPoolExecutor(2) as pool:
            for letter in (b"a", b"b") * 3:
                pool.submit(backend.reopened().write_shard, "s", shard(letter * MIB), 4, agree)
        wait_for(lambda: seen, "a read")
        done.set()
        reader.join()
        assert seen <= {b"HEAD" + b"a" * MIB, b"HEAD" + b"b" * MIB}
        assert seen
        assert backend.raw_names() == ["s"]


class TestLateWriters:
    """A writer replaces only what was there when it was confirmed last."""

    def test_a_writer_that_comes_late_is_confirmed_again(self, backend: Backend) -> None:
        """Another file that appeared after the confirmation stays if the second one is refused."""
        storage = backend.storage
        asked: list[int] = []

        def confirm() -> None:
            asked.append(len(asked))
            if len(asked) > 1:
                raise LookupError("cancelled meanwhile")
            backend.reopened().write_shard("s", shard(b"theirs"), 4, agree)

        for before in ("none", "old"):
            if before == "old":
                storage.write_shard("s", shard(b"old"), 4, agree)
            asked.clear()
            with pytest.raises(LookupError):
                storage.write_shard("s", shard(b"ours"), 4, confirm)
            assert storage.read("s") == b"HEADtheirs"
            assert backend.raw_names() == ["s"]

    def test_a_writer_that_is_confirmed_again_wins(self, backend: Backend) -> None:
        """What a cancelled run published last is replaced by the run that is not cancelled."""
        storage = backend.storage
        asked: list[int] = []

        def confirm() -> None:
            asked.append(len(asked))
            if len(asked) == 1:
                backend.reopened().write_shard("s", shard(b"theirs"), 4, agree)

        info = storage.write_shard("s", shard(b"ours"), 4, confirm)
        assert (storage.read("s"), info.size) == (b"HEADours", 8)
        assert len(asked) == 2

    def test_writers_without_end_are_trouble_of_the_storage(self, backend: Backend) -> None:
        """Two programs that write one volume must not keep each other going for ever."""
        storage, number = backend.storage, iter(range(100))

        def confirm() -> None:
            other = shard(f"theirs {next(number)}".encode())
            backend.reopened().write_shard("s", other, 4, agree)

        with pytest.raises(UnreachableError, match="replaced by another writer"):
            storage.write_shard("s", shard(b"ours"), 4, confirm)
        with pytest.raises(UnreachableError, match="replaced by another writer"):
            storage.delete_shard("s", confirm)
        assert backend.raw_names() == ["s"]

    def test_a_shard_of_zeros_removes_only_what_was_there(self, backend: Backend) -> None:
        """The file of another run that appeared after the confirmation stays."""
        storage = backend.storage
        asked: list[int] = []

        def confirm() -> None:
            asked.append(len(asked))
            if len(asked) > 1:
                raise LookupError("cancelled meanwhile")
            backend.reopened().write_shard("s", shard(b"theirs"), 4, agree)

        assert not storage.delete_shard("s", agree)
        storage.write_shard("s", shard(b"old"), 4, agree)
        with pytest.raises(LookupError):
            storage.delete_shard("s", confirm)
        assert storage.read("s") == b"HEADtheirs"
        assert storage.delete_shard("s", agree)
        assert backend.raw_names() == []


class TestTemporaries:
    """What killed writers leave."""

    def test_they_are_hidden_and_swept_when_old(self, backend: Backend) -> None:
        """A listing does not show them; a sweep takes the old ones of these owners."""
        storage = backend.storage
        storage.write("a/b", b"x")
        names = [temporary_name("x", "r1"), f"a/{temporary_name('1.shard', 'r2')}.body"]
        leave_behind(storage, [*names, temporary_name("y", "r3")])
        assert paths(storage) == ["a/b"]
        assert storage.folders() == ["a"]
        assert storage.sweep_temporaries({"r1", "r2"}, older_than_s=3600) == 0
        assert len(backend.raw_names()) == 4
        assert storage.sweep_temporaries({"r1", "r2"}, older_than_s=-60) == 2
        assert len(backend.raw_names()) == 2
        assert storage.sweep_temporaries({"r3"}, older_than_s=-60) == 1
        assert backend.raw_names() == ["a/b"]

    def test_those_of_other_programs_stay(self, backend: Backend) -> None:
        """Whatever their age: only our own names, with an owner that was named, are swept."""
        theirs = [
            ".tmp-4.shard-0123456789abcdef0123456789abcdef.body",
            ".tmp-4.shard-r1-0123456789abcdef0123456789abcdef",
            ".tmp-4.shard~r1~0123456789abcdef.body",
            ".tmp-4.shard~r1~0123456789abcdef0123456789abcdef.part",
            ".tmp-notes~r1",
            "a/.tmp-r1",
            f"a/{temporary_name('4.shard', 'another-run')}.head",
            f"kept{temporary_name('4.shard', 'r1')}",
        ]
        leave_behind(backend.storage, theirs)
        assert backend.storage.sweep_temporaries({"r1"}, older_than_s=-60) == 0
        assert backend.raw_names() == sorted(theirs)

    def test_nobody_writes_under_such_a_name(self, storage: Storage) -> None:
        """It would be hidden and swept away."""
        for path in (".tmp-a", "a/.tmp-b", ".tmp-a/b"):
            with pytest.raises(UsageError, match="temporary"):
                storage.write(path, b"")


def leave_behind(storage: Storage, names: Sequence[str]) -> None:
    """Temporary objects, as a killed writer leaves them."""
    for name in names:
        if storage.url.startswith("gs://"):
            bucket, _, prefix = storage.url.removeprefix("gs://").partition("/")
            GcsObjects(f"gs://{bucket}").blob(f"{prefix}/{name}").upload_from_string(b"half")
        else:
            path = Path(storage.url, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"half")


@pytest.mark.parametrize("second_bytes", [0, 1, 7, MIB - 1, MIB, 3 * MIB + 5])
def test_checksums_combine(second_bytes: int) -> None:
    """Of two pieces comes that of the whole, whatever their lengths."""
    first, second = b"head" * 99, b"\x9c" * second_bytes
    assert combine(crc32c(first), crc32c(second), second_bytes) == crc32c(first + second)
    assert encode(crc32c(b"123456789")) == "4waSgw=="  # the check value of the CRC-32C catalogue


def test_schemes_of_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Local paths become absolute; an unknown scheme is refused with the known ones."""
    monkeypatch.chdir(tmp_path)
    assert absolute("out/") == str(tmp_path / "out")
    assert absolute("gs://b/p/") == "gs://b/p"
    assert absolute("file:///x/y") == "/x/y"
    assert open_storage("out").url == str(tmp_path / "out")
    assert join("gs://b/p/", "q") == "gs://b/p/q"
    for bad in ("s3://b/x", "", "http://x/y", "file://host/x"):
        with pytest.raises(UsageError):
            open_storage(bad)


@pytest.mark.parametrize("bad", ["gs://", "gs://B/x", "gs://b//x", "gs://bucket/../x", "gs://a"])
def test_a_bad_bucket_url_is_refused(gcs: GcsServer, bad: str) -> None:
    """Before any request."""
    before = len(gcs.seen)
    with pytest.raises(UsageError) as refused:
        open_storage(bad)
    assert len(gcs.seen) == before
    assert ".." in bad or "has 3 to 222 lower-case letters" in str(refused.value.hint)


def test_a_stamp_on_gcs_holds_the_checksum(gcs: GcsServer) -> None:
    """Equal sizes within the clock's precision are told apart, and a copy is the same."""
    storage = gcs_backend(gcs).storage
    stamps = []
    for data in (b"old", b"new", b"old"):
        storage.write("d", data)
        stamps.append(storage.source("d").stamp)
    assert stamps[0] == stamps[2] != stamps[1]


def test_a_whole_object_is_one_request(gcs: GcsServer) -> None:
    """On GCS each request is billed: reading needs one, opening a source one more for its size."""
    backend = gcs_backend(gcs)
    backend.storage.write("d", b"x" * (20 * MIB))
    before = len(gcs.seen)
    assert len(backend.storage.read("d")) == 20 * MIB
    assert len(gcs.seen) == before + 1
    source = backend.storage.source("d")
    source.read_at(0, 20 * MIB)
    assert len(gcs.seen) == before + 3
