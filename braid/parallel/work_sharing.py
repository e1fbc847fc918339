"""Threads that share their work: each takes part after part of a job, so that all end together."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import Protocol, TypeVar

from braid.parallel.ordered_map import ordered_map

__all__ = ["SharedTask", "together"]

R_co = TypeVar("R_co", covariant=True)
_WAITING_JOBS = 1  # begun, so that no thread waits for the slowest part of the job before


class SharedTask(Protocol[R_co]):
    """Work in parts, which are taken in order."""

    def work(self) -> None:
        """Do part after part until none is left to take; called by every thread."""

    def stop(self) -> None:
        """Let nobody take another part."""

    def result(self) -> R_co:
        """What has been made, when all have come back; raises what the first bad part raised."""


def together(jobs: Iterable[SharedTask[R_co]], threads: int, name: str) -> Generator[R_co]:
    """Yield each job's result, in order; closing this stops the jobs that have begun.

    Args:
        jobs: taken one after another, by the caller, while the threads work.
        threads: that share each job; one is the caller itself, more are others.
        name: of the threads.
    """
    begun: deque[SharedTask[R_co]] = deque()

    def for_each_thread() -> Iterator[SharedTask[R_co]]:
        for job in jobs:
            begun.append(job)
            yield from [job] * threads

    ahead = (1 + _WAITING_JOBS) * threads - 1 if threads > 1 else 0
    with closing(ordered_map(_worked, for_each_thread(), threads, ahead, name)) as worked:
        try:
            for count, job in enumerate(worked, 1):
                if count % threads == 0:
                    begun.popleft()
                    yield job.result()
        finally:
            for job in begun:
                job.stop()


def _worked(job: SharedTask[R_co]) -> SharedTask[R_co]:
    job.work()
    return job
