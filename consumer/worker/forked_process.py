"""Forked executor: a child of this process that another process forked for it."""

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Final

PR_SET_CHILD_SUBREAPER: Final = 36  # linux/prctl.h
_LONGEST_POLL_S: Final = 0.05
_adoption = threading.Lock()


class CannotAdopt(Exception):  # noqa: N818 - a lack of the system
    """This system does not let a process adopt orphans."""


@contextlib.contextmanager
def adopting() -> Iterator[None]:
    """Become the parent of what descendants of this process leave behind within `with`.

    Not for longer: other programs that a test or a fleet started would become ours, too.

    Raises:
        CannotAdopt: it is not possible here.
    """
    with _adoption:
        _set_adopting(on=True)
        try:
            yield
        finally:
            _set_adopting(on=False)


class ForkedProcess:
    """A child process, with the part of `subprocess.Popen` that executors need.

    Args:
        pid: its process id.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None
        self._lock = threading.Lock()  # after it is reaped, its number may be another's

    def is_child(self) -> bool:
        """Whether this process was given it to reap, alive or not."""
        try:
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True

    def poll(self) -> int | None:
        """Exit code, or the negative number of a signal; None while it lives."""
        with self._lock:
            return self._reap()

    def wait(self, timeout: float) -> int:
        """The same once it ended.

        Raises:
            subprocess.TimeoutExpired: it still lives.
        """
        until_s, pause_s = time.monotonic() + timeout, 0.0005
        while (code := self.poll()) is None:
            if (left_s := until_s - time.monotonic()) <= 0:
                raise subprocess.TimeoutExpired(f"executor {self.pid}", timeout)
            pause_s = min(2 * pause_s, left_s, _LONGEST_POLL_S)
            time.sleep(pause_s)
        return code

    def terminate(self) -> None:
        """Send SIGTERM, unless it ended."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL, unless it ended."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with self._lock:
            if self._reap() is None:
                os.kill(self.pid, number)

    def _reap(self) -> int | None:
        if self._code is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # reaped by another, which keeps its code
                self._code = 0
            else:
                self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code


def _set_adopting(*, on: bool) -> None:
    try:
        answer = ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)
    except (AttributeError, OSError) as error:  # only Linux has it
        raise CannotAdopt from error
    if answer:
        raise CannotAdopt
