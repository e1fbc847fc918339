"""Terminal for programs that ask: a pseudo-terminal of a given size, read and typed into."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

ROOT: Final = Path(__file__).resolve().parents[2]
INTERRUPT: Final = "\x03"
# The terminal becomes the session's own, so that its Ctrl-C reaches the program.
_OWN_TERMINAL: Final = (
    "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)
_CODES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[78]|\r(?!\n)")
_WAIT_S: Final = 60.0  # a slow machine is not a fault
_END_S: Final = 10.0


class Terminal:
    """A program in a session of its own, whose terminal this is.

    Args:
        command: the program and its arguments.
        folder: its working directory.
        environment: the whole of it.
        size: columns and lines.
    """

    def __init__(
        self,
        *command: str,
        folder: Path,
        environment: Mapping[str, str],
        size: tuple[int, int] = (80, 24),
    ) -> None:
        self.raw = b""
        self._seen = 0  # of the text, by `expect`
        self._ours, theirs = pty.openpty()
        columns, lines = size
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", _OWN_TERMINAL, *command],
            cwd=folder,
            env={**environment, "TERM": "xterm-256color", "COLUMNS": str(columns)},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._ours)

    @property
    def text(self) -> str:
        """All that was shown, without colours and movements of the cursor."""
        shown = _CODES.sub("", self.raw.decode("utf-8", "replace"))
        return shown.replace("\r\n", "\n")

    def expect(self, part: str) -> str:
        """Wait until a text is shown after what was expected before; what came before it."""
        ends_s = time.monotonic() + _WAIT_S
        while (found := self.text.find(part, self._seen)) < 0:
            if not self._read(ends_s - time.monotonic()):
                raise AssertionError(f"{part!r} is not shown:\n{self.text[self._seen :]}")
        before = self.text[self._seen : found]
        self._seen = found + len(part)
        return before

    def type(self, text: str) -> None:
        """Type a line, or the key of INTERRUPT."""
        os.write(self._ours, text.encode() if text == INTERRUPT else f"{text}\n".encode())

    def end(self) -> int:
        """Exit code, once the program has ended by itself."""
        ends_s = time.monotonic() + _WAIT_S
        while self._read(ends_s - time.monotonic()):
            pass
        try:
            return self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the program goes on:\n{self.text[self._seen :]}") from None

    def _read(self, timeout_s: float) -> bool:
        """Read what is shown next; False at the end, or if nothing more comes."""
        if not select.select([self._ours], [], [], max(0.0, timeout_s))[0]:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # no program has it open any more
            return False
        self.raw += data
        return bool(data)
