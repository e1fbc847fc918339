"""Source files on their way while work goes on: what begins when, faults in threads, ends."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consumer.executor import fetches as fetches_module
from consumer.executor import source_files, whole_fetch, window_reader
from consumer.executor.__main__ import kind_of
from consumer.executor.convert import convert_shard
from consumer.executor.fetches import Fetches
from consumer.executor.whole_fetch import WholeFetch
from memmodel.estimate import FETCHES_AT_ONCE
from runtime.errors import UnreachableError
from runtime.storage import Storage, open_storage
from tests.support.gcs_server import GcsServer
from tests.support.network import Network
from tests.support.specs import made_info
from tests.support.voxel_exports import Conversion, blobs

SIZE = (260, 200, 190)
PART = 8192  # whole pages


class HeldBack:
    """A source whose parts come when they may."""

    def __init__(self, size: int) -> None:
        self.data = bytes(range(256)) * (size // 256)
        self.size, self.name, self.stamp, self.requests = size, "held back", "s", 0
        self.may_come: dict[int, threading.Event] = {}
        self.failing: set[int] = set()

    def read_at(self, offset: int, length: int) -> bytes:
        """A part, once its event is set."""
        self.requests += 1
        self.may_come.setdefault(offset, threading.Event()).wait(20)
        if offset in self.failing:
            raise UnreachableError(f"no part at {offset}")
        return self.data[offset : offset + length]

    def let_come(self, *offsets: int) -> None:
        """Let these parts come."""
        for offset in offsets:
            self.may_come.setdefault(offset, threading.Event()).set()

    def changed(self) -> bool:
        """Never."""
        return False

    def verify(self, *, doubted: bool = False) -> None:
        """Nothing to prove."""

    def close(self) -> None:
        """Nothing to release."""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of some hundred kilobytes have many."""
    monkeypatch.setattr(whole_fetch, "FETCH_PART_BYTES", PART)
    monkeypatch.setattr(whole_fetch, "GRAIN_BYTES", PART)


def fetching() -> list[threading.Thread]:
    """Threads that fetch."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("fetch")]


def test_what_has_come_is_read_while_the_rest_comes() -> None:
    """Work does not wait for the last part."""
    source = HeldBack(10 * PART)
    source.let_come(0, PART)
    fetches = Fetches()
    fetch = WholeFetch(source, fetches)
    assert bytes(fetch.read_at(100, PART)) == source.data[100 : PART + 100]
    assert source.requests <= 2 + FETCHES_AT_ONCE
    source.let_come(*range(0, source.size, PART))
    assert bytes(fetch.read_at(0, source.size + 1)) == source.data
    assert source.requests == 10
    fetches.close()


def test_a_part_that_fails_is_an_error_where_it_is_read() -> None:
    """Not before: others are of use."""
    source = HeldBack(6 * PART)
    source.failing.add(4 * PART)
    source.let_come(*range(0, source.size, PART))
    fetches = Fetches()
    fetch = WholeFetch(source, fetches)
    assert len(fetch.read_at(0, 4 * PART)) == 4 * PART
    with pytest.raises(UnreachableError, match="no part"):
        fetch.read_at(4 * PART - 1, 2)
    fetches.close()


def test_several_files_share_the_requests() -> None:
    """However many files feed a shard, no more parts are on their way, and held twice."""
    sources = [HeldBack(3 * PART) for _ in range(5)]
    fetches = Fetches()
    files = [WholeFetch(source, fetches) for source in sources]
    assert sum(source.requests for source in sources) <= FETCHES_AT_ONCE
    for source, file in zip(sources, files, strict=True):
        source.let_come(*range(0, source.size, PART))
        assert bytes(file.read_at(0, source.size)) == source.data
    fetches.close()


def test_the_begin_of_a_file_does_not_wait_for_the_files_before() -> None:
    """Its schema is read when it is opened."""
    large, small = HeldBack(20 * PART), HeldBack(2 * PART)
    fetches = Fetches()
    WholeFetch(large, fetches)
    file = WholeFetch(small, fetches)
    small.let_come(0)
    large.let_come(*range(0, FETCHES_AT_ONCE * PART, PART))
    assert bytes(file.read_at(0, 10)) == small.data[:10]
    fetches.close()
    large.let_come(*range(0, large.size, PART))
    small.let_come(PART)


def test_nothing_is_fetched_for_nobody() -> None:
    """After the end, whatever ended it, no further part is requested."""
    source = HeldBack(50 * PART)
    fetches = Fetches()
    WholeFetch(source, fetches)
    threading.Timer(0.1, source.let_come, range(0, source.size, PART)).start()
    fetches.close()
    for thread in fetching():
        thread.join(20)
    assert source.requests <= FETCHES_AT_ONCE


@pytest.fixture
def made(tmp_path: Path) -> Conversion:
    """A volume of several shards, each with an export file of its own."""
    return Conversion.of(tmp_path, blobs(SIZE, 1), made_info(SIZE, (), bits=((2, 2),)))


@pytest.fixture
def export(made: Conversion, bucket: str) -> Storage:
    """The export in a bucket."""
    source = open_storage(f"gs://{bucket}/export")
    for path in (made.root / "export").rglob("*.*"):
        source.write(path.relative_to(made.root / "export").as_posix(), path.read_bytes())
    return source


@pytest.fixture
def remote(made: Conversion, export: Storage, bucket: str) -> Callable[..., Any]:
    """Converts the first shard from a bucket to a bucket."""
    dest = f"gs://{bucket}/volume"

    def run(confirm: Callable[[], None] = lambda: None, **changes: Any) -> Any:  # noqa: ANN401
        task = made.task(0).model_copy(update={"source": export.url, "dest": dest, **changes})
        return convert_shard(task, open_storage(dest), export, confirm, lambda _: None)

    return run


@pytest.fixture(params=["whole", "windows"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are fetched whole, and files that are read window by window."""
    monkeypatch.setattr(source_files, "WHOLE_BYTES", 1 << 30 if request.param == "whole" else 0)
    monkeypatch.setattr(window_reader, "REMOTE_WINDOW_BYTES", 30_000)


