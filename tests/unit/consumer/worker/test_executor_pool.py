"""Executor pool: turns by memory, and what several executors need together is nobody's fault."""

import json
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from consumer.protocol.events import Done, Failed, StopCommand
from consumer.protocol.tasks import ConvertTask
from consumer.worker import executor_process
from consumer.worker.executor_client import ExecutorClient, TaskCallbacks
from consumer.worker.executor_pool import ExecutorPool
from memmodel.tiers import MIB
from tests.support.specs import made_info
from tests.support.waiting import wait_for
from tests.support.worker_harness import PROGRAM, done, failed

LIMIT = 200 * MIB
KEYS = ("s0/0", "s0/1", "s0/2")
FREE = TaskCallbacks(
    on_progress=lambda _: None, check_publish=lambda: None, check_interrupt=lambda: None
)


class Bench:
    """A pool of three executors that follow a script, and a thread for each task."""

    def __init__(
        self, folder: Path, limit_bytes: int | None = LIMIT, aim_bytes: int | None = None
    ) -> None:
        (folder / "executor.py").write_text(PROGRAM)
        self.folder = folder
        command = (sys.executable, str(folder / "executor.py"))
        make = partial(ExecutorClient, command=command)
        self.pool = ExecutorPool(limit_bytes, 3, make, aim_bytes=aim_bytes)
        self.results: dict[str, Done | Failed] = {}
        self._threads: list[threading.Thread] = []

    def script(self, *steps: list[object]) -> None:
        """What the executors do, in the order of `KEYS`."""
        (self.folder / "script.json").write_text(json.dumps(dict(zip(KEYS, steps, strict=False))))

    def begin(self, key: str, needs_bytes: int | None, stop: StopCommand | None = None) -> None:
        """Have a task executed on a thread of its own."""
        task = ConvertTask(
            run="/r", key=key, volume=made_info((64, 64, 64)), scale=0, shard=0, dest="/d",
            source="/s", sources=(),
        )  # fmt: skip

        def run() -> None:
            self.results[key] = self.pool.run(task, FREE, needs_bytes, lambda: stop)

        self._threads.append(threading.Thread(target=run, daemon=True))
        self._threads[-1].start()

    def begun(self) -> list[str]:
        """Keys of the tasks that the executors received."""
        path = self.folder / "tasks"
        return [json.loads(line)["key"] for line in path.open()] if path.exists() else []

    def begin_both_until_the_peak(self) -> None:
        """Have two shards of 200 MiB begin; the second waits while the first is at its peak."""
        self.begin(KEYS[0], 200 * MIB)
        wait_for(self.begun, "the first")
        self.begin(KEYS[1], 200 * MIB)
        wait_for(lambda: any(turn.passed for turn in self.pool._in_work), "its peak")
        assert self.pool.waiting == 1

    def let(self, name: str) -> None:
        """Make the file that a step `until:NAME` waits for."""
        (self.folder / name).touch()

    def end(self) -> dict[str, Done | Failed]:
        """Wait for all tasks; their results."""
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()
        return self.results


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Executors that do nothing yet."""
    bench = Bench(tmp_path)
    yield bench
    bench.pool.close()


def test_as_many_at_once_as_fit(bench: Bench) -> None:
    """Two fit together; the third waits until one of them is done."""
    bench.script(["with:s0/1", "until:go", done()], ["with:s0/0", "until:go", done()], [done()])
    for key in KEYS[:2]:
        bench.begin(key, 80 * MIB)
    wait_for(lambda: len(bench.begun()) == 2, "two in work")
    bench.begin("s0/2", 80 * MIB)
    wait_for(lambda: bench.pool.waiting == 1, "the third")
    bench.let("go")
    assert {type(result) for result in bench.end().values()} == {Done}
    assert bench.begun()[2] == "s0/2"


def test_a_large_shard_is_not_overtaken(bench: Bench) -> None:
    """Else it would wait as long as small ones come."""
    bench.script(["until:go", done()], ["with:s0/0", done()], [done()])
    bench.begin("s0/0", 100 * MIB)
    wait_for(bench.begun, "the first")
    bench.begin("s0/1", 100 * MIB)
    wait_for(lambda: bench.pool.waiting == 1, "the large one")
    bench.begin("s0/2", MIB)
    wait_for(lambda: bench.pool.waiting == 2, "the small one")
    bench.let("go")
    bench.end()
    assert bench.begun() == list(KEYS)


@pytest.mark.parametrize("needs_bytes", [10 * LIMIT, None])
def test_what_fits_beside_nothing_or_is_unknown_is_made_alone(
    bench: Bench, needs_bytes: int | None
) -> None:
    """It is never refused."""
    bench.script(["until:go", done()], [done()])
    bench.begin("s0/0", MIB)
    wait_for(bench.begun, "the first")
    bench.begin("s0/1", needs_bytes)
    wait_for(lambda: bench.pool.waiting == 1, "the wait")
    bench.let("go")
    assert {type(result) for result in bench.end().values()} == {Done}


def test_a_shard_that_waits_can_be_stopped(bench: Bench) -> None:
    """Without an executor; the one in work goes on."""
    bench.script(["until:go", done()])
    bench.begin("s0/0", None)
    wait_for(bench.begun, "the first")
    bench.begin("s0/1", None, StopCommand(kind="stopped", reason="enough"))
    wait_for(lambda: "s0/1" in bench.results, "the end of the wait")
    bench.let("go")
    results = bench.end()
    assert results["s0/1"] == Failed(kind="stopped", reason="enough")
    assert isinstance(results["s0/0"], Done)
    assert bench.begun() == ["s0/0"]


@pytest.mark.parametrize("begin", [[], ["unbegun"]])
def test_near_the_limit_the_newest_is_made_again_alone(bench: Bench, begin: list[object]) -> None:
    """Each is far below the limit by itself, so neither is blamed, stopped early or late."""
    bench.script(
        ["hold:110", "with:s0/1", "until:again", done()],
        [*begin, "hold:110", "until:again", done()],
    )
    bench.begin("s0/0", MIB)
    wait_for(bench.begun, "the first")
    bench.begin("s0/1", MIB)
    wait_for(lambda: bench.begun() == ["s0/0", "s0/1"], "the second")
    wait_for(lambda: bench.pool.waiting == 1, "its end")
    bench.let("again")
    assert {type(result) for result in bench.end().values()} == {Done}
    assert bench.begun() == ["s0/0", "s0/1", "s0/1"]


def test_what_needs_too_much_by_itself_is_blamed(bench: Bench) -> None:
    """Whoever is stopped first: the other one is done."""
    bench.script(["with:s0/1", "until:again", done()], ["hold:190", "until:never", done()])
    bench.begin("s0/0", MIB)
    wait_for(bench.begun, "the first")
    bench.begin("s0/1", MIB)
    wait_for(lambda: "s0/1" in bench.results or bench.pool.waiting, "the first end")
    bench.let("again")
    results = bench.end()
    assert isinstance(results["s0/0"], Done)
    blamed = results["s0/1"]
    assert isinstance(blamed, Failed)
    assert blamed.kind == "memory"
    assert "90%" in blamed.reason


def test_the_failure_of_one_is_its_own(bench: Bench) -> None:
    """A MemoryError while there is room is not the others' fault."""
    bench.script(["until:go", done()], [failed("memory", "MemoryError")])
    bench.begin("s0/0", MIB)
    wait_for(bench.begun, "the first")
    bench.begin("s0/1", MIB)
    wait_for(lambda: "s0/1" in bench.results, "the failure")
    bench.let("go")
    results = bench.end()
    assert isinstance(results["s0/1"], Failed)
    assert isinstance(results["s0/0"], Done)


