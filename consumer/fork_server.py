"""Fork server: forks executors that share the memory of what they all import.

A worker with several executors forks it from itself before it has threads (`consumer.early_fork`),
else starts it as `python -m consumer.fork_server PARENT_PID`, with a socket as stdin
(`consumer.protocol.forking`). It imports what executors need, runs a single thread and holds no
connection, so a fork at any request is a clean copy.

It forks twice: the process between ends at once, and the worker, which adopts orphans meanwhile,
becomes the executor's parent. So the worker reaps it and learns its exit code, and an executor
outlives this server but not its worker.
"""

import contextlib
import errno
import importlib
import os
import signal
import socket
import sys
import threading
import time
from typing import Final, NoReturn

from consumer import heap
from consumer.executor import __main__ as executor
from consumer.protocol.events import EXIT_STOPPED
from consumer.protocol.forking import REQUEST, STREAMS, Forked, NotForked, ServerReady
from consumer.shown_command import python_module, show
from consumer.signals import end_with_parent
from runtime.machine import raise_file_limit

WARM_UP: Final = (
    "consumer.executor.convert",
    "consumer.executor.downsample",
    "runtime.storage.gcs",
)
"""Modules that executors import only when they need them."""

_ADOPTION_S: Final = 10.0  # until the worker is the executor's parent; it takes microseconds
_POLL_S: Final = 0.001
_PID_BYTES: Final = 16


def main() -> None:
    """Serve the worker whose process id is the first argument, by the socket that is stdin."""
    requests = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as empty:  # noqa: PTH123 - a device
        os.dup2(empty.fileno(), 0)
    serve(int(sys.argv[1]), requests)


def serve(worker: int, requests: socket.socket) -> None:
    """Fork executors for a worker, until it hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the worker
    if not end_with_parent(worker):
        sys.exit(EXIT_STOPPED)
    raise_file_limit()
    for module in WARM_UP:
        importlib.import_module(module)
    if (threads := _threads()) != 1:
        sys.exit(f"{threads} threads run after the imports, so this process must not fork")
    heap.settle()
    requests.sendall(ServerReady().line())
    while (streams := _receive(requests)) is not None:
        requests.sendall(_fork(worker, requests, streams).line())
        for stream in streams:
            os.close(stream)


def _receive(requests: socket.socket) -> list[int] | None:
    """Streams of the next executor; None once the worker hung up."""
    data, streams, *_ = socket.recv_fds(requests, len(REQUEST), STREAMS)
    return streams if data and len(streams) == STREAMS else None


def _fork(worker: int, requests: socket.socket, streams: list[int]) -> Forked | NotForked:
    """Fork an executor that is the worker's child by the time of the answer."""
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as pipe:  # noqa: PTH123 - a file descriptor
        try:
            between = os.fork()
        except OSError as error:
            os.close(write_end)
            return _not_forked(error)
        if not between:
            pipe.close()
            _end_between(worker, requests, streams, write_end)
        os.close(write_end)
        number = int(pipe.read(_PID_BYTES))
    os.waitpid(between, 0)  # now the worker has adopted the executor
    return Forked(pid=number) if number > 0 else NotForked(errno=-number)


def _end_between(
    worker: int, requests: socket.socket, streams: list[int], write_end: int
) -> NoReturn:
    """In the process between: fork the executor, report its pid or a negative errno, and end."""
    between = os.getpid()
    try:
        number = os.fork()
    except OSError as error:
        number = -_not_forked(error).errno
    if not number:
        os.close(write_end)
        requests.close()
        _become_executor(worker, between, streams)
    os.write(write_end, str(number).encode())
    os._exit(0)


def _become_executor(worker: int, between: int, streams: list[int]) -> NoReturn:
    """In the executor: take its streams, and serve once the worker is the parent."""
    try:
        os.setsid()  # Ctrl-C in a terminal reaches only the worker
        show(python_module("consumer.executor", str(worker)))
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        until_s = time.monotonic() + _ADOPTION_S
        while os.getppid() == between and time.monotonic() < until_s:
            time.sleep(_POLL_S)
        executor.run(worker)
    finally:
        os._exit(executor.EXIT_CRASHED)  # never back into the server's code


def _not_forked(error: OSError) -> NotForked:
    return NotForked(errno=error.errno or errno.EAGAIN)


def _threads() -> int:
    """Threads of this process, those of libraries too."""
    with contextlib.suppress(OSError):
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - the names are not needed
    return threading.active_count()


if __name__ == "__main__":
    main()
