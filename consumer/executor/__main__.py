"""Executor process: executes one task after another for its worker.

A worker starts it once, as `python -m consumer.executor PARENT_PID`, because its imports take a
second. It reads commands from stdin and writes events to stdout (`consumer.protocol.events`);
stdout carries nothing else. No output appears unless the worker allows it, and the executor ends
when its worker does.
"""

import contextlib
import errno
import gc
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from functools import cache
from types import FrameType
from typing import BinaryIO, Final, NoReturn

import pyarrow as pa

from braid.exceptions import BraidError
from consumer import heap
from consumer.protocol.events import (
    EXIT_STOPPED,
    Begun,
    Command,
    Done,
    Ending,
    Event,
    Failed,
    FailureKind,
    InputChanged,
    Progress,
    Ready,
    Started,
    StopCommand,
    TaskCommand,
    decode_command,
)
from consumer.protocol.tasks import ConvertTask, Outcome, Task
from consumer.signals import Flag, end_with_parent
from delivery.messages import shortened
from memmodel import process_memory
from runtime import log, log_context, settings
from runtime.errors import (
    ObjectNotFound,
    OutOfMemory,
    PermanentError,
    ShardliftError,
    UnreachableError,
    UsageError,
)
from runtime.machine import machine_error, raise_file_limit, start_thread
from runtime.storage import Storage, open_storage

EXIT_CRASHED: Final = 1
GRACE_S: Final = 2.0  # after SIGTERM, to remove half-written output
PROGRESS_S: Final = 0.3  # between two progress events
REASON_CHARS: Final = 2000
PAGE_BYTES: Final = 4096

_stopping = Flag()

# The first match decides what the worker does next.
_KINDS: Final[tuple[tuple[type[BaseException], FailureKind], ...]] = (
    (MemoryError, "memory"),
    (OutOfMemory, "memory"),
    (InputChanged, "changed"),  # an UnreachableError too
    (UnreachableError, "retryable"),
    (UsageError, "usage"),
    (PermanentError, "permanent"),
    (ObjectNotFound, "permanent"),
    (BraidError, "permanent"),
    (OSError, "retryable"),
)


class PublishRefused(ShardliftError):  # noqa: N818 - an answer, not a fault
    """The worker refused to let the output appear."""

    def __init__(self, command: StopCommand) -> None:
        super().__init__(command.reason)
        self.kind = command.kind


class Channel:
    """Both pipes to the worker; a thread reads commands, so that the worker's end is noticed."""

    def __init__(self, commands: BinaryIO, events: BinaryIO) -> None:
        self._commands = commands
        self._events = events
        self._queue: queue.Queue[Command] = queue.Queue()
        self._thread = threading.Thread(target=self._read, name="commands", daemon=True)

    def open(self) -> None:
        """Start to read commands, and send `started`."""
        start_thread(self._thread)
        self.send(Started())

    def send(self, event: Event) -> None:
        """Write one event; ends the process if the worker is gone."""
        try:
            self._events.write(event.line())
            self._events.flush()
        except BrokenPipeError:
            _end_process()

    def receive(self) -> Command:
        """Wait for the next command."""
        return self._queue.get()

    def _read(self) -> None:
        for line in self._commands:
            self._queue.put(decode_command(line))
        _end_process()


class TaskExecution:
    """Execution of one task: reports progress, asks before publishing, measures the peak."""

    def __init__(self, channel: Channel, task: Task) -> None:
        self._channel = channel
        self._task = task
        self._reported_s = 0.0

    def execute(self) -> Done | Failed:
        """Execute the task; every error becomes a `Failed`."""
        measured = process_memory.reset_peak()
        began, began_cpu = time.monotonic(), time.process_time()
        try:
            with _ballast():
                outcome = self._make_shard()
        except Exception as error:  # noqa: BLE001 - the worker decides what follows
            return Failed(kind=kind_of(error), reason=reason_of(error), peak_bytes=_peak(measured))
        return Done(
            outcome=outcome,
            peak_bytes=_peak(measured),
            seconds=time.monotonic() - began,
            cpu_s=time.process_time() - began_cpu,
        )

    def on_progress(self, chunks: int) -> None:
        """Report the chunks done so far, a few times a second at most."""
        _check_not_stopping()
        now = time.monotonic()
        if now - self._reported_s >= PROGRESS_S:
            self._reported_s = now
            self._channel.send(Progress(chunks=chunks))

    def on_ending(self) -> None:
        """Report that most is done, and memory will only fall."""
        self._channel.send(Ending())

    def confirm(self) -> None:
        """Return when the output may appear.

        Raises:
            PublishRefused: the run was cancelled, or the lease is lost.
        """
        time.sleep(settings.work_pause_s())
        _check_not_stopping()
        self._channel.send(Ready())
        command = self._channel.receive()
        if isinstance(command, StopCommand):
            raise PublishRefused(command)

    def _make_shard(self) -> Outcome:
        task, dest = self._task, _storage(self._task.dest)
        if isinstance(task, ConvertTask):
            from consumer.executor.convert import convert_shard  # noqa: PLC0415 - tests of the pipes need none

            source = _storage(task.source)
            return convert_shard(
                *(task, dest, source, self.confirm, self.on_progress),
                on_ending=self.on_ending,
            )
        from consumer.executor.downsample import downsample_shard  # noqa: PLC0415 - as above

        return downsample_shard(task, dest, self.confirm, self.on_progress)


