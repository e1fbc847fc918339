"""Slots: the failure table for shards in work beside each other, and for one that waits.

With two slots there is one executor, so the second shard waits for it; with four there are two.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consumer.worker import executor_pool
from consumer.worker.loop import WorkerLoop
from consumer.worker.slots import Slots, automatic_slots, executors_aim, executors_for
from consumer.worker.worker import Worker
from delivery.broker import open_broker
from delivery.broker.base import Delivery
from delivery.ledger.lost_leases import LostLeases
from delivery.messages import NewerSchema
from memmodel.estimate import WORKER_BYTES
from memmodel.tiers import GIB, MIB
from runtime.errors import UnreachableError
from tests.support.three_shard_run import LARGE, SMALL
from tests.support.waiting import wait_for
from tests.support.worker_harness import WorkerHarness, done, failed, worker_harness

KEYS = ("s0/0", "s0/1")


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[WorkerHarness]:
    """A run of two shards and their dependent, nothing published."""
    with worker_harness(tmp_path) as harness:
        yield harness


class Serving:
    """A worker loop on a thread of its own; the second shard is published once the first is begun.

    Args:
        harness: of the worker.
        slots: of the worker.
        keys: of the shards to publish.
        should_exit: once the slots are idle.
    """

    def __init__(
        self,
        harness: WorkerHarness,
        slots: int,
        keys: tuple[str, ...] = KEYS,
        should_exit: Callable[[], bool] = lambda: True,
    ) -> None:
        harness.slots = slots
        self.error: BaseException | None = None
        self.reports: list[bool] = []
        self._should_exit = should_exit
        self._loop = WorkerLoop(
            harness.broker, SMALL, harness.worker, harness.flags, on_busy=self.reports.append,
            pause_s=0.01,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._run, daemon=True)
        first, *others = keys
        harness.publish(first)
        self._thread.start()
        wait_for(harness.tasks, "the first shard in work")
        for key in others:
            harness.publish(key)

    def _run(self) -> None:
        try:
            self._loop.run(self._should_exit)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    def end(self) -> None:
        """Wait for its end."""
        self._thread.join(60)
        assert not self._thread.is_alive()


def one_waits(harness: WorkerHarness) -> None:
    """Wait until the second shard waits for the executor of the first."""
    wait_for(lambda: harness.worker.waiting, "a shard that waits")


def attempts(harness: WorkerHarness) -> dict[str, int]:
    """The attempts of what is in the queue."""
    found = {}
    while (delivery := harness.broker.lease(SMALL)) is not None:
        found[delivery.data.decode().partition('"key":"')[2][:4]] = delivery.attempt
    return found


def test_shards_are_in_work_side_by_side(harness: WorkerHarness) -> None:
    """Each of them ends only after the other has begun; the last one publishes the dependent."""
    harness.script(
        s0_0=["with:s0/1", "wait", done()],
        s0_1=["with:s0/0", "wait", done()],
        s1_0=["wait", done(inputs={"s0/0": "AAAAAA==", "s0/1": "AAAAAA=="})],
    )
    serving = Serving(harness, 4)
    serving.end()
    assert serving.error is None
    assert sorted(harness.run.receipts.list()) == [*KEYS, "s1/0"]
    assert [task["key"] for task in harness.tasks()] == [*KEYS, "s1/0"]


def test_two_slots_with_the_same_shard_make_it_once(harness: WorkerHarness) -> None:
    """A duplicate waits for the receipt instead of doing the same work beside it."""
    harness.script(s0_0=["until:go", "wait", done()])
    serving = Serving(harness, 4, ("s0/0", "s0/0"))
    wait_for(lambda: harness.broker.backlog(SMALL).leased == 2, "the duplicate")
    harness.let("go")
    serving.end()
    assert [task["key"] for task in harness.tasks()] == ["s0/0"]
    assert harness.broker.backlog(SMALL).waiting == 0


def test_the_exit_condition_is_asked_only_when_all_slots_are_idle(harness: WorkerHarness) -> None:
    """And the worker reports that it is busy as long as one of them is."""
    harness.script(s0_0=["until:go", done()], s0_1=[done()])
    seen: list[list[str]] = []

    def should_exit() -> bool:
        seen.append(sorted(harness.run.receipts.list()))
        return True

    serving = Serving(harness, 4, should_exit=should_exit)
    wait_for(harness.run.receipts.list, "the receipt of the one")
    harness.let("go")
    serving.end()
    assert seen[0] == list(KEYS)
    assert serving.reports == [True, False]


def test_heartbeats_name_the_shard_that_waits(harness: WorkerHarness) -> None:
    """It is in flight, too; a program that knows one shard only sees the one in work."""
    harness.script(s0_0=["hang"])
    serving = Serving(harness, 2)
    one_waits(harness)

    def both() -> bool:
        beats = harness.run.heartbeats()
        return [sorted(shard.key for shard in beat.all_shards) for beat in beats] == [list(KEYS)]

    wait_for(both, "a heartbeat of both")
    assert harness.run.heartbeats()[0].key == "s0/0"
    harness.flags.immediate.set()
    serving.end()
    assert harness.run.heartbeats() == []


@pytest.mark.parametrize("slots", [2, 4])
def test_a_shutdown_releases_all_shards(harness: WorkerHarness, slots: int) -> None:
    """In work or waiting; it counts no attempt."""
    harness.script(s0_0=["hang"], s0_1=["hang"])
    serving = Serving(harness, slots)
    in_work = slots // 2
    wait_for(lambda: len(harness.tasks()) == in_work, "the shards in work")
    wait_for(lambda: harness.worker.waiting == 2 - in_work, "the others")
    harness.flags.immediate.set()
    serving.end()
    assert attempts(harness) == {"s0/0": 1, "s0/1": 1}
    assert len(harness.tasks()) == in_work


def test_a_graceful_shutdown_finishes_what_is_in_work_and_releases_what_waits(
    harness: WorkerHarness,
) -> None:
    """Another worker can take it meanwhile."""
    harness.script(s0_0=["until:go", done()], s0_1=[done()])
    serving = Serving(harness, 2)
    one_waits(harness)
    harness.flags.graceful.set()
    wait_for(lambda: harness.broker.backlog(SMALL).waiting, "the release")
    harness.let("go")
    serving.end()
    assert list(harness.run.receipts.list()) == ["s0/0"]
    assert attempts(harness) == {"s0/1": 1}


def test_a_lost_lease_of_a_shard_that_waits_is_noted(harness: WorkerHarness) -> None:
    """It is not begun, since another worker has its message; the shard in work goes on."""
    harness.script(s0_0=["until:go", done()], s0_1=[done()])
    url, tiers = harness.broker.url, harness.broker.tiers
    with open_broker(url, tiers, 6.0) as harness.broker:
        serving = Serving(harness, 2)
        one_waits(harness)
        with sqlite3.connect(harness.folder / "queue.db") as queue:
            queue.execute("UPDATE message SET lease = 'x' WHERE CAST(data AS TEXT) LIKE '%s0/1%'")
        wait_for(lambda: LostLeases(harness.run.storage).count("s0/1"), "the insight")
        wait_for(lambda: not harness.worker.waiting, "the end of the wait")
        harness.let("go")
        serving.end()
    assert [task["key"] for task in harness.tasks()] == ["s0/0"]
    assert list(harness.run.receipts.list()) == ["s0/0"]


def test_a_run_that_is_cancelled_while_a_shard_waits(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waited long is not begun for nothing."""
    monkeypatch.setattr(executor_pool, "LONG_S", 0.0)
    harness.script(s0_0=["until:go", "wait", done()], s0_1=[done()])
    serving = Serving(harness, 2)
    one_waits(harness)
    harness.run.cancel("enough")
    harness.let("go")
    serving.end()
    assert [task["key"] for task in harness.tasks()] == ["s0/0"]
    assert harness.run.receipts.list() == {}
    assert harness.waiting(SMALL) == []


