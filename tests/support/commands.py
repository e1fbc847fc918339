"""The programs run inside the test's own process, because a start takes longer than most commands.

Arguments, environment, output and exit code go the same way as in a process of its own. What a
process does as such (signals, being killed, a pipe that closes) is tested with real ones.
"""

import contextlib
import io
import os
import runpy
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest import mock

from consumer.signals import RETIRE

_TAKEN = (signal.SIGTERM, signal.SIGINT, RETIRE)  # by programs, for themselves


def run_here(
    program: str, *arguments: str, folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What `python -m PROGRAM ...` does in a folder, to its end; never a traceback.

    Args:
        program: producer, consumer, ...
        arguments: of the command line.
        folder: the current directory meanwhile.
        environment: the whole of it; None: ours.
    """
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", [program, *arguments]),
        mock.patch.dict(os.environ, environment or {}, clear=environment is not None),
        _same_signals(),
    ):
        code = _exit_code(program)
    assert "a bug" not in err.getvalue(), err.getvalue()
    return subprocess.CompletedProcess([program, *arguments], code, out.getvalue(), err.getvalue())


def _exit_code(program: str) -> int:
    """Run its `__main__`."""
    try:
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # imported before
            runpy.run_module(program, run_name="__main__")
    except SystemExit as ended:
        return int(ended.code or 0)
    raise AssertionError(f"{program} did not say how it ended")


@contextlib.contextmanager
def _same_signals() -> Iterator[None]:
    """Afterwards signals are the test session's again."""
    before = {number: signal.getsignal(number) for number in _TAKEN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
