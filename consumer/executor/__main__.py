"""The work process: does one shard at a time for its worker, and stays for the next.

Started once by `consumer.worker.executor_client` as `python -m consumer.executor PARENT_PID`,
because its imports cost a second. It speaks `consumer.protocol.events` over stdin and stdout;
stdout carries nothing else. It publishes nothing that the worker did not allow, and stops by
itself when the worker is gone.
"""

import contextlib
import ctypes
import errno
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
from consumer.protocol.events import (
    Done,
    Failed,
    FailureKind,
    Progress,
    PublishCommand,
    Ready,
    Started,
    StopCommand,
    TaskCommand,
    decode_command,
)
from consumer.protocol.tasks import ConvertTask, DownsampleTask, Outcome
from consumer.signals import Flag
from memmodel import process_memory
from runtime import settings
from runtime.errors import (
    ObjectNotFound,
    OutOfMemory,
    PermanentError,
    ShardliftError,
    UnreachableError,
    UsageError,
)
from runtime.storage import Storage, open_storage

EXIT_STOPPED: Final = 143  # as a shell reports SIGTERM
GRACE_S: Final = 2.0  # for taking away what is half-written, once told to stop
PROGRESS_S: Final = 0.3  # between two progress lines
REASON_CHARS: Final = 2000
PAGE_BYTES: Final = 4096
PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h

_told_to_stop = Flag()

Order = TaskCommand | PublishCommand | StopCommand
Event = Started | Progress | Ready | Done | Failed

# The first that matches names what the worker does next.
_KINDS: Final[tuple[tuple[type[BaseException], FailureKind], ...]] = (
    (MemoryError, "memory"),
    (OutOfMemory, "memory"),
    (UnreachableError, "retryable"),
    (UsageError, "usage"),
    (PermanentError, "permanent"),
    (ObjectNotFound, "permanent"),
    (BraidError, "permanent"),
    (OSError, "retryable"),
)


class Refused(ShardliftError):  # noqa: N818 - an answer, not a fault
    """The worker does not let the output appear."""

    def __init__(self, order: StopCommand) -> None:
        super().__init__(order.reason)
        self.kind = order.kind


class Channel:
    """Both pipes to the worker. A thread reads orders, so that the worker's end is noticed."""

    def __init__(self, orders: BinaryIO, events: BinaryIO) -> None:
        self._orders = orders
        self._events = events
        self._queue: queue.Queue[Order] = queue.Queue()
        self._thread = threading.Thread(target=self._read, name="orders", daemon=True)

    def open(self) -> None:
        """Begin to listen, and say that the program is up."""
        self._thread.start()
        self.send(Started())

    def send(self, event: Event) -> None:
        """Write one event; a worker that is gone ends the program."""
        try:
            self._events.write(event.line())
            self._events.flush()
        except BrokenPipeError:
            _stop_self()

    def receive(self) -> Order:
        """Wait for the next order."""
        return self._queue.get()

    def _read(self) -> None:
        for line in self._orders:
            self._queue.put(decode_command(line))
        _stop_self()


class Work:
    """One shard: counts progress, asks before publishing, measures the peak."""

    def __init__(self, channel: Channel, task: ConvertTask | DownsampleTask) -> None:
        self._channel = channel
        self._task = task
        self._told_s = 0.0

    def do(self) -> Done | Failed:
        """The work, and what came of it."""
        measured = process_memory.reset_peak()
        began, began_cpu = time.monotonic(), time.process_time()
        try:
            with _ballast():
                outcome = work_on(self._task, self)
        except Exception as error:  # noqa: BLE001 - whatever it was, the worker has to be told
            return Failed(kind=kind_of(error), reason=reason_of(error), peak_bytes=_peak(measured))
        return Done(
            outcome=outcome,
            peak_bytes=_peak(measured),
            seconds=time.monotonic() - began,
            cpu_s=time.process_time() - began_cpu,
        )

    def progress(self, chunks: int) -> None:
        """Tell the worker how many chunks are done, a few times a second at most."""
        _check_not_stopped()
        now = time.monotonic()
        if now - self._told_s >= PROGRESS_S:
            self._told_s = now
            self._channel.send(Progress(chunks=chunks))

    def confirm(self) -> None:
        """Return when the output may appear.

        Raises:
            Refused: it may not; the run was cancelled, or the lease is lost.
        """
        time.sleep(settings.work_pause_s())
        _check_not_stopped()
        self._channel.send(Ready())
        order = self._channel.receive()
        if isinstance(order, StopCommand):
            raise Refused(order)


