"""Inputs of a downsampling that are read ahead: order, bounds, faults in threads, ends."""

import threading
from pathlib import Path

import numpy as np
import pytest

from consumer.executor import input_read_ahead
from consumer.executor.__main__ import kind_of
from consumer.executor.downsample import downsample_shard
from consumer.executor.input_read_ahead import InputReadAhead
from consumer.protocol.tasks import Outcome
from runtime.errors import ObjectNotFound
from runtime.storage import Storage, open_storage
from tests.support.gcs_server import GcsServer
from tests.support.network import Network
from tests.support.votes_reference import made_volume
from tests.unit.consumer.executor.test_downsample import SHAPE, StoredVolume

PART = 4096  # whole pages
HELD = 5 * PART


class Counted:
    """A source that counts what is requested of it."""

    def __init__(self, number: int, size: int) -> None:
        self.data = bytes([number]) * size
        self.size, self.name, self.stamp, self.requests = size, f"input {number}", "s", 0
        self.requested = 0

    def read_at(self, offset: int, length: int) -> bytes:
        """A range."""
        self.requests += 1
        data = self.data[offset : offset + length]
        self.requested += len(data)
        return data

    def changed(self) -> bool:
        """Never."""
        return False

    def verify(self, *, doubted: bool = False) -> None:
        """Nothing to prove."""

    def close(self) -> None:
        """Nothing to release."""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs of some kilobytes have several parts, and not all of them fit."""
    monkeypatch.setattr(input_read_ahead, "READ_AHEAD_PART_BYTES", PART)
    monkeypatch.setattr(input_read_ahead, "READ_AHEAD_BYTES", HELD)


def ended() -> bool:
    """Whether all threads that fetch or open end by themselves."""
    mine = [t for t in threading.enumerate() if t.name.startswith(("fetch", "open"))]
    for thread in mine:
        thread.join(20)
    return not any(thread.is_alive() for thread in mine)


def settled(ahead: InputReadAhead) -> None:
    """Wait until nothing is on its way."""
    while ahead._running or not all(opened.done() for opened in ahead._opened.values()):
        threading.Event().wait(0.01)


def test_no_more_is_held_than_may_be_and_each_byte_is_requested_once() -> None:
    """However many inputs there are, and however late they are read."""
    sources = [Counted(number, 7 * PART + 100) for number in range(4)]
    ahead = InputReadAhead(sources.__getitem__, range(4))
    settled(ahead)
    assert sum(source.requested for source in sources) <= HELD
    assert sources[0].requested > 0
    for number, source in enumerate(sources):
        file = ahead.take(number)
        tail = source.size - 200
        assert bytes(file.read_at(0, 64)) == source.data[:64]  # as a shard file is read
        assert bytes(file.read_at(tail, 200)) == source.data[tail:]
        for at in range(64, tail, 3000):
            end = min(at + 3000, tail)
            assert bytes(file.read_at(at, end - at)) == source.data[at:end]
            settled(ahead)
            assert ahead._held <= HELD + PART
        assert source.requested == source.size
        file.drop()
    assert ahead._held == 0
    ahead.close()
    assert ended()


def test_what_is_read_again_is_requested_as_it_is_read() -> None:
    """Not by parts: such reads are small and anywhere."""
    source = Counted(1, 3 * PART)
    ahead = InputReadAhead(lambda _: source, [0])
    file = ahead.take(0)
    assert len(file.read_at(0, 3 * PART)) == 3 * PART
    before = source.requested
    assert bytes(file.read_at(5000, 10)) == source.data[5000:5010]
    assert source.requested == before + 10
    assert len(file.read_at(3 * PART - 5, 100)) == 5
    ahead.close()


def test_an_input_that_is_not_there_is_missed_where_it_is_opened() -> None:
    """Those before it are read."""

    def open_input(number: int) -> Counted:
        if number == 1:
            raise ObjectNotFound("not found: 1")
        return Counted(number, PART)

    ahead = InputReadAhead(open_input, range(3))
    assert len(ahead.take(0).read_at(0, PART)) == PART
    with pytest.raises(ObjectNotFound):
        ahead.take(1)
    assert len(ahead.take(2).read_at(0, PART)) == PART
    ahead.close()


@pytest.fixture
def impatient(gcs: GcsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Storage trouble is not waited out."""
    del gcs  # which sets a longer time
    monkeypatch.setenv("STORAGE_RETRY_S", "0")


@pytest.fixture
def stored(tmp_path: Path) -> StoredVolume:
    """Something everywhere."""
    return StoredVolume(tmp_path / "volume", made_volume(1, SHAPE) | np.uint64(1))


@pytest.fixture
def dest(stored: StoredVolume, bucket: str) -> Storage:
    """The volume in a bucket."""
    dest = open_storage(f"gs://{bucket}/volume")
    for path in stored.dest.rglob("*.shard"):
        dest.write(path.relative_to(stored.dest).as_posix(), path.read_bytes())
    return dest


def run(stored: StoredVolume, dest: Storage, threads: int = 1) -> Outcome:
    """Make the shard in the bucket."""
    task = stored.task(dest=dest.url, threads=threads)
    return downsample_shard(task, dest, lambda: None, lambda _: None)


def test_distance_changes_no_byte(
    stored: StoredVolume, dest: Storage, gcs: GcsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever comes in which order, and however many threads vote."""
    local = stored.run(stored.task())
    monkeypatch.setattr(gcs, "network", Network(0.01, 20e6, 20e6))
    for threads in (1, 2):
        outcome = run(stored, dest, threads=threads)
        assert outcome.crc32c == local.crc32c
        assert outcome.inputs == local.inputs
    assert ended()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("how", "kind"), [(503, "retryable"), (404, "changed"), (403, "usage"), ("flip", "retryable")]
)
def test_a_fault_of_a_later_part_is_that_of_the_shard(
    stored: StoredVolume,
    dest: Storage,
    gcs: GcsServer,
    how: int | str,
    kind: str,
) -> None:
    """Of the same kind as in the foreground; nothing appears, no thread stays."""
    gcs.fail("alt=media", how=how, times=999, after=9)
    with pytest.raises(Exception, match=r"\.shard") as caught:
        run(stored, dest)
    assert kind_of(caught.value) == kind
    assert ended()
    gcs.heal()
    assert run(stored, dest).crc32c == stored.run(stored.task()).crc32c
