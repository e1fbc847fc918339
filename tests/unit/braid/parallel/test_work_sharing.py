"""Work sharing: all threads on one task, results in order, closing stops the tasks."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from braid.parallel.ordered_map import ordered_map
from braid.parallel.work_sharing import run_shared

SOON_S = 0.005


def take_time() -> None:
    """Work of a part."""
    time.sleep(SOON_S)


class Counting:
    """A task of numbered parts; `by` are the threads that took part."""

    def __init__(
        self,
        number: int,
        parts: int = 4,
        bad: int | None = None,
        each: Callable[[], object] = take_time,
    ) -> None:
        self.number = number
        self.left = deque(range(parts))
        self.done: list[int] = []
        self.by: set[str] = set()
        self.bad = bad
        self.each = each

    def work(self) -> None:
        """Take parts until none is left."""
        while self.left:
            try:
                part = self.left.popleft()
            except IndexError:
                return
            self.each()
            self.by.add(threading.current_thread().name)
            self.done.append(part)

    def stop(self) -> None:
        """Leave the rest."""
        self.left.clear()

    def result(self) -> int:
        """The task's number."""
        if self.number == self.bad:
            raise ValueError(self.number)
        return self.number


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_tasks_are_done_in_order(threads: int) -> None:
    """Each one whole, before its result is out."""
    tasks = [Counting(number) for number in range(7)]
    for number in run_shared(tasks, threads, "shared-test"):
        assert sorted(tasks[number].done) == [0, 1, 2, 3]
        tasks[number].done.clear()
    assert not any(task.done for task in tasks)


def test_threads_share_a_task() -> None:
    """Every part waits until each thread has one."""
    task = Counting(0, parts=3, each=threading.Barrier(3, timeout=60).wait)
    assert list(run_shared([task], 3, "shared-one")) == [0]
    assert len(task.by) == 3


def test_one_thread_is_the_caller() -> None:
    """No task starts before its result is requested."""
    tasks = [Counting(number) for number in range(3)]
    with closing(run_shared(tasks, 1, "shared-test")) as results:
        assert next(results) == 0
        assert not tasks[1].done
    assert tasks[0].by == {threading.current_thread().name}


def test_few_tasks_wait() -> None:
    """They are taken one by one: each may hold much memory."""
    taken: list[int] = []

    def tasks() -> Iterator[Counting]:
        for number in range(12):
            taken.append(number)
            yield Counting(number)

    for number in run_shared(tasks(), 2, "shared-test"):
        assert len(taken) <= number + 3


def test_closing_stops_what_has_started() -> None:
    """No part is taken afterwards, and none is in work."""
    tasks = [Counting(number, parts=50) for number in range(4)]
    results = run_shared(tasks, 2, "shared-test")
    tasks[0].left = deque([0])
    assert next(results) == 0
    results.close()
    done = [len(task.done) for task in tasks]
    assert all(not task.left for task, count in zip(tasks, done, strict=True) if count)
    assert list(ordered_map(abs, range(9), 2, 2, "shared-test"))  # after all that was queued
    assert [len(task.done) for task in tasks] == done
    assert done[3] == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_a_bad_result_ends_it(threads: int) -> None:
    """Results before it are out; those after it are not, and their work has stopped."""
    tasks = [Counting(number, bad=2) for number in range(9)]
    seen: list[int] = []
    with pytest.raises(ValueError, match="2"):
        seen.extend(run_shared(tasks, threads, "shared-test"))
    assert not any(task.done for task in tasks[5:])


def test_an_error_of_the_task_iterator_is_raised() -> None:
    """Threads or none."""

    def tasks() -> Iterator[Counting]:
        yield Counting(0)
        raise OSError("gone")

    for threads in (1, 2):
        with pytest.raises(OSError, match="gone"):
            list(run_shared(tasks(), threads, "shared-test"))