@pytest.mark.usefixtures("way")
def test_distance_changes_no_byte(
    made: Conversion, remote: Callable[..., Any], gcs: GcsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever comes in which order."""
    local = made.run(0)
    monkeypatch.setattr(gcs, "network", Network(0.01, 20e6, 20e6))
    for threads in (1, 2):
        assert remote(threads=threads).crc32c == local.crc32c


@pytest.mark.parametrize("how", [503, "reset", "cut", "short"])
def test_a_fault_that_passes_changes_nothing(
    made: Conversion, remote: Callable[..., Any], gcs: GcsServer, how: int | str
) -> None:
    """A part in the middle is requested again."""
    gcs.fail(r"\.arrow.*alt=media", how=how, times=2, after=3)
    assert remote().crc32c == made.run(0).crc32c


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("how", "kind"), [(503, "retryable"), (404, "retryable"), (403, "usage")])
def test_a_fault_of_a_later_part_is_that_of_the_shard(
    remote: Callable[..., Any],
    gcs: GcsServer,
    monkeypatch: pytest.MonkeyPatch,
    how: int,
    kind: str,
) -> None:
    """Of the same kind as in the foreground: an object that is gone was replaced."""
    monkeypatch.setenv("STORAGE_RETRY_S", "0")
    before = len(gcs.seen)
    gcs.fail(r"\.arrow.*alt=media", how=how, times=999, after=3)
    with pytest.raises(Exception, match=r"\.arrow") as caught:
        remote()
    assert kind_of(caught.value) == kind
    assert [line for line in gcs.seen[before:] if line.startswith("POST")] == []
    assert ended()


def ended() -> bool:
    """Whether all threads that fetch end by themselves."""
    for thread in fetching():
        thread.join(20)
    return fetching() == []


def test_an_end_in_between_leaves_no_thread(remote: Callable[..., Any]) -> None:
    """A shard that may not appear: what fetched it ends with it."""

    def refuse() -> None:
        raise SystemExit(7)

    with pytest.raises(SystemExit):
        remote(refuse)
    assert ended()


def test_first_requests_of_files_go_side_by_side(
    remote: Callable[..., Any], gcs: GcsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Arrow file is opened while its indices are read: each waits for the others here."""
    together = threading.Barrier(3)
    answer = gcs.service.answer

    def answered(request: Any) -> Any:  # noqa: ANN401 - a Request, and its Answer
        first = "export" in request.path and ("csv" in request.path or "alt" not in request.query)
        if first and not together.broken and together.n_waiting < together.parties:
            together.wait(20)
        return answer(request)

    monkeypatch.setattr(gcs.service, "answer", answered)
    remote(sources=("s0/0_0_0.arrow",))
    assert not together.broken


def planned(source: HeldBack, *windows: tuple[int, int]) -> tuple[Fetches, WholeFetch]:
    """A source that may come, and windows of the parts from a first to a last."""
    source.let_come(*range(0, source.size, PART))
    fetches = Fetches()
    file = WholeFetch(source, fetches)
    file.plan([(np.array([a * PART]), np.array([b * PART])) for a, b in windows])
    fetches.plan(file.parts)
    return fetches, file


@pytest.fixture
def little_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """One part may be fetched ahead."""
    monkeypatch.setattr(fetches_module, "FIRST_SOURCE_BYTES", PART)
    monkeypatch.setattr(fetches_module, "AHEAD_SOURCE_BYTES", PART)


@pytest.mark.usefixtures("little_ahead")
def test_parts_come_before_their_first_window_and_go_after_their_last() -> None:
    """However large the file, as much is held as windows share, and what comes next."""
    source = HeldBack(40 * PART)
    windows = [(20, 24), (0, 4), (24, 28), (4, 8)]
    fetches, file = planned(source, *windows)
    most = 0
    for number, (first, end) in enumerate(windows):
        fetches.reach(number)
        read = file.read_at(first * PART, (end - first) * PART)
        assert bytes(read) == source.data[first * PART : end * PART]
        most = max(most, sum(part.size for part in file.parts if part.begun))
    assert most <= 9 * PART  # a window, those ahead, and what came before the plan
    assert source.requests <= 17  # each part once, and nothing that no window reads
    fetches.close()


@pytest.mark.usefixtures("little_ahead")
def test_what_is_read_again_after_its_last_window_is_requested_again() -> None:
    """Never are other bytes in its place."""
    source = HeldBack(8 * PART)
    fetches, file = planned(source, (0, 4), (4, 8))
    fetches.reach(1)
    assert bytes(file.read_at(PART, 10)) == source.data[PART : PART + 10]
    fetches.close()


def test_neighbours_that_are_needed_as_long_are_one_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that other windows need are cut off: they would be held with them."""
    monkeypatch.setattr(whole_fetch, "FETCH_PART_BYTES", 4 * PART)
    far = [(8 + 4 * n, 12 + 4 * n) for n in range(8)]
    source = HeldBack(40 * PART)
    for at in range(0, source.size, PART):
        source.let_come(at)
    fetches = Fetches()
    fetches.close()  # nothing is requested
    file = WholeFetch(source, fetches)
    windows = [(0, 6), *far, (6, 8)]
    file.plan([(np.array([a * PART]), np.array([b * PART])) for a, b in windows])
    places = [(part.begin // PART, part.end // PART) for part in file.parts]
    assert places[:3] == [(0, 4), (4, 6), (6, 8)]
    assert {end - begin for begin, end in places[3:]} == {4}


def test_where_windows_share_too_much_ranges_are_read(
    made: Conversion,
    remote: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same bytes, and no more of the file in memory."""
    monkeypatch.setattr(whole_fetch, "SHARED_SOURCE_BYTES", PART)
    monkeypatch.setattr(fetches_module, "FIRST_SOURCE_BYTES", PART)
    monkeypatch.setattr(window_reader, "HELD_WINDOW_BYTES", 30_000)
    monkeypatch.setattr(window_reader, "REMOTE_WINDOW_BYTES", 30_000)
    assert remote().crc32c == made.run(0).crc32c
    assert fetching() == []


@pytest.mark.usefixtures("little_ahead")
def test_small_windows_change_no_byte(
    made: Conversion, remote: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts come and go many times over a shard."""
    monkeypatch.setattr(window_reader, "HELD_WINDOW_BYTES", 20_000)
    assert remote().crc32c == made.run(0).crc32c
    assert remote(threads=2).crc32c == made.run(0).crc32c
