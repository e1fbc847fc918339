"""Files of an export read side by side: a remote file is mostly waiting.

Results come in the order of the files, and only those of a few files are held.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Final, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from braid.parallel.ordered_map import ordered_map
from producer.render import duration
from runtime.cli import print_stderr
from runtime.verbosity import is_quiet

_QUEUED: Final = 2  # files per worker in work or waiting
_LINE_S: Final = 30  # between lines of progress where there is no terminal

T = TypeVar("T")
R = TypeVar("R")


def read_files(
    work: Callable[[T], R], files: Sequence[T], workers: int, description: str
) -> Generator[R]:
    """Yield `work(file)` for each file, in order, with progress and the time left on stderr.

    Args:
        work: called by several threads.
        files: what to read.
        workers: number of threads.
        description: of the progress.
    """
    prefetch = _QUEUED * workers
    with closing(ordered_map(work, files, workers, prefetch, name="files")) as results:
        yield from _with_progress(description, results, len(files))


def _with_progress(description: str, results: Iterable[R], total: int) -> Iterator[R]:
    console = Console(stderr=True, quiet=is_quiet())
    if not console.is_terminal:
        yield from _with_lines(description, results, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        yield from bars.track(results, total=total, description=description)


def _with_lines(description: str, results: Iterable[R], total: int) -> Iterator[R]:
    """Print a line every half minute, for logs and pipes."""
    began = printed = time.monotonic()
    for done, result in enumerate(results, 1):
        yield result
        now = time.monotonic()
        if now - printed >= _LINE_S and done < total:
            left = duration((now - began) / done * (total - done))
            print_stderr(f"{description}: {done:,} of {total:,} files, about {left} left")
            printed = now
