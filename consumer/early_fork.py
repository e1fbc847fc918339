"""Early fork: a worker forks its fork server from itself, before it has threads.

So the worker, the fork server and all executors share the memory of their imports, which is more
than a third of what they need together. Where it is too late for that, or there is no room to show
another command, a fork server is started as a program of its own once it is needed.
"""

import contextlib
import importlib
import os
import signal
import socket
import threading
import traceback
from typing import Final, NoReturn

from consumer import heap
from consumer.shown_command import can_show, python_module, show
from consumer.worker.executor_launch import environment
from consumer.worker.fork_server import Server
from consumer.worker.forked_process import ForkedProcess

SERVER: Final = "consumer.fork_server"
SHARED: Final = "runtime.storage.gcs"
"""Module that worker and executors need where storage is remote."""

EXIT_FAILED: Final = 1
_FIRST_OTHER: Final = 3  # file descriptor behind stdin, stdout and stderr


def fork_early() -> Server | None:
    """Fork the fork server of this worker; None where it has to be a program of its own."""
    importlib.import_module(SHARED)
    if _threads() != 1 or not can_show(python_module(SERVER, str(os.getpid()))):
        return None
    heap.make_lean()
    heap.settle()
    ours, its = socket.socketpair()
    errors, its_errors = os.pipe()
    worker = os.getpid()
    try:
        pid = os.fork()
    except OSError:  # a limit of this machine, which the program would meet, too
        for end in (ours, its):
            end.close()
        os.close(errors)
        os.close(its_errors)
        return None
    if not pid:
        _become_server(worker, its, its_errors)
    its.close()
    os.close(its_errors)
    return Server(ForkedProcess(pid), ours, os.fdopen(errors, "rb"))


def _become_server(worker: int, requests: socket.socket, errors: int) -> NoReturn:
    """In the child: become a process of its own, and serve."""
    try:
        os.setsid()  # Ctrl-C in a terminal reaches only the worker
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        show(python_module(SERVER, str(worker)))
        _take_streams(errors, requests.fileno())
        os.environ.update(environment({**heap.LEAN_ENVIRONMENT, **heap.NO_LIBRARY_THREADS}))
        # Imported only here: the worker needs nothing of executors.
        importlib.import_module(SERVER).serve(worker, requests)
    except SystemExit as end:
        if isinstance(end.code, str):
            os.write(2, f"{end.code}\n".encode())
    except BaseException:  # noqa: BLE001 - the worker is told why
        traceback.print_exc()
    finally:
        os._exit(EXIT_FAILED)  # never back into the worker's code


def _take_streams(errors: int, requests: int) -> None:
    """Keep nothing of the worker's streams; errors go to the worker."""
    with open(os.devnull, "r+b", buffering=0) as empty:  # noqa: PTH123 - a device
        os.dup2(empty.fileno(), 0)
        os.dup2(empty.fileno(), 1)
    os.dup2(errors, 2)
    # Those that are open: up to the limit there may be a thousand million to try.
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - the names are numbers
        if int(name) >= _FIRST_OTHER and int(name) != requests:
            with contextlib.suppress(OSError):  # of this list itself
                os.close(int(name))


def _threads() -> int:
    """Threads of this process, those of libraries too."""
    with contextlib.suppress(OSError):
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - the names are not needed
    return threading.active_count()
