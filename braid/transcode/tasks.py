"""Batches of chunks as tasks that threads share, and their results."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from braid.dvid.block_batch import RowPlace
from braid.parallel.stats import StepStats
from braid.parallel.work_sharing import SharedTask
from braid.precomputed.chunk_batch import ChunkBatch
from braid.typing import Int64Array, Vec3

__all__ = ["BadChunk", "CompositeTask", "SplitTask", "TaskResult", "TranscodeStats", "joined"]


@dataclass
class TranscodeStats(StepStats):
    """Counts and times of transcoding."""

    decompress_s: float = 0.0
    transcode_s: float = 0.0


@dataclass(frozen=True, slots=True)
class BadChunk:
    """A chunk that was left out, since a row that it is made of does not decode.

    Attributes:
        chunk: grid coordinates x, y, z at the output scale.
        place: of the row.
        reason: why it does not decode.
    """

    chunk: Vec3
    place: RowPlace
    reason: str


class TaskResult(NamedTuple):
    """Payloads of a task's chunks, those of zeros left out, and what they took.

    Attributes:
        bad: chunks that were left out.
    """

    chunks: ChunkBatch
    stats: TranscodeStats
    bad: tuple[BadChunk, ...] = ()

    @classmethod
    def of_bad(cls, chunk: BadChunk) -> "TaskResult":
        """The result of a bad chunk alone."""
        return cls(ChunkBatch.of(()), TranscodeStats(), (chunk,))


class SplitTask:
    """Slices of chunks, each made by one thread; a `braid.parallel.work_sharing.SharedTask`."""

    def __init__(
        self,
        slices: Sequence[Int64Array],
        make: Callable[[Int64Array, TranscodeStats], ChunkBatch],
    ) -> None:
        self._left = deque(enumerate(slices))
        self._make = make
        self._results: dict[int, TaskResult] = {}
        self._errors: dict[int, Exception] = {}

    def work(self) -> None:
        """Make slices until none is left, or one fails."""
        while True:
            try:
                number, chunks = self._left.popleft()
            except IndexError:
                return
            stats = TranscodeStats()
            try:
                self._results[number] = TaskResult(self._make(chunks, stats), stats)
            except Exception as error:  # noqa: BLE001 - `result` raises the first, of any thread
                self._errors[number] = error
                self.stop()

    def stop(self) -> None:
        """Cancel the remaining slices."""
        self._left.clear()

    def result(self) -> TaskResult:
        """Payloads of all slices.

        Raises:
            Exception: of the first bad slice.
        """
        if self._errors:
            raise self._errors[min(self._errors)]
        return joined(self._results[number] for number in sorted(self._results))


class CompositeTask:
    """Consecutive chunks as one task for each code path among them."""

    def __init__(self, tasks: Sequence[SharedTask[TaskResult]]) -> None:
        self._tasks = tasks

    def work(self) -> None:
        """Work on one task after another."""
        for task in self._tasks:
            task.work()

    def stop(self) -> None:
        """Cancel the remaining parts of all tasks."""
        for task in self._tasks:
            task.stop()

    def result(self) -> TaskResult:
        """Payloads of all chunks, by ascending id."""
        result = joined(task.result() for task in self._tasks)
        result.stats.chunks = len(result.chunks)
        return result


def joined(results: Iterable[TaskResult]) -> TaskResult:
    """Merge results: chunks by ascending id, counts summed."""
    chunks, stats = [], TranscodeStats()
    bad: list[BadChunk] = []
    for result in results:
        chunks.append(result.chunks)
        stats.add(result.stats)
        bad += result.bad
    return TaskResult(ChunkBatch.joined(chunks), stats, tuple(bad))
