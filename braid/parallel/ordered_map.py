"""Bounded ordered map: work in several threads, results in the order of the items."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

__all__ = ["ordered_map"]

T = TypeVar("T")
R = TypeVar("R")


@cache
def _thread_pool(threads: int, name: str) -> ThreadPoolExecutor:
    """Threads that stay for the next shard: to start them takes longer than to convert a chunk."""
    return ThreadPoolExecutor(threads, thread_name_prefix=name)


def ordered_map(
    work: Callable[[T], R], items: Iterable[T], threads: int, prefetch: int, name: str
) -> Generator[R]:
    """Yield `work(item)` for each item; closing this ends what runs and cancels the rest.

    Args:
        work: done by the threads.
        items: taken one after another, by the caller, while the threads work.
        threads: at once.
        prefetch: items in work or waiting for a thread while the caller has a result; 0 means that
            the caller does the work.
        name: of the threads.
    """
    if prefetch == 0:
        yield from map(work, items)
        return
    running: deque[Future[R]] = deque()
    pool = _thread_pool(threads, name)
    try:
        for item in items:
            running.append(pool.submit(work, item))
            if len(running) > prefetch:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        for future in running:
            future.cancel()
        wait(running)
