"""SIGTERM, Ctrl-C and retirement as flags, so that a worker puts its things away first."""

import signal
import time
from types import FrameType
from typing import Final

RETIRE: Final = signal.SIGUSR1  # finish the shard in work, then end; sent by a fleet
_LOOK_S: Final = 0.05


class Flag:
    """A flag that a signal handler may set.

    Unlike `threading.Event` it has no lock: a handler that interrupted the lock's holder, or
    another handler, would wait for ever.
    """

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        """Raise the flag, for good."""
        self._set = True

    def is_set(self) -> bool:
        """Whether it was raised."""
        return self._set

    def wait(self, timeout_s: float) -> bool:
        """Sleep until it is raised, or for so long; whether it was raised."""
        end = time.monotonic() + timeout_s
        while not self._set and (left_s := end - time.monotonic()) > 0:
            time.sleep(min(left_s, _LOOK_S))
        return self._set


class ShutdownFlags:
    """Whether to stop, and how soon.

    Attributes:
        immediate: hand back what is in work, then end.
        idle: end once nothing is in work.
    """

    def __init__(self) -> None:
        self.immediate = Flag()
        self.idle = Flag()

    def listen(self) -> None:
        """Let signals set the flags, in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(RETIRE, self._retire)

    @property
    def wanted(self) -> bool:
        """Whether no further shard is to be begun."""
        return self.immediate.is_set() or self.idle.is_set()

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self.immediate.set()

    def _retire(self, _signal: int, _frame: FrameType | None) -> None:
        self.idle.set()
