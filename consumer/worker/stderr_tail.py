"""Tail of a process's stderr: its lines are passed on, the last ones kept to tell why it ended."""

import contextlib
import os
import threading
from collections import deque
from typing import IO, Final

from runtime.machine import start_thread
from runtime.text import printable

LINES: Final = 20
CAUSE_CHARS: Final = 300
JOIN_S: Final = 1.0  # to read what a dead process left in the pipe
_STDERR: Final = 2


class StderrTail:
    """Reads a pipe on a thread of its own.

    Args:
        pipe: stderr of the process.
    """

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._lines: deque[bytes] = deque(maxlen=LINES)
        self._thread = threading.Thread(target=self._read, name="stderr", daemon=True)

    def start(self) -> None:
        """Begin to read; raises MachineError without a thread to spare."""
        start_thread(self._thread)

    def cause(self) -> str:
        """The last line, which names the error in a traceback or an abort; empty without any."""
        self._thread.join(JOIN_S)
        for line in reversed(self._lines):
            if text := line.decode(errors="replace").strip():
                return printable(text)[:CAUSE_CHARS]
        return ""

    def _read(self) -> None:
        with self._pipe:
            for line in self._pipe:
                self._lines.append(line)
                with contextlib.suppress(OSError):  # our own stderr is closed or full
                    os.write(_STDERR, line)
