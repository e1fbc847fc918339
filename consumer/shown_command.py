"""Command that `ps` shows for this process, in the memory where the kernel looks for it.

A forked process would show the command of the one that it was forked from.
"""

import contextlib
import ctypes
import sys
from collections.abc import Sequence
from typing import Final

_ARG_START: Final = 45  # of /proc/PID/stat, counted behind the name


def can_show(command: Sequence[str]) -> bool:
    """Whether there is room for a command."""
    return len(_encoded(command)) <= len(_place())


def show(command: Sequence[str]) -> None:
    """Show a command, as far as there is room."""
    place, shown = _place(), _encoded(command)
    if place and len(shown) <= len(place):
        ctypes.memmove(place.start, shown.ljust(len(place), b"\0"), len(place))


def python_module(module: str, *arguments: str) -> tuple[str, ...]:
    """Command of one of our modules, as it is shown."""
    return (sys.executable, "-m", module, *arguments)


def _place() -> range:
    """Addresses of the arguments that this process was started with; empty where none are known."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open("/proc/self/stat", "rb") as stat:  # noqa: PTH123 - as simple as it gets
            fields = stat.read().rpartition(b")")[2].split()
        return range(int(fields[_ARG_START]), int(fields[_ARG_START + 1]))
    return range(0)


def _encoded(command: Sequence[str]) -> bytes:
    return b"".join(one.encode(errors="surrogateescape") + b"\0" for one in command)
