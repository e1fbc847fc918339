"""Ctrl-C while a program starts, and after its command: exit code 130, and no traceback.

While a screen is drawn, Ctrl-C waits.
Imports next to nothing, because it must come before whatever takes time to import.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

_INTERRUPTED = 130  # `runtime.errors.EXIT_INTERRUPTED`
_STDERR = 2


def end_when_started_alone() -> None:
    """End at once on Ctrl-C while the program's own modules are imported.

    Called by each program's package; of no effect where the package is imported as a library.
    """
    if sys.argv[:1] == ["-m"]:  # as long as Python looks for the program's `__main__`
        end_at_once()


def end_at_once() -> None:
    """From now on Ctrl-C ends this process; where it is ignored or handled, that stays."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def raise_again() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt again, so that a command cleans up."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back while the block runs; they come right after it.

    Of no effect in other threads than the main one, which signals do not interrupt.
    """
    came: list[int] = []
    previous = {}
    with contextlib.suppress(ValueError):  # not the main thread
        for one in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(one)
            if callable(handler):  # neither ignored nor the system's own way
                signal.signal(one, lambda number, _frame: came.append(number))
                previous[one] = handler
    try:
        yield
    finally:
        for one, handler in previous.items():
            signal.signal(one, handler)
        for number in came[:1]:
            signal.raise_signal(number)


def _end(_signal: int, _frame: FrameType | None) -> None:
    with contextlib.suppress(OSError):  # closed, or full
        os.write(_STDERR, b"interrupted\n")
    os._exit(_INTERRUPTED)
