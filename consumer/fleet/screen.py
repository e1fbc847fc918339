"""Live screen of a fleet: the run it works on, as `enqueue --wait` shows it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from delivery.ledger.run import Run
from delivery.ledger.shard_status import RunStatus
from delivery.messages import now
from delivery.progress import measure
from delivery.progress_display import Display, screen_or_none
from runtime import log, settings, verbosity
from runtime.cli import print_stderr

_BEGINNING: Final = "starting workers"
_LEVEL: Final = "warning"  # what a screen leaves to be logged


class FleetScreen:
    """Shows one run at a time: the first that goes on, then the next.

    Args:
        display: the screen; None: there is none, and nothing is shown.
    """

    def __init__(self, display: Display | None) -> None:
        self._display = display
        self._shown: str | None = None

    def show(self, run: Run, status: RunStatus) -> None:
        """Show a run, unless another is shown that has not ended."""
        if self._display is None or self._shown not in {None, run.uri}:
            return
        self._shown = None if status.ended else run.uri
        self._display.show(measure(run, status, run.heartbeats(), {}, now()))

    @property
    def live(self) -> bool:
        """Whether there is a screen."""
        return self._display is not None


@contextmanager
def fleet_screen() -> Iterator[FleetScreen]:
    """A screen on a terminal, while the block runs; log lines alone with -v, LOG_LEVEL or in pipes.

    While there is one, only warnings are logged, above it, by workers too.
    """
    chosen = verbosity.is_chosen() or settings.LOG_LEVEL in os.environ or settings.log_format()
    display = None if chosen else screen_or_none(_BEGINNING)
    if display is None:
        yield FleetScreen(None)
        return
    settings.set_log_level(_LEVEL)
    os.environ[settings.LOG_FORMAT] = "human"  # of workers, whose stderr is a pipe to this process
    log.configure(level=_LEVEL)
    with display:
        yield FleetScreen(display)


def print_log(line: str) -> None:
    """Print a line of a worker's log above the screen."""
    print_stderr(line)
