"""Work sharing: all threads pull parts of one task, so none idles while another finishes."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import islice, repeat
from typing import Protocol, TypeVar

from braid.parallel.ordered_map import ordered_map

__all__ = ["SharedTask", "run_shared"]

R_co = TypeVar("R_co", covariant=True)
_WAITING_TASKS = 1  # started early, so that no thread waits for the slowest part of the one before


class SharedTask(Protocol[R_co]):
    """Work in parts that threads take in order."""

    def work(self) -> None:
        """Do part after part until none is left; called once by every thread."""

    def stop(self) -> None:
        """Cancel the parts that no thread has taken."""

    def result(self) -> R_co:
        """Result of all parts, once every `work` has returned; raises the first part's error."""


def run_shared(
    tasks: Iterable[SharedTask[R_co]], threads: int, name: str, *, aside: bool = False
) -> Generator[R_co]:
    """Yield each task's result, in order; closing this stops the tasks that have started.

    Args:
        tasks: taken one after another, by the caller, while the threads work.
        threads: that share each task; one is the caller itself, more are others.
        name: of the threads.
        aside: one thread is another too, so that the caller takes the next task while it works.
    """
    started: deque[SharedTask[R_co]] = deque()

    def shares() -> Iterator[SharedTask[R_co]]:
        for task in tasks:
            started.append(task)
            yield from repeat(task, threads)

    prefetch = (1 + _WAITING_TASKS) * threads - 1 if threads > 1 or aside else 0
    with closing(ordered_map(_work, shares(), threads, prefetch, name)) as finished:
        try:
            # Shares finish in the order of submission, so the next `threads` of them are all that
            # the oldest task has.
            while list(islice(finished, threads)):
                yield started.popleft().result()
        finally:
            for task in started:
                task.stop()


def _work(task: SharedTask[object]) -> None:
    task.work()
