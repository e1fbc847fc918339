"""Ctrl-C and SIGTERM before, in and after a command: exit code 130, and no traceback.

While a screen is drawn, they wait.
Imports next to nothing, because it must come before whatever takes time to import.
"""

import _thread
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType

TYPE_CHECKING = False  # typing's, without its import; type checkers know it
if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_INTERRUPTED = 130  # `runtime.errors.EXIT_INTERRUPTED`
_STDERR = 2
_COMMAND = "shardlift"  # as pyproject.toml installs it
_LATER_S = 0.01  # for Python to leave the code whose exceptions it ignores


def end_when_started_alone() -> None:
    """End at once on Ctrl-C while the program's own modules are imported.

    Called by each program's package; of no effect where the package is imported as a library.
    """
    program = sys.argv[0] if sys.argv else ""
    # "-m": as long as Python looks for the program's `__main__`
    if program == "-m" or program.rpartition("/")[2] == _COMMAND:
        end_at_once()


def end_at_once() -> None:
    """From now on Ctrl-C ends this process; where it is ignored or handled, that stays.

    So does SIGTERM, if `raise_in_command` was called before.
    """
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, _raise):
        signal.signal(signal.SIGINT, _end)
    if signal.getsignal(signal.SIGTERM) is _raise:
        signal.signal(signal.SIGTERM, _end)


def raise_in_command() -> None:
    """From now on Ctrl-C and SIGTERM raise KeyboardInterrupt, so that a command cleans up.

    Python ignores exceptions of destructors, callbacks of weak references and the like: one that is
    raised there is raised once more. Workers install handlers of their own later.
    """
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, _end):
        signal.signal(signal.SIGINT, _raise)
    signal.signal(signal.SIGTERM, _raise)
    previous = sys.unraisablehook

    def repeat(ignored: "UnraisableHookArgs") -> None:
        if ignored.exc_type is KeyboardInterrupt:
            _thread.start_new_thread(_interrupt_later, ())
        else:
            previous(ignored)

    sys.unraisablehook = repeat


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


def _raise(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _interrupt_later() -> None:
    """Send SIGTERM, which no shell makes us ignore, when the ignored exception is forgotten."""
    time.sleep(_LATER_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _end(_signal: int, _frame: FrameType | None) -> None:
    with contextlib.suppress(OSError):  # closed, or full
        os.write(_STDERR, b"interrupted\n")
    os._exit(_INTERRUPTED)
