"""Threads share jobs, results come in the jobs' order, and whoever lets go stops them."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing

import pytest

from braid.parallel.work_sharing import together

SOON_S = 0.005


class Counting:
    """A job of numbered parts; `by` are the threads that took part."""

    def __init__(self, number: int, parts: int = 4, bad: int | None = None) -> None:
        self.number = number
        self.left = deque(range(parts))
        self.done: list[int] = []
        self.by: set[str] = set()
        self.bad = bad

    def work(self) -> None:
        """Take parts until none is left."""
        while self.left:
            try:
                part = self.left.popleft()
            except IndexError:
                return
            time.sleep(SOON_S)
            self.by.add(threading.current_thread().name)
            self.done.append(part)

    def stop(self) -> None:
        """Leave the rest."""
        self.left.clear()

    def result(self) -> int:
        """The job's number."""
        if self.number == self.bad:
            raise ValueError(self.number)
        return self.number


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_jobs_are_done_in_order(threads: int) -> None:
    """Each one whole, before its result is out."""
    jobs = [Counting(number) for number in range(7)]
    for number in together(jobs, threads, "crew-test"):
        assert sorted(jobs[number].done) == [0, 1, 2, 3]
        jobs[number].done.clear()
    assert not any(job.done for job in jobs)


def test_threads_share_a_job() -> None:
    """One job has the help of all."""
    job = Counting(0, parts=12)
    assert list(together([job], 3, "crew-share")) == [0]
    assert len(job.by) == 3


def test_one_thread_is_the_callers() -> None:
    """Nothing is begun before it is asked for."""
    jobs = [Counting(number) for number in range(3)]
    with closing(together(jobs, 1, "crew-test")) as results:
        assert next(results) == 0
        assert not jobs[1].done
    assert jobs[0].by == {threading.current_thread().name}


def test_few_jobs_wait() -> None:
    """They are taken one by one: each may hold much memory."""
    taken: list[int] = []

    def jobs() -> Iterator[Counting]:
        for number in range(12):
            taken.append(number)
            yield Counting(number)

    for number in together(jobs(), 2, "crew-test"):
        assert len(taken) <= number + 3


def test_letting_go_stops_what_has_begun() -> None:
    """No part is taken any more, and none is in work."""
    jobs = [Counting(number, parts=50) for number in range(4)]
    results = together(jobs, 2, "crew-test")
    jobs[0].left = deque([0])
    assert next(results) == 0
    results.close()
    done = [len(job.done) for job in jobs]
    assert all(not job.left for job, count in zip(jobs, done, strict=True) if count)
    time.sleep(3 * SOON_S)
    assert [len(job.done) for job in jobs] == done
    assert done[3] == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_a_bad_result_ends_it(threads: int) -> None:
    """Results before it are out; those after it are not, and their work has stopped."""
    jobs = [Counting(number, bad=2) for number in range(9)]
    seen: list[int] = []
    with pytest.raises(ValueError, match="2"):
        seen.extend(together(jobs, threads, "crew-test"))
    assert not any(job.done for job in jobs[5:])


def test_jobs_that_cannot_be_had() -> None:
    """What their source raises comes through, after the results that were there."""

    def jobs() -> Iterator[Counting]:
        yield Counting(0)
        raise OSError("gone")

    for threads in (1, 2):
        with pytest.raises(OSError, match="gone"):
            list(together(jobs(), threads, "crew-test"))
