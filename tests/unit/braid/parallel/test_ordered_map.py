"""Threads work ahead, results come in order, and whoever stops listening stops the work."""

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


@pytest.mark.parametrize(("threads", "ahead"), [(1, 0), (1, 1), (2, 2), (3, 9)])
def test_results_come_in_order(threads: int, ahead: int) -> None:
    """Whichever ends first."""
    assert list(ordered_map(slowly, range(9), threads, ahead, "test")) == list(range(9))


def test_without_any_ahead_the_caller_works() -> None:
    """No thread is needed, and nothing is done before it is asked for."""
    by = ordered_map(lambda _: threading.current_thread(), range(3), 4, 0, "test")
    assert set(by) == {threading.current_thread()}


def test_no_more_is_begun_than_may_be_ahead() -> None:
    """Items are taken one by one: they may hold much memory."""
    taken = []

    def items() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    with closing(ordered_map(slowly, items(), 2, 3, "test")) as results:
        for number in results:
            assert len(taken) <= number + 1 + 3


def test_closing_waits_for_what_has_begun_and_begins_no_more() -> None:
    """Nothing reads a source or touches a result after its owner has let go."""
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
    time.sleep(3 * SOON_S)
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
