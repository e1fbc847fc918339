"""Parts of a shard on their way while more is made: faults in either thread, and what is held."""

import threading

import pytest

from runtime.errors import UnreachableError
from runtime.storage import Pieces, Storage, open_storage
from runtime.storage.background_upload import BackgroundUpload, PartReader, UploadStopped
from tests.support.gcs_server import GcsServer

MIB = 1 << 20


@pytest.fixture
def storage(bucket: str) -> Storage:
    """An empty prefix."""
    return open_storage(f"gs://{bucket}/p")


def pieces(count: int, error: BaseException | None = None) -> Pieces:
    """Pieces that differ; the last one raises."""
    for number in range(count):
        yield bytes([number]) * MIB
    if error is not None:
        raise error
    return b"HEAD"


def whole(count: int) -> bytes:
    """What these pieces are together."""
    return b"HEAD" + b"".join(bytes([number]) * MIB for number in range(count))


def uploading() -> list[threading.Thread]:
    """Threads that upload."""
    return [thread for thread in threading.enumerate() if thread.name == "upload"]


def names(gcs: GcsServer, storage: Storage) -> list[str]:
    """Everything in the bucket, temporary objects too."""
    return gcs.names(storage.url.split("/")[2])


@pytest.mark.parametrize("how", [503, "reset", "lost", 429])
def test_a_part_that_is_refused_twice_goes_out_again(
    gcs: GcsServer, storage: Storage, how: int | str
) -> None:
    """The bytes are those that were made, in their order."""
    gcs.fail("upload_id=", times=2, how=how, method="PUT", after=1)
    storage.write_shard("s", pieces(40), 4, lambda: None)
    assert storage.read("s") == whole(40)
    assert names(gcs, storage) == ["p/s"]
    assert uploading() == []


def test_a_part_that_is_refused_for_good_ends_the_making(
    gcs: GcsServer, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is that of the storage, and comes while pieces are made, not at their end."""
    monkeypatch.setenv("STORAGE_RETRY_S", "0")
    gcs.fail("upload_id=", times=99, how=503, method="PUT")
    made = 0

    def counted() -> Pieces:
        nonlocal made
        for made in range(200):  # noqa: B007 - read below
            yield b"x" * MIB
        return b"HEAD"

    with pytest.raises(UnreachableError, match=r"storage cannot be reached.*503"):
        storage.write_shard("s", counted(), 4, lambda: None)
    assert made < 60
    assert uploading() == []
    assert names(gcs, storage) == []


@pytest.mark.parametrize("error", [LookupError("the run was cancelled"), SystemExit(7)])
@pytest.mark.parametrize("count", [3, 14, 30])
def test_an_error_of_the_pieces_is_raised_as_it_is(
    gcs: GcsServer, storage: Storage, error: BaseException, count: int
) -> None:
    """Before the first part, and while parts are on their way: nothing stays, no thread either."""
    with pytest.raises(type(error)) as caught:
        storage.write_shard("s", pieces(count, error), 4, lambda: None)
    assert caught.value is error
    assert uploading() == []
    assert names(gcs, storage) == []


def test_an_error_before_publishing_leaves_nothing(gcs: GcsServer, storage: Storage) -> None:
    """A lease that was lost meanwhile: all parts are there, and go."""

    def refuse() -> None:
        raise LookupError("lost")

    for count in (3, 30):
        with pytest.raises(LookupError):
            storage.write_shard("s", pieces(count), 4, refuse)
        assert names(gcs, storage) == []


def test_who_makes_pieces_waits_for_room() -> None:
    """No more waits than one part, however slow the network is."""
    reader = PartReader(2)
    taken: list[bytes] = []

    def make() -> None:
        for number in range(6):
            reader.put(bytes([number]))
            taken.append(bytes([number]))
        reader.complete()

    thread = threading.Thread(target=make)
    thread.start()
    assert reader.read(2) == bytes([0, 1])
    assert len(taken) <= 5  # two read, two waiting, one on its way in
    assert reader.read(2) == bytes([2, 3])
    assert reader.read(2) == bytes([4, 5])
    assert reader.read(2) == b""
    assert reader.tell() == 6
    thread.join()


def test_pieces_are_cut_where_parts_end() -> None:
    """Parts have the size that the storage wants, whatever the pieces have."""
    reader = PartReader(100)
    for piece in (b"abc", b"defgh", b"i"):
        assert reader.put(piece)
    reader.complete()
    assert [reader.read(4), reader.read(4), reader.read(4)] == [b"abcd", b"efgh", b"i"]


def test_nobody_waits_for_a_reader_that_is_closed() -> None:
    """Neither who makes pieces nor who uploads them."""
    reader = PartReader(1)
    reader.put(b"a")
    threading.Timer(0.05, reader.close).start()
    assert not reader.put(b"b")
    with pytest.raises(UploadStopped):
        reader.read(1)


def test_an_upload_that_fails_says_so_where_pieces_are_handed_over() -> None:
    """At the next piece, or at the end."""

    def fail(reader: PartReader) -> None:
        reader.read(1)
        raise UnreachableError("gone")

    upload = BackgroundUpload(fail, 1)

    def hand_over() -> None:
        with upload.running():
            for _ in range(10):
                upload.put(b"xx")

    with pytest.raises(UnreachableError, match="gone"):
        hand_over()
    assert uploading() == []