def test_a_killed_executor_takes_no_other_shard_along(harness: WorkerHarness) -> None:
    """Its shard goes to the next tier, the other one is done on this."""
    harness.script(s0_0=["with:s0/1", "die"], s0_1=["until:go", done()])
    serving = Serving(harness, 4)
    wait_for(lambda: harness.broker.backlog(LARGE).waiting, "the escalation")
    harness.let("go")
    serving.end()
    assert list(harness.run.receipts.list()) == ["s0/1"]
    (message,) = harness.waiting(LARGE)
    assert message.key == "s0/0"
    assert "SIGKILL" in message.history[0].reason


def test_a_message_from_the_future_ends_the_worker_after_its_shards(
    harness: WorkerHarness,
) -> None:
    """What is in work is finished, and the message stays for a newer worker."""
    harness.script(s0_0=["until:go", done()])
    serving = Serving(harness, 4, ("s0/0",), lambda: False)
    harness.publish_newer("s0/1")
    wait_for(harness.flags.graceful.is_set, "the slot's error")
    harness.let("go")
    serving.end()
    assert isinstance(serving.error, NewerSchema)
    assert list(harness.run.receipts.list()) == ["s0/0"]
    assert harness.broker.backlog(SMALL).waiting == 1


def test_trouble_in_all_slots_ends_the_worker_and_keeps_the_messages(
    harness: WorkerHarness,
) -> None:
    """The last error is raised, as with one slot; both messages stay in the queue."""
    harness.script(s0_0=[failed("retryable", "no net")], s0_1=[failed("retryable", "no net")])
    serving = Serving(harness, 4, should_exit=lambda: False)
    serving.end()
    assert isinstance(serving.error, UnreachableError)
    assert "no net" in str(serving.error)
    assert attempts(harness) == {"s0/0": 1, "s0/1": 1}


