"""Signals: shutdown flags, and the end of a process with its parent."""

import os
import signal
import subprocess
import sys
import time

import pytest

from consumer.signals import RETIRE, ShutdownFlags, end_with_parent


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, RETIRE])
def test_signals_set_flags(number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C request an immediate, SIGUSR1 a graceful shutdown."""
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, RETIRE)}
    flags = ShutdownFlags()
    try:
        flags.listen()
        os.kill(os.getpid(), number)
        assert flags.wanted
        assert flags.immediate.is_set() == (number is not RETIRE)
    finally:
        for known, handler in before.items():
            signal.signal(known, handler)


STORMY = """
import time
from consumer.signals import ShutdownFlags
flags = ShutdownFlags()
flags.listen()
print("listening", flush=True)
end = time.monotonic() + 2
while time.monotonic() < end:
    flags.immediate.wait(0.001)
    flags.wanted
print("still here", flush=True)
"""


def test_signals_that_interrupt_handlers_never_deadlock() -> None:
    """Very many SIGTERMs, each possibly in the middle of the last one's handler."""
    process = subprocess.Popen([sys.executable, "-c", STORMY], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "listening\n"
    storm_end = time.monotonic() + 1.5
    while time.monotonic() < storm_end:
        process.send_signal(signal.SIGTERM)
        process.send_signal(RETIRE)
    try:
        assert process.communicate(timeout=60)[0] == "still here\n"
    finally:
        process.kill()


def test_a_process_ends_with_its_parent() -> None:
    """The kernel sends SIGTERM; a parent that died before is noticed."""
    program = (
        "import os, signal; from consumer.signals import end_with_parent; "
        "print(end_with_parent(os.getppid()), end_with_parent(1), flush=True); signal.pause()"
    )
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {program!r}])"
    parent = subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "True False\n"
    parent.kill()
    assert parent.stdout.read() == ""  # the child ended too, which closed the pipe
    parent.wait()


def test_without_prctl_only_the_parent_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on systems other than Linux."""
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert end_with_parent(os.getppid())
    assert not end_with_parent(os.getpid())
