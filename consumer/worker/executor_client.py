"""Client of the executor process: start, send tasks, watch memory, stop, replace.

Three threads: the worker's own waits for events, one reads the pipe, one watches memory. Every way
in which an executor can end, ends the wait: it cannot hang its worker.
"""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from consumer.protocol.events import (
    Command,
    Done,
    Event,
    Failed,
    Progress,
    PublishCommand,
    Ready,
    Started,
    StopCommand,
    TaskCommand,
    decode_event,
)
from consumer.protocol.tasks import Task
from memmodel import process_memory
from memmodel.estimate import WATCHDOG_SHARE
from memmodel.tiers import MIB
from runtime.errors import ShardliftError

SAMPLE_S: Final = 0.05  # between two samples of the executor's memory
POLL_S: Final = 0.1  # between two checks for an interrupt
START_S: Final = 60.0  # for the imports, on a busy machine
GRACE_S: Final = 2.5  # to remove half-written output; a little more than the executor takes
READ_S: Final = 1.0  # to read the last events of a dead executor
SILENCE_S: Final = 1800.0  # without any event the executor is stuck
GROWN_BYTES: Final = 256 * MIB  # growth since its start after which an executor is replaced

COMMAND: Final = (sys.executable, "-m", "consumer.executor")

Check = Callable[[], StopCommand | None]


class ExecutorError(ShardliftError):
    """The executor cannot be started; not caused by a shard."""


@dataclass(frozen=True, slots=True)
class TaskCallbacks:
    """Callbacks of a task in work.

    Attributes:
        on_progress: called with the chunks done so far.
        check_publish: called just before the output appears; returns a reason to stop, or None.
        check_interrupt: called ten times a second; returns a reason to stop at once, or None.
    """

    on_progress: Callable[[int], None]
    check_publish: Check
    check_interrupt: Check


class ExecutorClient:
    """One executor process, started when first needed and kept between shards.

    Args:
        limit_bytes: the tier's memory; the watchdog kills the executor at `WATCHDOG_SHARE` of it.
            None: no watchdog.
        command: the program; the worker's process id is appended.
    """

    def __init__(self, limit_bytes: int | None, command: tuple[str, ...] = COMMAND) -> None:
        self.limit_bytes = limit_bytes
        self._command = command
        self._process: _ExecutorProcess | None = None

    @property
    def pid(self) -> int | None:
        """The process id, None while there is no process."""
        return self._process.pid if self._process else None

    @property
    def rss_bytes(self) -> int:
        """Memory at the last sample; 0 while there is no process."""
        return self._process.rss_bytes if self._process else 0

    def start(self) -> None:
        """Start a process unless one runs.

        Raises:
            ExecutorError: it does not start.
        """
        if self._process is not None and self._process.alive:
            return
        self.stop()
        self._process = _ExecutorProcess(self._command, self.limit_bytes)
        try:
            self._process.wait_until_started()
        except BaseException:
            self.stop()
            raise

    def run(self, task: Task, callbacks: TaskCallbacks) -> Done | Failed:
        """Have a task executed; returns whatever happens to the process.

        A process that was stopped, killed or has grown is replaced before the next task.
        """
        self.start()
        process = self._process
        assert process is not None  # noqa: S101 - `start` made it
        try:
            result = process.run(task, callbacks)
        except BaseException:  # an error of the worker: the process would wait for an answer
            self.stop()
            raise
        if process.replace:
            self.stop()
        return result

    def stop(self) -> None:
        """Stop the process: SIGTERM first, so that it removes half-written output."""
        if self._process is not None:
            self._process.stop()
            self._process = None