def serve(channel: Channel) -> NoReturn:
    """Execute one task after another while the worker lives."""
    channel.open()
    while True:
        command = channel.receive()
        if isinstance(command, TaskCommand):
            channel.send(Begun())
            _log_about(command.task)
            result = TaskExecution(channel, command.task).execute()
            _release_memory()  # before the event, after which the worker measures this process
            channel.send(result)


def _log_about(task: Task) -> None:
    """Let all log lines name the shard; threads of libraries log too."""
    run = task.run.rpartition("/")[2]
    log_context.set_for_process(run=run, shard=task.key, tier=task.tier, attempt=task.attempt)


def kind_of(error: BaseException) -> FailureKind:
    """Kind of failure, which decides what the worker does; an unknown error is permanent."""
    if isinstance(error, PublishRefused):
        return error.kind
    if machine_error(error) is not None:
        return "retryable"
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return "memory"
    return next((kind for known, kind in _KINDS if isinstance(error, known)), "permanent")


def reason_of(error: BaseException) -> str:
    """One line for the ledger; an unexpected error names the line of code that raised it."""
    error = machine_error(error) or error
    text = " ".join(str(error).split())
    if hint := getattr(error, "hint", None):
        text = f"{text}. {hint}"
    if not isinstance(error, ShardliftError | BraidError | MemoryError | OSError):
        if settings.log_level() == "debug":
            traceback.print_exception(error, file=sys.stderr)
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(frame.filename)}:{frame.lineno}"  # noqa: PTH119 - a name only
        text = f"unexpected {type(error).__name__} at {where}: {text}"
    elif not text:
        text = type(error).__name__
    return shortened(text, REASON_CHARS)


@cache
def _storage(url: str) -> Storage:
    return open_storage(url)


@contextlib.contextmanager
def _ballast() -> Iterator[None]:
    """Hold the memory that a test sets, so that a small shard can pass its tier's limit."""
    held = bytearray(settings.work_ballast_bytes())
    held[::PAGE_BYTES] = b"\1" * len(held[::PAGE_BYTES])  # untouched pages would cost nothing
    yield
    del held


def _peak(measured: bool) -> int | None:
    return process_memory.peak_bytes() if measured else None


def _release_memory() -> None:
    """Return freed pages to the system, so that the next shard's peak is its own."""
    gc.collect()  # finished threads and their errors refer to each other, and to buffers of a file
    pa.default_memory_pool().release_unused()
    heap.trim()


def _end_process() -> None:
    """Unwind the task, which removes half-written output; end after a grace period in any case."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(EXIT_STOPPED)


def _on_term(_signal: int, _frame: FrameType | None) -> NoReturn:
    _stopping.set()
    raise SystemExit(EXIT_STOPPED)


def _check_not_stopping() -> None:
    """Raise SystemExit again where the signal handler's was swallowed, as in a finalizer."""
    if _stopping.is_set():
        raise SystemExit(EXIT_STOPPED)


def _take_stdio() -> Channel:
    """Reserve both pipes for the channel: libraries print to stderr and read an empty stdin."""
    commands, events = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with open(os.devnull, "rb") as empty:  # noqa: PTH123 - a device
        os.dup2(empty.fileno(), 0)
    return Channel(commands, events)


def run(worker: int) -> NoReturn:
    """Serve the worker of this process id, by stdin and stdout."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the worker
    signal.signal(signal.SIGTERM, _on_term)
    channel = _take_stdio()
    if not end_with_parent(worker):  # the pipe's end is noticed without prctl too
        os._exit(EXIT_STOPPED)
    code = EXIT_STOPPED
    raise_file_limit()
    log.configure()
    try:
        serve(channel)
    except SystemExit:
        pass
    except BaseException:  # noqa: BLE001 - `os._exit` would say nothing
        traceback.print_exc()  # its last line tells the worker why
        code = EXIT_CRASHED
    finally:
        os._exit(code)  # threads of libraries may still run


def main() -> None:
    """Serve the worker whose process id is the first argument."""
    run(int(sys.argv[1]))


if __name__ == "__main__":
    main()
