"""Ordered map: results in order, bounded prefetch, closing stops the work."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from braid.parallel.ordered_map import ordered_map

SOON_S = 0.01


def slowly(number: int) -> int:
    """Even numbers take longer."""
    time.sleep(SOON_S if number % 2 == 0 else 0)
    return number


@pytest.mark.parametrize(("threads", "prefetch"), [(1, 0), (1, 1), (2, 2), (3, 9)])
def test_results_come_in_order(threads: int, prefetch: int) -> None:
    """Whichever ends first."""
    assert list(ordered_map(slowly, range(9), threads, prefetch, "test")) == list(range(9))


def test_without_prefetch_the_caller_works() -> None:
    """No thread is used, and no item is done before its result is requested."""
    by = ordered_map(lambda _: threading.current_thread(), range(3), 4, 0, "test")
    assert set(by) == {threading.current_thread()}


def test_prefetch_is_bounded() -> None:
    """Items are taken one by one: they may hold much memory."""
    taken = []

    def items() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    with closing(ordered_map(slowly, items(), 2, 3, "test")) as results:
        for number in results:
            assert len(taken) <= number + 1 + 3


def test_closing_waits_for_running_work_and_starts_no_more() -> None:
    """No work goes on after `close` has returned."""
    began, ended = [], []

    def work(number: int) -> int:
        began.append(number)
        time.sleep(SOON_S)
        ended.append(number)
        return number

    results = ordered_map(work, range(100), 2, 8, "test")
    assert next(results) == 0
    results.close()
    assert sorted(began) == sorted(ended)
    seen = len(began)
    assert seen < 9
    assert list(ordered_map(abs, range(9), 2, 2, "test"))  # after all that was queued
    assert len(began) == seen


def test_an_error_ends_it_and_the_threads_go_on() -> None:
    """The first error in order is raised; the same threads serve the next caller."""

    def work(number: int) -> int:
        if number >= 3:
            raise ValueError(number)
        return number

    results = ordered_map(work, range(50), 2, 4, "test")
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="3"):
        next(results)
    assert list(ordered_map(work, range(3), 2, 4, "test")) == [0, 1, 2]
