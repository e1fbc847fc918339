"""Limits of this machine that no shard causes: threads, processes and file handles."""

import contextlib
import errno
import threading
from collections.abc import Iterator
from typing import Final

from runtime.errors import MachineError

_NO_THREAD: Final = "can't start new thread"  # CPython's text; it has no type of its own
_NO_FILE: Final = {errno.EMFILE, errno.ENFILE}
_FEW_FILES: Final = "raise the limit of open files (ulimit -n); then the same command continues"
_FEW_PROCESSES: Final = (
    "raise the limit of processes and threads (ulimit -u, or the container's pids limit), or run "
    "fewer workers (--cpus); then the same command continues"
)


def machine_error(error: BaseException) -> MachineError | None:
    """The error of a limit of this machine, if it is one, whatever raised it."""
    if isinstance(error, MachineError):
        return error
    if isinstance(error, RuntimeError) and _NO_THREAD in str(error):
        return MachineError("this machine has no thread to spare", hint=_FEW_PROCESSES)
    if isinstance(error, OSError):
        return os_machine_error(error)
    return None


def os_machine_error(error: OSError, what: str = "") -> MachineError | None:
    """The error of a limit of file handles, if it is one.

    Args:
        error: of the system.
        what: that could not be opened.
    """
    if error.errno not in _NO_FILE:
        return None
    name = what or str(error.filename or "")
    where = f": {name}" if name else ""
    return MachineError(f"too many files are open for this machine{where}", hint=_FEW_FILES)


def start_thread(thread: threading.Thread) -> None:
    """Start a thread.

    Raises:
        MachineError: this machine has none to spare.
    """
    with translate_machine_errors():
        thread.start()


@contextlib.contextmanager
def translate_machine_errors() -> Iterator[None]:
    """Raise MachineError for errors of this machine's limits; others as they are."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        found = machine_error(error)
        if found is None:
            raise
        raise found from error


@contextlib.contextmanager
def translate_start_errors(program: str) -> Iterator[None]:
    """Raise MachineError, with the cause, where a program cannot be started.

    Args:
        program: as the error names it.
    """
    try:
        yield
    except OSError as error:
        hint = None
        if found := machine_error(error):
            hint = found.hint
        elif error.errno == errno.EAGAIN:
            hint = _FEW_PROCESSES
        elif error.errno == errno.ENOMEM:
            hint = "free some memory, or run fewer workers (--cpus)"
        cause = error.strerror or str(error)
        raise MachineError(f"{program} cannot be started: {cause}", hint=hint) from error


def file_limit() -> int | None:
    """Files that a process may open, once it has raised its limit; None without a limit."""
    try:
        import resource  # noqa: PLC0415 - only Unix has it

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    except (ImportError, OSError):
        return None
    return None if most == resource.RLIM_INFINITY else most


def raise_file_limit() -> None:
    """Let this process and its children open as many files as the system allows them."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # another system
        import resource  # noqa: PLC0415 - only Unix has it

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
