"""A worker's handle on its work process: start, feed, watch, stop, replace.

Three threads: the worker's own waits for events, one reads the pipe, one watches memory. A work
process that dies in any way ends the wait; it can be killed, but it cannot hang its worker.
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
    Done,
    Failed,
    Progress,
    PublishCommand,
    Ready,
    Started,
    StopCommand,
    TaskCommand,
    decode_event,
)
from consumer.protocol.tasks import ConvertTask, DownsampleTask
from memmodel import process_memory
from memmodel.estimate import WATCHDOG_SHARE
from memmodel.tiers import MIB
from runtime.errors import ShardliftError

SAMPLE_S: Final = 0.05  # between two looks at the work process's memory
LOOK_S: Final = 0.1  # between two looks at the lease, and at SIGTERM
START_S: Final = 60.0  # for the imports, on a busy machine
GRACE_S: Final = 2.5  # for taking away what is half-written; a little more than it takes itself
READ_S: Final = 1.0  # for the last words of a dead process
SILENCE_S: Final = 1800.0  # with no word at all the work process is stuck
GROWN_BYTES: Final = 256 * MIB  # beyond its size when it was new: replaced

COMMAND: Final = (sys.executable, "-m", "consumer.executor")

Event = Started | Progress | Ready | Done | Failed
Look = Callable[[], StopCommand | None]


class ExecutorError(ShardliftError):
    """The work process cannot be started, which is no shard's fault."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What the worker wants to know, and be asked, while a shard is worked on.

    Attributes:
        progress: told the chunks done so far.
        may_publish: asked just before the output appears; a reason to stop, or None.
        interrupt: asked ten times a second; a reason to stop at once, or None.
    """

    progress: Callable[[int], None]
    may_publish: Look
    interrupt: Look


class ExecutorClient:
    """One work process, started when first needed and kept between shards.

    Args:
        limit_bytes: the tier's memory; the watchdog stops the work at `WATCHDOG_SHARE` of it.
            None watches nothing.
        command: the program; the worker's process id is appended.
    """

    def __init__(self, limit_bytes: int | None, command: tuple[str, ...] = COMMAND) -> None:
        self.limit_bytes = limit_bytes
        self._command = command
        self._live: _Live | None = None

    @property
    def pid(self) -> int | None:
        """The process id, None while there is no process."""
        return self._live.process.pid if self._live else None

    @property
    def rss_bytes(self) -> int:
        """Memory at the last look; 0 while there is no process."""
        return self._live.rss_bytes if self._live else 0

    def start(self) -> None:
        """Have a process, new or kept.

        Raises:
            ExecutorError: it does not come up.
        """
        if self._live is not None and self._live.process.poll() is None:
            return
        self.stop()
        self._live = _Live(self._command, self.limit_bytes)
        try:
            self._live.wait_until_started()
        except BaseException:
            self.stop()
            raise

    def run(self, task: ConvertTask | DownsampleTask, watch: Watch) -> Done | Failed:
        """Have a task done; whatever happens to the process, this returns.

        A process that was stopped, killed or has grown is replaced before the next task.
        """
        self.start()
        live = self._live
        assert live is not None  # noqa: S101 - `start` made it
        try:
            result = live.do(task, watch)
        except BaseException:  # the worker's own trouble: nobody would answer the process
            self.stop()
            raise
        if live.must_go:
            self.stop()
        return result

    def stop(self) -> None:
        """Stop the process: politely for a moment, so that nothing half-written stays."""
        if self._live is not None:
            self._live.stop()
            self._live = None


class _Live:
    """One process while it lives."""

    def __init__(self, command: tuple[str, ...], limit_bytes: int | None) -> None:
        self.process = subprocess.Popen(
            [*command, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in a terminal reaches only the worker
        )
        assert self.process.stdin is not None  # noqa: S101 - a pipe was asked for
        assert self.process.stdout is not None  # noqa: S101 - likewise
        self._stdin, self._stdout = self.process.stdin, self.process.stdout
        self.must_go = False
        self.rss_bytes = 0
        self._limit_bytes = limit_bytes
        self._new_bytes = 0
        self._peak_bytes = 0
        self._over_bytes: int | None = None  # what the watchdog saw when it killed
        self._events: queue.Queue[Event] = queue.Queue()
        self._ended = threading.Event()
        self._reader = threading.Thread(target=self._read, name="events", daemon=True)
        self._reader.start()
        threading.Thread(target=self._guard, name="watchdog", daemon=True).start()

    def wait_until_started(self) -> None:
        until_s = time.monotonic() + START_S
        event = None
        while event is None and time.monotonic() < until_s and not self._gone():
            event = self._next(LOOK_S)
        if not isinstance(event, Started):
            code = self.process.poll()
            what = "says nothing" if code is None else f"ended with {_ending(code)}"
            raise ExecutorError(f"the work process {what} at its start; see the log above")
        self._new_bytes = self._sample()

    def do(self, task: ConvertTask | DownsampleTask, watch: Watch) -> Done | Failed:
        self._peak_bytes = self._sample()
        self._tell(TaskCommand(task=task))
        result = self._follow(watch)
        if result.peak_bytes is None:
            result = result.model_copy(update={"peak_bytes": self._peak_bytes or None})
        if isinstance(result, Failed) and result.kind == "memory":
            self.must_go = True
        return result

    def _follow(self, watch: Watch) -> Done | Failed:
        """Events until the last one of the shard, however it comes about."""
        heard_s = time.monotonic()
        while True:
            event = self._next(LOOK_S)
            if isinstance(event, Done | Failed):
                self.must_go = self._has_grown()
                return event
            if event is not None:
                heard_s = time.monotonic()
                self._answer(event, watch)
            elif self._gone():
                return self._died()
            elif (order := watch.interrupt()) is not None:
                return self._interrupted(order)
            elif time.monotonic() - heard_s > SILENCE_S:
                return self._silent()

    def _answer(self, event: Event, watch: Watch) -> None:
        if isinstance(event, Progress):
            watch.progress(event.chunks)
        elif isinstance(event, Ready):
            self._tell(watch.may_publish() or PublishCommand())

    def _interrupted(self, order: StopCommand) -> Failed:
        self.must_go = True
        self.stop()
        return Failed(kind=order.kind, reason=order.reason, peak_bytes=self._peak_bytes)

    def _silent(self) -> Failed:
        self.must_go = True
        self._kill()
        reason = f"the work process said nothing for {SILENCE_S:.0f} s and was stopped"
        return Failed(kind="memory", reason=reason, peak_bytes=self._peak_bytes)

    def _died(self) -> Failed:
        """No word, but an end: too much memory is by far the likeliest cause."""
        self.must_go = True
        code = self.process.wait()
        if self._over_bytes is not None:
            reason = f"the work passed {WATCHDOG_SHARE:.0%} of its tier's memory and was stopped"
        else:
            reason = f"the work process ended with {_ending(code)}"
        return Failed(kind="memory", reason=reason, peak_bytes=self._peak_bytes)

    def stop(self) -> None:
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE_S)
        self._kill()
        self._ended.set()
        with contextlib.suppress(OSError):
            self._stdin.close()

    def _kill(self) -> None:
        """Kill the process and whatever it started, then reap it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _gone(self) -> bool:
        """Dead, with everything it said heard."""
        if self.process.poll() is None:
            return False
        self._kill()  # what it started may hold the pipe open
        self._reader.join(READ_S)
        return self._events.empty()

    def _next(self, timeout_s: float) -> Event | None:
        try:
            return self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def _tell(self, order: TaskCommand | PublishCommand | StopCommand) -> None:
        with contextlib.suppress(BrokenPipeError):  # its end is noticed where events are awaited
            self._stdin.write(order.line())
            self._stdin.flush()

    def _read(self) -> None:
        """Pass on what the process says; a line that is none of ours ends the conversation."""
        with self._stdout:
            for line in self._stdout:
                try:
                    self._events.put(decode_event(line))
                except ValidationError:  # cut off by a kill, or not our program
                    break
        self._ended.set()

    def _guard(self) -> None:
        """The watchdog: kills before the machine would, and knows the numbers."""
        while not self._ended.wait(SAMPLE_S):
            used = self._sample()
            if self._limit_bytes is not None and used > WATCHDOG_SHARE * self._limit_bytes:
                self._over_bytes = used
                self._kill()
                return

    def _sample(self) -> int:
        with contextlib.suppress(OSError):  # gone
            self.rss_bytes = process_memory.rss_bytes(self.process.pid)
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
