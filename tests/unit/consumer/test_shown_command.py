"""Command that is shown for a process."""

import subprocess
import sys

import pytest

from consumer.shown_command import can_show, python_module

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows it in memory")

SHOW = """
import sys, psutil
from consumer.shown_command import can_show, show
command = sys.argv[1].split() * int(sys.argv[2])
print(can_show(command))
show(command)
print(*psutil.Process().cmdline()[:2])
"""


def shown(command: str, times: int = 1) -> list[str]:
    """Whether a command of its words, so many times, fits; and two words that are shown then."""
    done = subprocess.run(
        [sys.executable, "-c", SHOW, command, str(times)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_a_command_is_shown() -> None:
    """In place of the one that the process was started with."""
    assert shown("another command") == ["True", "another command"]


def test_one_without_room_is_not_shown() -> None:
    """Nothing behind the arguments is written to."""
    fits, words = shown("long", 10_000)
    assert (fits, words.split()[0]) == ("False", sys.executable)


def test_a_module_s_command() -> None:
    """As a shell would have it."""
    assert python_module("a.b", "1") == (sys.executable, "-m", "a.b", "1")
    assert not can_show(["x" * 1_000_000])