def test_idle_executors_give_way(tmp_path: Path) -> None:
    """A shard that fits only without them gets their memory."""
    bench = Bench(tmp_path)
    bench.script(["with:s0/1", done()], ["with:s0/0", done()], [done()])
    bench.begin("s0/0", MIB)
    bench.begin("s0/1", MIB)
    bench.end()
    alive = [client for client in bench.pool._clients if client.alive]
    assert len(alive) == 2
    bench.begin("s0/2", 150 * MIB)
    assert isinstance(bench.end()["s0/2"], Done)
    assert len([client for client in bench.pool._clients if client.alive]) == 1
    bench.pool.close()


def test_what_shards_have_used_tells_how_many_fit(tmp_path: Path) -> None:
    """At first estimates do, which are for the worst: only one fits. Then there is room for two."""
    bench = Bench(tmp_path, 1000 * MIB, 100 * MIB)
    bench.script(["until:go", done()], ["with:s0/2", done()], ["with:s0/1", done()])
    bench.begin("s0/0", 200 * MIB)
    wait_for(bench.begun, "the first")
    bench.begin("s0/1", 200 * MIB)
    wait_for(lambda: bench.pool.waiting == 1, "the second, which waits")
    bench.let("go")
    wait_for(lambda: bench.begun() == ["s0/0", "s0/1"], "the second")
    bench.begin("s0/2", 200 * MIB)
    assert {type(result) for result in bench.end().values()} == {Done}
    bench.pool.close()


def test_a_shard_that_says_it_ends_makes_room(tmp_path: Path) -> None:
    """Half of what it holds counts from then on, however much that is."""
    bench = Bench(tmp_path, 1000 * MIB, 240 * MIB)
    first: list[object] = ["hold:200", "until:go", "end", "with:s0/1", "until:held", done()]
    bench.script(first, [done()])
    bench.begin_both_until_the_peak()
    bench.let("go")
    wait_for(lambda: len(bench.begun()) == 2, "the second beside it")
    bench.let("held")
    assert {type(result) for result in bench.end().values()} == {Done}
    bench.pool.close()


def test_a_moment_with_less_memory_makes_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As between two windows of a shard, which holds as much again in the next one."""
    monkeypatch.setattr(executor_process, "RECENT_S", 5.0)
    bench = Bench(tmp_path, 1000 * MIB, 180 * MIB)
    lull = ["drop", "sleep:0.3", "hold:200", "until:later"]
    bench.script(["hold:200", "until:go", *lull, "drop", "with:s0/1", done()], [done()])
    bench.begin_both_until_the_peak()
    (client,) = (turn.client for turn in bench.pool._in_work)
    assert client is not None
    bench.let("go")
    wait_for(lambda: client.rss_bytes < 150 * MIB, "the lull")
    wait_for(lambda: client.rss_bytes > 200 * MIB, "its end")
    assert bench.begun() == ["s0/0"]
    bench.let("later")
    assert {type(result) for result in bench.end().values()} == {Done}
    bench.pool.close()


def test_a_shard_past_its_peak_makes_room(tmp_path: Path) -> None:
    """It counts with what it holds: here the end of a shard that had 200 MiB."""
    bench = Bench(tmp_path, 1000 * MIB, 180 * MIB)
    bench.script(["hold:200", "until:go", "drop", "with:s0/1", done()], [done()])
    bench.begin_both_until_the_peak()
    bench.let("go")
    assert {type(result) for result in bench.end().values()} == {Done}
    bench.pool.close()
