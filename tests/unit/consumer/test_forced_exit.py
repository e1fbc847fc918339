"""Forced exit: a process that the kernel does not let stop in order."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from runtime.errors import EXIT_INTERRUPTED

PROGRAM = """
import ctypes, os, sys, time
from consumer.forced_exit import ForcedExit
from consumer.signals import ShutdownFlags
from runtime import log

def give_back():
    print("given back", flush=True)

log.configure()  # to stderr
flags = ShutdownFlags()
flags.listen()
ForcedExit(flags, 0.2, give_back).watch()
print(os.getpid(), flush=True)
"""

IN_PYTHON = "while True: time.sleep(1)"
# A parent in clone(CLONE_VFORK) waits in the kernel until its child ends; no handler runs.
IN_THE_KERNEL = """
CLONE_VFORK, SIGCHLD = 0x4000, 17
CLONE = 56 if os.uname().machine == "x86_64" else 220
if ctypes.CDLL(None).syscall(CLONE, CLONE_VFORK | SIGCHLD, 0, 0, 0, 0) == 0:
    time.sleep(600)
"""
IN_ORDER = """
while not flags.immediate.is_set(): time.sleep(0.01)
print("in order", flush=True)
"""


@pytest.mark.parametrize("body", [IN_PYTHON, IN_THE_KERNEL])
def test_a_hung_process_gives_its_message_back_and_ends(body: str) -> None:
    """Whether its main thread hangs in a call or is not let go by the kernel."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM + body],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip().isdecimal()
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "given back\n"
        assert process.wait(60) == EXIT_INTERRUPTED
    finally:
        with contextlib.suppress(ProcessLookupError):  # its child has ended too
            os.killpg(process.pid, signal.SIGKILL)


def test_a_process_that_ends_in_order_is_left_alone() -> None:
    """Nothing is given back twice."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.replace("0.2", "60") + IN_ORDER],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[0] == "in order\n"
    assert process.returncode == 0
