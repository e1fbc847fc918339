"""Launch of an executor process: spawned as a program of its own, with a pipe for each stream."""

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Protocol

from runtime import log
from runtime.interpreter import module_environment
from runtime.machine import translate_start_errors


class ChildProcess(Protocol):
    """A child of this process, as `subprocess.Popen` has it."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    def poll(self) -> int | None:
        """Exit code, or the negative number of a signal; None while it lives."""
        ...

    def wait(self, timeout: float) -> int:
        """The same once it ended; raises `subprocess.TimeoutExpired`."""
        ...

    def terminate(self) -> None:
        """Send SIGTERM, unless it ended."""
        ...


@dataclass(frozen=True)
class Launched:
    """A process that leads its own group, and our ends of its pipes."""

    process: ChildProcess
    stdin: IO[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes]


Launch = Callable[[], Launched]
"""Launches an executor.

Raises:
    MachineError: a limit of this machine does not let it start.
"""


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Environment of executors, and of what forks them."""
    return {**module_environment(), **log.environment(), **more}


def spawn(command: tuple[str, ...], more_environment: Mapping[str, str]) -> Launched:
    """Launch a program; this process's id is appended to its arguments."""
    with translate_start_errors("the executor"):
        process = subprocess.Popen(
            [*command, str(os.getpid())],
            env=environment(more_environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in a terminal reaches only the worker
        )
    assert process.stdin and process.stdout and process.stderr  # noqa: PT018, S101 - PIPE above
    return Launched(process, process.stdin, process.stdout, process.stderr)