def work_on(task: ConvertTask | DownsampleTask, work: Work) -> Outcome:
    """Make the task's shard."""
    dest = _storage(task.dest)
    if isinstance(task, ConvertTask):
        from consumer.executor.convert import convert_shard  # noqa: PLC0415 - tests of the pipes need none

        return convert_shard(task, dest, _storage(task.source), work.confirm, work.progress)
    from consumer.executor.downsample import downsample_shard  # noqa: PLC0415 - as above

    return downsample_shard(task, dest, work.confirm, work.progress)


def serve(channel: Channel) -> NoReturn:
    """Do one task after another, for as long as the worker lives."""
    channel.open()
    while True:
        order = channel.receive()
        if isinstance(order, TaskCommand):
            result = Work(channel, order.task).do()
            _give_back_memory()  # before the answer, after which the worker looks at our size
            channel.send(result)


def kind_of(error: BaseException) -> FailureKind:
    """What the worker has to do about an error; one that nobody foresaw is permanent."""
    if isinstance(error, Refused):
        return error.kind
    if getattr(error, "input_changed", False):
        return "changed"
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return "memory"
    return next((kind for known, kind in _KINDS if isinstance(error, known)), "permanent")


def reason_of(error: BaseException) -> str:
    """One line for the ledger; an unforeseen error also says where it came from."""
    text = " ".join(str(error).split())
    if hint := getattr(error, "hint", None):
        text = f"{text} ({hint})"
    if not isinstance(error, ShardliftError | BraidError | MemoryError | OSError):
        if settings.log_level() == "debug":
            traceback.print_exception(error, file=sys.stderr)
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(place.filename)}:{place.lineno}"  # noqa: PTH119 - a name only
        text = f"unexpected {type(error).__name__} at {where}: {text}"
    elif not text:
        text = type(error).__name__
    return text[:REASON_CHARS]


@cache
def _storage(url: str) -> Storage:
    return open_storage(url)


@contextlib.contextmanager
def _ballast() -> Iterator[None]:
    """Hold as much memory as a test asks for, so that a small shard can be too big."""
    held = bytearray(settings.work_ballast_bytes())
    held[::PAGE_BYTES] = b"\1" * len(held[::PAGE_BYTES])  # untouched pages would cost nothing
    yield
    del held


def _peak(measured: bool) -> int | None:
    return process_memory.peak_bytes() if measured else None


def _give_back_memory() -> None:
    """Return freed pages, so that the next shard's peak is its own."""
    pa.default_memory_pool().release_unused()
    with contextlib.suppress(AttributeError, OSError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


def _stop_self() -> None:
    """Unwind the work, which removes what is half-written; end in any case."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(EXIT_STOPPED)


def _on_term(_signal: int, _frame: FrameType | None) -> NoReturn:
    _told_to_stop.set()
    raise SystemExit(EXIT_STOPPED)


def _check_not_stopped() -> None:
    """Where the handler's exception was swallowed, as in a finalizer, it is raised again here."""
    if _told_to_stop.is_set():
        raise SystemExit(EXIT_STOPPED)


def _die_with(parent: int) -> None:
    """Have the kernel send SIGTERM when the worker dies; it may have died already."""
    with contextlib.suppress(AttributeError, OSError):  # only Linux has it; the pipe's end remains
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(EXIT_STOPPED)


def _take_stdio() -> Channel:
    """Keep both pipes for ourselves; what others print goes to stderr, what they read is empty."""
    orders, events = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device
        os.dup2(nothing.fileno(), 0)
    return Channel(orders, events)


def main() -> None:
    """Serve the worker whose process id is the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker to answer
    signal.signal(signal.SIGTERM, _on_term)
    channel = _take_stdio()
    _die_with(int(sys.argv[1]))
    try:
        serve(channel)
    finally:
        os._exit(EXIT_STOPPED)  # no thread of a library may keep the process


if __name__ == "__main__":
    main()
