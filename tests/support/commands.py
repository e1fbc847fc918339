"""Commands run within the test's process, because starting Python takes longer than most of them.

Arguments, environment, output and exit code pass as in a process of its own. Signals, kills and
closed pipes are tested with real processes.
"""

import contextlib
import io
import json
import os
import runpy
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from consumer.signals import RETIRE

_HANDLED = (signal.SIGTERM, signal.SIGINT, RETIRE)  # by the programs


class CommandResult(subprocess.CompletedProcess[str]):
    """Exit code and output of a command."""

    @property
    def document(self) -> Any:  # noqa: ANN401 - JSON
        """The one JSON document on stdout."""
        assert self.stdout, self.stderr
        return json.loads(self.stdout)


def run_in_process(
    program: str, *arguments: str, folder: Path, environment: Mapping[str, str] | None = None
) -> CommandResult:
    """Run `python -m PROGRAM ...` to its end; it must not print a traceback.

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
        _restored_signals(),
    ):
        code = _exit_code(program)
    assert "a bug" not in err.getvalue(), err.getvalue()
    return CommandResult([program, *arguments], code, out.getvalue(), err.getvalue())


def _exit_code(program: str) -> int:
    """Run the program's `__main__`."""
    try:
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # imported before
            runpy.run_module(program, run_name="__main__")
    except SystemExit as ended:
        return int(ended.code or 0)
    raise AssertionError(f"{program} ended without an exit code")


@contextlib.contextmanager
def _restored_signals() -> Iterator[None]:
    """Put the test session's signal handlers back at the end."""
    before = {number: signal.getsignal(number) for number in _HANDLED}
    unraisable_hook = sys.unraisablehook
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = unraisable_hook
