"""SIGTERM, Ctrl-C and retirement as flags, so that a worker puts its things away first."""

import signal
import threading
from types import FrameType
from typing import Final

RETIRE: Final = signal.SIGUSR1  # finish the shard in work, then end; sent by a fleet


class StopFlags:
    """Whether to stop, and how soon.

    Attributes:
        at_once: hand back what is in work, then end.
        idle: end once nothing is in work.
    """

    def __init__(self) -> None:
        self.at_once = threading.Event()
        self.idle = threading.Event()

    def listen(self) -> None:
        """Let signals set the flags, in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(RETIRE, self._retire)

    @property
    def wanted(self) -> bool:
        """Whether no further shard is to be begun."""
        return self.at_once.is_set() or self.idle.is_set()

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self.at_once.set()

    def _retire(self, _signal: int, _frame: FrameType | None) -> None:
        self.idle.set()
