"""Batches of chunks as jobs that threads share, and what they give."""

from collections import deque
from collections.abc import Callable, Sequence

from braid.parallel.stats import TranscodeStats
from braid.parallel.work_sharing import SharedTask
from braid.precomputed.chunk_batch import ChunkBatch
from braid.typing import Int64Array

__all__ = ["Batch", "Made", "Runs"]

Made = tuple[ChunkBatch, TranscodeStats]


class Runs:
    """Runs of chunks, each made by one thread; a `braid.parallel.work_sharing.SharedTask`."""

    def __init__(
        self, runs: Sequence[Int64Array], make: Callable[[Int64Array, TranscodeStats], ChunkBatch]
    ) -> None:
        self._left = deque(enumerate(runs))
        self._make = make
        self._made: dict[int, Made] = {}
        self._failed: dict[int, Exception] = {}

    def work(self) -> None:
        """Make runs until none is left, or one fails."""
        while True:
            try:
                number, run = self._left.popleft()
            except IndexError:
                return
            tally = TranscodeStats()
            try:
                self._made[number] = self._make(run, tally), tally
            except Exception as error:  # noqa: BLE001 - `result` raises the first, whichever thread met it
                self._failed[number] = error
                self.stop()

    def stop(self) -> None:
        """Let nobody make another."""
        self._left.clear()

    def result(self) -> Made:
        """All that the runs gave.

        Raises:
            Exception: what the first bad run raised.
        """
        if self._failed:
            raise self._failed[min(self._failed)]
        return _joined([self._made[number] for number in sorted(self._made)])


class Batch:
    """Chunks that follow one another, whichever way each takes; a job of jobs."""

    def __init__(self, parts: Sequence[SharedTask[Made]]) -> None:
        self._parts = parts

    def work(self) -> None:
        """Do part after part."""
        for part in self._parts:
            part.work()

    def stop(self) -> None:
        """Let nobody go on."""
        for part in self._parts:
            part.stop()

    def result(self) -> Made:
        """Payloads of all chunks that are not zeros."""
        chunks, tally = _joined([part.result() for part in self._parts])
        tally.chunks = len(chunks)
        return chunks, tally


def _joined(made: Sequence[Made]) -> Made:
    tally = TranscodeStats()
    for _, part in made:
        tally.add(part)
    return ChunkBatch.joined(chunks for chunks, _ in made), tally