def test_all_held_messages_can_be_given_back_by_another_thread(harness: WorkerHarness) -> None:
    """For a worker whose own threads never come back from the kernel."""
    harness.script(s0_0=["hang"], s0_1=["hang"])
    serving = Serving(harness, 2)
    one_waits(harness)
    harness.worker.give_back()
    assert attempts(harness) == {"s0/0": 1, "s0/1": 1}
    harness.flags.immediate.set()
    serving.end()


def test_a_message_that_comes_with_the_signal_counts_no_attempt(harness: WorkerHarness) -> None:
    """Nothing was done about it."""
    harness.publish("s0/0")
    delivery = harness.broker.lease(SMALL)
    assert delivery is not None
    harness.worker.decline(delivery)
    assert attempts(harness) == {"s0/0": 1}


def test_one_slot_handles_on_the_callers_thread() -> None:
    """And lets its errors through; there is no thread that could be in its way."""
    seen: list[threading.Thread] = []

    def handle(_: Delivery) -> None:
        seen.append(threading.current_thread())
        raise ValueError

    slots = Slots(1, handle)
    with pytest.raises(ValueError, match=r"^$"):
        slots.take(Delivery(SMALL, b"", {}, 1, "t", 0.0))
    assert seen == [threading.current_thread()]
    assert (slots.busy, slots.failed) == (False, False)


def test_with_one_slot_messages_follow_each_other(harness: WorkerHarness) -> None:
    """A second message is leased only after the first is settled; nothing ever waits."""
    harness.script(s0_0=[done()], s0_1=[done()], s1_0=[failed("permanent")])
    leased: list[int | None] = []

    class Counting(Worker):
        """Counts the leases while it handles a message."""

        def handle(self, delivery: Delivery) -> None:
            """Handle it as ever."""
            leased.append(harness.broker.backlog(SMALL).leased)
            super().handle(delivery)
            leased.append(harness.broker.backlog(SMALL).leased)

    harness.worker.__class__ = Counting
    for key in KEYS:
        harness.publish(key)
    WorkerLoop(harness.broker, SMALL, harness.worker, harness.flags).run(lambda: True)
    assert leased == [1, 0] * 3


def test_the_automatic_number_of_slots() -> None:
    """Four executors for each CPU, as far as memory holds them; where only one fits, one slot."""
    assert automatic_slots(1, 2 * GIB) == 8
    assert automatic_slots(4, 16 * GIB) == 32
    assert automatic_slots(4, GIB) == 16
    assert automatic_slots(4, 512 * MIB) == 8
    assert automatic_slots(1, 200 * MIB) == 1
    assert automatic_slots(2, None) == 16
    assert [executors_for(slots) for slots in (1, 2, 3, 4, 16)] == [1, 1, 2, 2, 8]


def test_a_worker_and_its_executors_stay_within_400_mib_a_processor() -> None:
    """Less what the worker takes, and what executors share; more slots stand for more CPUs."""
    assert executors_aim(8) == 400 * MIB - WORKER_BYTES
    assert executors_aim(32) == 4 * 400 * MIB - WORKER_BYTES
    assert executors_aim(2) == executors_aim(8)
