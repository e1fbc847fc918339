"""Client of the fork server: executors that share the memory of their imports.

Where they cannot be forked (another system than Linux, a library with a thread of its own, a
sandbox without adoption), each is a program of its own as with a single executor.
"""

import contextlib
import errno
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from typing import IO, Final, Protocol

from pydantic import ValidationError

from consumer.heap import LEAN_ENVIRONMENT, NO_LIBRARY_THREADS
from consumer.protocol.forking import (
    LINE_BYTES,
    REQUEST,
    STREAMS,
    Answer,
    Forked,
    NotForked,
    ServerReady,
    decode_answer,
)
from consumer.worker.executor_launch import Launched, environment, spawn
from consumer.worker.forked_process import CannotAdopt, ForkedProcess, adopting
from consumer.worker.stderr_tail import StderrTail
from runtime import log, log_events
from runtime.errors import MachineError
from runtime.interpreter import module_command
from runtime.machine import translate_start_errors

START_S: Final = 60.0  # for the imports, on a busy machine; also for an answer
END_S: Final = 1.0  # after SIGKILL
COMMAND: Final = module_command("consumer.fork_server")
EXECUTOR: Final = module_command("consumer.executor")

_TRIES: Final = 2  # the server may have been killed since the last request

_NOT_ADOPTED: Final = "this system does not let a worker adopt processes"

_log = log.get()


class _CannotFork(Exception):  # noqa: N818 - executors are spawned then
    """No executor can be forked."""


class ServerProcess(Protocol):
    """A child of this process, as `subprocess.Popen` has it."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    def kill(self) -> None:
        """Send SIGKILL, unless it ended."""
        ...

    def wait(self, timeout: float) -> int:
        """Exit code; raises `subprocess.TimeoutExpired`."""
        ...


class ForkServer:
    """A fork server, started when first needed and again after its end.

    Args:
        command: the program; this process's id is appended.
        early: a server that was forked from this process.
    """

    def __init__(
        self, command: tuple[str, ...] = COMMAND, *, early: "Server | None" = None
    ) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._server = early
        self._forks = True

    @property
    def pid(self) -> int | None:
        """The server's process id, None while there is none."""
        server = self._server
        return server.pid if server else None

    def launch(self) -> Launched:
        """Launch an executor: forked, else as a program of its own.

        Raises:
            MachineError: a limit of this machine does not let it start.
        """
        with self._lock:
            if self._forks:
                try:
                    return self._fork()
                except _CannotFork as error:
                    self._forks = False
                    _log.warning(log_events.EXECUTORS_NOT_FORKED, reason=str(error))
                    self._stop()
        return spawn(EXECUTOR, LEAN_ENVIRONMENT)

    def close(self) -> None:
        """End the server; executors that it forked go on."""
        with self._lock:
            self._stop()

    def _fork(self) -> Launched:
        for _ in range(_TRIES):
            server = self._server = self._server or _spawned(self._command)
            with contextlib.suppress(OSError, ValidationError):  # it ended, or hangs
                return server.fork()
            self._stop()
        raise _CannotFork("the fork server ended twice at a request")

    def _stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None


class Server:
    """One server process, which may not be ready yet.

    Args:
        process: a child of this one.
        requests: our end of its socket.
        errors: its stderr.
    """

    def __init__(self, process: ServerProcess, requests: socket.socket, errors: IO[bytes]) -> None:
        self._process = process
        self._socket = requests
        self._stderr = StderrTail(errors)
        self._ready = False
        requests.settimeout(START_S)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def fork(self) -> Launched:
        """Have an executor forked, which is this process's child.

        Raises:
            OSError: the server ended, or does not answer.
            MachineError: a limit of this machine.
        """
        self._wait_until_ready()
        ours, its = _pipes()
        try:
            with _cannot_fork_without_adoption(), adopting():
                socket.send_fds(self._socket, [REQUEST], its)
                answer = self._receive()
        except BaseException:
            _close(ours)
            raise
        finally:
            _close(its)
        process = ForkedProcess(answer.pid) if isinstance(answer, Forked) else None
        if process is None or not process.is_child():
            _close(ours)
            raise _CannotFork(_NOT_ADOPTED) if process else _machine_error(answer)
        stdin, stdout, stderr = ours
        return Launched(
            process,
            os.fdopen(stdin, "wb"),
            os.fdopen(stdout, "rb"),
            os.fdopen(stderr, "rb"),
        )

    def stop(self) -> None:
        """Kill the server: it holds nothing that could be lost."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        self._socket.close()

    def _wait_until_ready(self) -> None:
        if self._ready:
            return
        self._stderr.start()
        with contextlib.suppress(OSError, ValidationError):
            self._ready = isinstance(self._receive(), ServerReady)
        if not self._ready:
            self._process.kill()
            raise _CannotFork(self._stderr.cause() or "the fork server did not start")

    def _receive(self) -> Answer:
        """The next answer; of none a ValidationError."""
        return decode_answer(self._socket.recv(LINE_BYTES))


def _spawned(command: tuple[str, ...]) -> Server:
    """A server that is a program of its own.

    Raises:
        MachineError: a limit of this machine does not let it start.
    """
    ours, its = socket.socketpair()
    with its, translate_start_errors("the fork server"):
        process = subprocess.Popen(
            [*command, str(os.getpid())],
            env=environment({**LEAN_ENVIRONMENT, **NO_LIBRARY_THREADS}),
            stdin=its.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in a terminal reaches only the worker
        )
    assert process.stderr  # noqa: S101 - PIPE above
    return Server(process, ours, process.stderr)


def _pipes() -> tuple[list[int], list[int]]:
    """Our ends and the executor's of its stdin, stdout and stderr."""
    pairs: list[tuple[int, int]] = []
    try:
        with translate_start_errors("the executor"):
            pairs.extend(os.pipe() for _ in range(STREAMS))
    except BaseException:
        _close([end for pair in pairs for end in pair])
        raise
    (its_in, our_in), (our_out, its_out), (our_err, its_err) = pairs
    return [our_in, our_out, our_err], [its_in, its_out, its_err]


def _close(ends: list[int]) -> None:
    for end in ends:
        os.close(end)


@contextlib.contextmanager
def _cannot_fork_without_adoption() -> Iterator[None]:
    try:
        yield
    except CannotAdopt:
        raise _CannotFork(_NOT_ADOPTED) from None


def _machine_error(answer: Answer) -> MachineError:
    """The error of a fork that failed, as of a program that cannot be started."""
    number = answer.errno if isinstance(answer, NotForked) else errno.EPROTO
    try:
        with translate_start_errors("the executor"):
            raise OSError(number, os.strerror(number))
    except MachineError as error:
        return error
