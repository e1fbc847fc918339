"""Bad chunks: those made of a row that does not decode; left out on request, and listed.

A batch is made as always. Only where it fails is it made again in halves, down to the chunks that
fail alone, so that the other chunks are the same as without a bad one among them.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from braid.exceptions import DecompressionError
from braid.parallel.work_sharing import SharedTask
from braid.transcode.tasks import BadChunk, TaskResult, joined
from braid.typing import Int64Array

__all__ = ["MOST_LISTED", "BadChunks", "SkippingTask"]

MOST_LISTED: Final = 1_000


@dataclass
class BadChunks:
    """The bad chunks of a shard: how many, and the first of them.

    Attributes:
        count: of all.
        listed: the first `MOST_LISTED`, by ascending id.
    """

    count: int = 0
    listed: list[BadChunk] = field(default_factory=list)

    def add(self, chunks: Iterable[BadChunk]) -> None:
        """Count more of them."""
        for chunk in chunks:
            self.count += 1
            if len(self.listed) < MOST_LISTED:
                self.listed.append(chunk)


class SkippingTask:
    """A task without its bad chunks; a `braid.parallel.work_sharing.SharedTask`.

    Args:
        chunks: the task's, by ascending number.
        start: the task that makes some of them; raises DecompressionError, or its result does.
        describe: the bad chunk of a number and its error.
    """

    def __init__(
        self,
        chunks: Int64Array,
        start: Callable[[Int64Array], SharedTask[TaskResult]],
        describe: Callable[[int, DecompressionError], BadChunk],
    ) -> None:
        self._chunks = chunks
        self._start = start
        self._describe = describe
        self._task: SharedTask[TaskResult] | None = None
        with suppress(DecompressionError):  # `result` makes its parts
            self._task = start(chunks)

    def work(self) -> None:
        """Work on the task."""
        if self._task is not None:
            self._task.work()

    def stop(self) -> None:
        """Cancel the remaining parts."""
        if self._task is not None:
            self._task.stop()

    def result(self) -> TaskResult:
        """Payloads of the chunks that decode, and the bad chunks."""
        task, self._task = self._task, None
        if task is not None:
            try:
                return task.result()
            except DecompressionError:
                del task  # before its parts take as much memory again
        return joined(self._parts(self._chunks))

    def _parts(self, chunks: Int64Array) -> Iterator[TaskResult]:
        """Results of the largest parts that decode, and of each bad chunk."""
        if len(chunks) > 1:
            middle = len(chunks) // 2
            yield from self._made(chunks[:middle])
            yield from self._made(chunks[middle:])
        else:
            yield from self._made(chunks)

    def _made(self, chunks: Int64Array) -> Iterator[TaskResult]:
        try:
            task = self._start(chunks)
            task.work()
            yield task.result()
        except DecompressionError as error:
            if len(chunks) > 1:
                yield from self._parts(chunks)
            elif error.row is None:
                raise
            else:
                yield TaskResult.of_bad(self._describe(int(chunks[0]), error))
