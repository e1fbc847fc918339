"""Signals: SIGTERM and SIGINT request immediate shutdown, SIGUSR1 graceful shutdown."""

import contextlib
import ctypes
import os
import signal
import time
from types import FrameType
from typing import Final

RETIRE: Final = signal.SIGUSR1  # sent by a fleet: graceful shutdown
PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_POLL_S: Final = 0.05


class Flag:
    """A flag that a signal handler may set.

    Unlike `threading.Event` it has no lock: a handler that interrupted the lock's holder, or
    another handler, would never return.
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
        """Sleep until the flag is raised or the time is over; whether it was raised."""
        end = time.monotonic() + timeout_s
        while not self._set and (left_s := end - time.monotonic()) > 0:
            time.sleep(min(left_s, _POLL_S))
        return self._set


class ShutdownFlags:
    """Requests to shut down.

    Attributes:
        immediate: release the shard in work, then end.
        graceful: finish the shard in work, then end.
    """

    def __init__(self) -> None:
        self.immediate = Flag()
        self.graceful = Flag()

    def listen(self) -> None:
        """Install the signal handlers; in the main thread only."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(RETIRE, self._on_retire)

    @property
    def wanted(self) -> bool:
        """Whether no further shard may be begun."""
        return self.immediate.is_set() or self.graceful.is_set()

    def _on_stop(self, _signal: int, _frame: FrameType | None) -> None:
        self.immediate.set()

    def _on_retire(self, _signal: int, _frame: FrameType | None) -> None:
        self.graceful.set()


def end_with_parent(parent: int) -> bool:
    """Have the kernel send this process SIGTERM when its parent dies; False if it died already."""
    with contextlib.suppress(AttributeError, OSError):  # only Linux has prctl
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    return os.getppid() == parent
