"""Reports of a worker to the fleet that started it, on stdout."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Final

import typer

from consumer.fleet.worker_process import WorkerReport
from consumer.signals import end_with_parent
from delivery.messages import shortened
from runtime.errors import EXIT_INTERRUPTED, ShardliftError

_ERROR_CHARS: Final = 600  # of a report, which must fit into the pipe at once
_STDOUT: Final = 1

Report = Callable[[WorkerReport], None]


def reporter(owner: int | None) -> Report:
    """Print reports for the fleet, and end with it; without a fleet, print nothing.

    Args:
        owner: process id of the fleet.
    """
    if owner is None:
        return lambda _: None
    if not end_with_parent(owner):  # the fleet died while this process started
        raise typer.Exit(EXIT_INTERRUPTED)

    os.set_blocking(_STDOUT, False)

    def report(status: WorkerReport) -> None:
        # A fleet that is frozen reads nothing: its workers go on without their reports.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(_STDOUT, status.line().encode())

    return report


def error_report(text: str) -> WorkerReport:
    """Report of what keeps the worker from its work."""
    return WorkerReport(error=shortened(text, _ERROR_CHARS))


@contextlib.contextmanager
def reported(report: Report) -> Iterator[None]:
    """Report the error that ends this worker, so that its fleet can name the cause."""
    try:
        yield
    except ShardliftError as error:
        report(error_report(". ".join(filter(None, (str(error), error.hint)))))
        raise
    except (OSError, MemoryError) as error:
        report(error_report(str(error) or type(error).__name__))
        raise
