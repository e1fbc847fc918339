"""Forced exit: ends a process that was asked to stop and cannot, since a file system never answers.

Signal handlers run on the main thread. A call that the kernel does not return from keeps it from
running them, so a thread watches for the signal itself. The kernel may keep the hung thread for as
long as the file system hangs; everything else of the process is gone.
"""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from consumer.signals import ShutdownFlags
from runtime import log, log_events
from runtime.errors import EXIT_INTERRUPTED, ShardliftError
from runtime.machine import start_thread

WORKER_S: Final = 6.0  # for an orderly end; its fleet, or Cloud Run, kills it after eight or ten
FLEET_S: Final = 11.0  # ... which gives its workers eight seconds
GIVE_BACK_S: Final = 1.5  # to release the message in work
POLL_S: Final = 0.5
_STATUS: Final = Path("/proc/self/status")
_STOP: Final = (signal.SIGTERM, signal.SIGINT)

_log = log.get()


class ForcedExit:
    """Watches for a stop signal; some seconds after it, ends the process.

    Args:
        flags: of the process.
        after_s: from the signal on.
        give_back: releases the message in work, called before the exit.
    """

    def __init__(
        self, flags: ShutdownFlags, after_s: float, give_back: Callable[[], None] = lambda: None
    ) -> None:
        self._flags = flags
        self._after_s = after_s
        self._give_back = give_back

    def watch(self) -> None:
        """Begin to watch, for the rest of the process; to be called on the main thread."""
        self._signals, wake = os.pipe()  # pipe2 is not on every system
        for end in (self._signals, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)  # written before any handler runs
        start_thread(threading.Thread(target=self._watch, name="forced exit", daemon=True))

    def _watch(self) -> None:
        while not (self._flags.immediate.is_set() or self._signalled() or _stop_pending()):
            pass
        time.sleep(self._after_s)
        _log.warning(log_events.SHUTDOWN_FORCED, seconds=self._after_s)
        with contextlib.suppress(ShardliftError):  # no thread left: the lease ends by itself
            giving = threading.Thread(target=self._try_to_give_back, daemon=True)
            start_thread(giving)
            giving.join(GIVE_BACK_S)
        os._exit(EXIT_INTERRUPTED)

    def _try_to_give_back(self) -> None:
        with contextlib.suppress(ShardliftError):
            self._give_back()

    def _signalled(self) -> bool:
        """Wait a moment for signals; whether one of them was a stop."""
        if not select.select([self._signals], [], [], POLL_S)[0]:
            return False
        return any(number in _STOP for number in os.read(self._signals, 4096))


def _stop_pending() -> bool:
    """Whether a stop signal waits for a main thread that is in the kernel's hands."""
    with contextlib.suppress(OSError, ValueError):
        for line in _STATUS.read_text().splitlines():
            name, _, mask = line.partition(":")
            if name in {"SigPnd", "ShdPnd"}:
                pending = int(mask, 16)
                if any(pending >> (number - 1) & 1 for number in _STOP):
                    return True
    return False