class _ExecutorProcess:
    """One executor process.

    Attributes:
        replace: whether the process may take no further task.
        rss_bytes: its memory at the last sample.
    """

    def __init__(self, command: tuple[str, ...], limit_bytes: int | None) -> None:
        self._process = subprocess.Popen(
            [*command, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in a terminal reaches only the worker
        )
        assert self._process.stdin is not None  # noqa: S101 - PIPE above
        assert self._process.stdout is not None  # noqa: S101 - PIPE above
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self.replace = False
        self.rss_bytes = 0
        self._limit_bytes = limit_bytes
        self._new_bytes = 0
        self._peak_bytes = 0
        self._over_bytes: int | None = None  # memory when the watchdog killed the process
        self._events: queue.Queue[Event] = queue.Queue()
        self._ended = threading.Event()
        self._reader = threading.Thread(target=self._read, name="events", daemon=True)
        self._reader.start()
        threading.Thread(target=self._watch_memory, name="watchdog", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def wait_until_started(self) -> None:
        until_s = time.monotonic() + START_S
        event = None
        while event is None and time.monotonic() < until_s and not self._ended_silently():
            event = self._next(POLL_S)
        if not isinstance(event, Started):
            code = self._process.poll()
            what = "sent no event" if code is None else f"ended with {_ending(code)}"
            raise ExecutorError(f"the executor {what} at its start; see the log above")
        self._new_bytes = self._sample()

    def run(self, task: Task, callbacks: TaskCallbacks) -> Done | Failed:
        self._peak_bytes = self._sample()
        self._send(TaskCommand(task=task))
        result = self._wait_for_result(callbacks)
        if result.peak_bytes is None:
            result = result.model_copy(update={"peak_bytes": self._peak_bytes or None})
        if isinstance(result, Failed) and result.kind == "memory":
            self.replace = True
        return result

    def _wait_for_result(self, callbacks: TaskCallbacks) -> Done | Failed:
        """Handle events until the last one of the task; make one up if the process is gone."""
        last_event_s = time.monotonic()
        while True:
            event = self._next(POLL_S)
            if isinstance(event, Done | Failed):
                self.replace = self._has_grown()
                return event
            if event is not None:
                last_event_s = time.monotonic()
                self._handle(event, callbacks)
            elif self._ended_silently():
                return self._fail_died()
            elif (command := callbacks.check_interrupt()) is not None:
                return self._fail_interrupted(command)
            elif time.monotonic() - last_event_s > SILENCE_S:
                return self._fail_stuck()

    def _handle(self, event: Event, callbacks: TaskCallbacks) -> None:
        if isinstance(event, Progress):
            callbacks.on_progress(event.chunks)
        elif isinstance(event, Ready):
            self._send(callbacks.check_publish() or PublishCommand())

    def _fail_interrupted(self, command: StopCommand) -> Failed:
        self.replace = True
        self.stop()
        return Failed(kind=command.kind, reason=command.reason, peak_bytes=self._peak_bytes)

    def _fail_stuck(self) -> Failed:
        self.replace = True
        self._kill()
        reason = f"the executor sent no event for {SILENCE_S:.0f} s and was stopped"
        return Failed(kind="memory", reason=reason, peak_bytes=self._peak_bytes)

    def _fail_died(self) -> Failed:
        """An end without a result: too much memory is by far the likeliest cause."""
        self.replace = True
        code = self._process.wait()
        if self._over_bytes is not None:
            reason = (
                f"the executor passed {WATCHDOG_SHARE:.0%} of its tier's memory and was stopped"
            )
        else:
            reason = f"the executor ended with {_ending(code)}"
        return Failed(kind="memory", reason=reason, peak_bytes=self._peak_bytes)

    def stop(self) -> None:
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        self._kill()
        self._ended.set()
        with contextlib.suppress(OSError):
            self._stdin.close()

    def _kill(self) -> None:
        """Kill the process and its descendants, then reap it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _ended_silently(self) -> bool:
        """Whether the process has ended and all its events are handled."""
        if self._process.poll() is None:
            return False
        self._kill()  # a descendant may hold the pipe open
        self._reader.join(READ_S)
        return self._events.empty()

    def _next(self, timeout_s: float) -> Event | None:
        try:
            return self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def _send(self, command: Command) -> None:
        with contextlib.suppress(BrokenPipeError):  # noticed where events are awaited
            self._stdin.write(command.line())
            self._stdin.flush()

    def _read(self) -> None:
        """Queue the events; stops at the first line that is not an event."""
        with self._stdout:
            for line in self._stdout:
                try:
                    self._events.put(decode_event(line))
                except ValidationError:  # cut off by a kill, or another program
                    break
        self._ended.set()

    def _watch_memory(self) -> None:
        """Kill the process near the limit, before the system would, and record the number."""
        while not self._ended.wait(SAMPLE_S):
            used = self._sample()
            if self._limit_bytes is not None and used > WATCHDOG_SHARE * self._limit_bytes:
                self._over_bytes = used
                self._kill()
                return

    def _sample(self) -> int:
        with contextlib.suppress(OSError):  # gone
            self.rss_bytes = process_memory.rss_bytes(self._process.pid)
            self._peak_bytes = max(self._peak_bytes, self.rss_bytes)
        return self.rss_bytes

    def _has_grown(self) -> bool:
        bound = GROWN_BYTES
        if self._limit_bytes is not None:
            bound = min(bound, self._limit_bytes // 4)
        return self._sample() - self._new_bytes > bound


def _ending(code: int) -> str:
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
