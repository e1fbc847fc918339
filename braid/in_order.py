"""Work in several threads whose results come in the order of the work."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_order"]

T = TypeVar("T")
R = TypeVar("R")


def in_order(
    work: Callable[[T], R], items: Iterable[T], threads: int, ahead: int, name: str
) -> Generator[R]:
    """Yield `work(item)` for each item; closing this stops the threads.

    Args:
        work: done by the threads, or by the caller where there is to be only one.
        items: taken one after another, by the caller, while the threads work.
        threads: at once.
        ahead: items begun or waiting for a thread while a result is awaited.
        name: of the threads.
    """
    if threads == 1:
        yield from map(work, items)
        return
    running: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    try:
        for item in items:
            running.append(pool.submit(work, item))
            if len(running) > ahead:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
