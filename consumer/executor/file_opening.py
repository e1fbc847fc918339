"""First requests of a shard's source files, side by side where storage is far away."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from runtime.machine import translate_machine_errors
from runtime.storage import Source, Storage

INDEX_ENDS: Final = (".csv", "-offsets.csv")
"""Ends of the names of an Arrow file's indices, of which one or both are there."""

_AT_ONCE: Final = 8  # requests


@dataclass(frozen=True)
class OpenedFile:
    """An Arrow file and its indices, on their way or to be requested when they are taken.

    Attributes:
        arrow: opens the Arrow file.
        indices: read the index of each name, with its stamp; ObjectNotFound if there is none.
    """

    arrow: Callable[[], Source]
    indices: Sequence[Callable[[], tuple[bytes, str]]]

    @classmethod
    def of(cls, storage: Storage, path: str) -> "OpenedFile":
        """A file of which nothing is requested yet."""
        stem = path.removesuffix(".arrow")
        indices = [partial(storage.read_stamped, stem + end) for end in INDEX_ENDS]
        return cls(partial(storage.source, path), indices)

    def begun(self, pool: ThreadPoolExecutor) -> "OpenedFile":
        """The same, on its way; errors are raised where it is taken."""
        with translate_machine_errors():
            arrow = pool.submit(self.arrow).result
            return OpenedFile(arrow, [pool.submit(index).result for index in self.indices])


@contextmanager
def opened_files(
    storage: Storage, paths: Sequence[str], *, side_by_side: bool
) -> Iterator[list[OpenedFile]]:
    """Open files in their order; what is not taken in the end is given up."""
    files = [OpenedFile.of(storage, path) for path in paths]
    if not side_by_side:
        yield files
        return
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="open")
    try:
        yield [file.begun(pool) for file in files]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
