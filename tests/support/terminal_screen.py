"""A terminal of a given size, on which commands run; what it shows at the end, and ever showed."""

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyte

from tests.support.workspace import clean_environment

ROWS = 40
_PIECE_BYTES = 512  # far less than a screen: no line scrolls out of sight before it is noted
_CTRL_C = b"\x03"
_NOT_SET = ("COLUMNS", "LINES", "LOG_FORMAT", "LOG_LEVEL", "NO_COLOR")


@dataclass(frozen=True)
class Shown:
    """What a command left on a terminal.

    Attributes:
        lines: at the end, without blanks on their right.
        seen: everything that was ever shown, screen after screen.
        exit_code: of the command.
    """

    lines: Sequence[str]
    seen: str
    exit_code: int


def run_on_terminal(
    command: Sequence[str],
    folder: Path,
    *,
    columns: int = 80,
    interrupt_at: Callable[[str], bool] = lambda _: False,
    **environment: str,
) -> Shown:
    """Run a command on a terminal until it ends.

    Args:
        command: the program and its arguments.
        folder: the current directory.
        columns: of the terminal.
        interrupt_at: given what is shown; once it says so, Ctrl-C is typed.
        environment: more variables.
    """
    leader, follower = pty.openpty()
    fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=_of_a_terminal() | environment,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        preexec_fn=_take_terminal,  # noqa: PLW1509 - one call of the system, before any thread
    )
    os.close(follower)
    screen = pyte.Screen(columns, ROWS)
    stream, seen, interrupted = pyte.ByteStream(screen), [""], False
    with contextlib.suppress(OSError):  # the terminal's end
        while piece := os.read(leader, _PIECE_BYTES):
            stream.feed(piece)
            shown = "\n".join(line.rstrip() for line in screen.display)
            seen += [shown] if shown != seen[-1] else []
            if not interrupted and interrupt_at(shown):
                interrupted = True
                os.write(leader, _CTRL_C)  # the terminal echoes it, and interrupts the program
    os.close(leader)
    code = process.wait(60)
    return Shown([line.rstrip() for line in screen.display], "\n\n".join(seen), code)


def _of_a_terminal() -> dict[str, str]:
    """The environment without what would outdo the terminal's own size and log format."""
    kept = clean_environment() | {"TERM": "xterm-256color"}
    return {name: value for name, value in kept.items() if name not in _NOT_SET}


def _take_terminal() -> None:
    """Let the terminal on stdin be the new process's own, so that it gets signals of keys."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
