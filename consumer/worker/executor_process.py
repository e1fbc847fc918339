"""One executor process: pipes, watchdog, and an end within bounds whatever state it is in.

The worker's own thread waits for events, three others read the pipes and watch memory. Every way in
which an executor can end, ends the wait: it cannot hang its worker. A process that the kernel does
not let die, because a file system never answers, is left behind.
"""

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from typing import Final

from pydantic import ValidationError

from consumer.protocol.events import Command, Event, Started, decode_event
from consumer.worker.executor_launch import Launch
from consumer.worker.stderr_tail import StderrTail
from memmodel import process_memory
from memmodel.estimate import WATCHDOG_SHARE
from memmodel.tiers import MIB
from runtime.errors import MachineError
from runtime.machine import start_thread

SAMPLE_S: Final = 0.05  # between two samples of the executor's memory
RECENT_S: Final = 0.5  # longer than memory stays low between two windows: 0.3 s when alone
POLL_S: Final = 0.1  # between two checks for an interrupt
START_S: Final = 60.0  # for the imports, on a busy machine
GRACE_S: Final = 2.5  # to remove half-written output; a little more than the executor takes
KILL_S: Final = 1.0  # after SIGKILL; what waits for a hung file system never ends
READ_S: Final = 1.0  # to read the last events of a dead executor
GROWN_BYTES: Final = 256 * MIB  # growth since its start after which an executor is replaced


class ExecutorError(MachineError):
    """The executor cannot be started; not caused by a shard."""


class ExecutorProcess:
    """One executor process; started at once.

    Args:
        launch: launches it.
        limit_bytes: the watchdog kills the process at `WATCHDOG_SHARE` of it; None: no watchdog.

    Attributes:
        rss_bytes: its memory at the last sample.
        over_bytes: memory when the watchdog killed it, if it did.

    Raises:
        ExecutorError: it does not start.
    """

    def __init__(
        self,
        launch: Launch,
        limit_bytes: int | None,
    ) -> None:
        self.rss_bytes = 0
        self.over_bytes: int | None = None
        self._limit_bytes = limit_bytes
        self._new_bytes = 0
        self._peak_bytes = 0
        self._recent: deque[int] = deque([0], maxlen=round(RECENT_S / SAMPLE_S))
        self._killed = False
        self._events: queue.Queue[Event] = queue.Queue()
        self._ended = threading.Event()
        self._reader = threading.Thread(target=self._read, name="events", daemon=True)
        try:
            self._begin(launch)
            self._wait_until_started()
        except MachineError as error:
            raise ExecutorError(str(error), error.hint) from error

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process neither ended nor was killed."""
        return self._process.poll() is None and not self._killed

    @property
    def exit_code(self) -> int | None:
        """Exit code, or the negative number of a signal; None while the process lives."""
        return self._process.poll()

    @property
    def peak_bytes(self) -> int | None:
        """Highest memory since `begin_peak`; None if there was no sample."""
        return self._peak_bytes or None

    @property
    def recent_bytes(self) -> int:
        """Highest memory of the last `RECENT_S`."""
        return max(tuple(self._recent))

    @property
    def has_grown(self) -> bool:
        """Whether it holds much more memory than when it was new."""
        bound = GROWN_BYTES
        if self._limit_bytes is not None:
            bound = min(bound, self._limit_bytes // 4)
        return self._sample() - self._new_bytes > bound

    @property
    def cause(self) -> str:
        """The last line of its stderr."""
        return self._stderr.cause()

    def begin_peak(self) -> None:
        """Measure the peak from now on."""
        self._peak_bytes = self._sample()

    def send(self, command: Command) -> None:
        """Send a command; the end of the process is noticed where events are awaited."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.write(command.line())
            self._stdin.flush()

    def receive(self, timeout_s: float) -> Event | None:
        """The next event; None if none came in time."""
        try:
            return self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def ended_silently(self) -> bool:
        """Whether the process has ended and all its events are received."""
        if self.alive:
            return False
        self.kill()  # a descendant may hold the pipe open
        self._reader.join(READ_S)
        return self._events.empty()

    def stop(self) -> None:
        """Stop the process: SIGTERM first, so that it removes half-written output."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        self.kill()
        self._ended.set()
        with contextlib.suppress(OSError):
            self._stdin.close()

    def kill(self) -> None:
        """Kill the process and its descendants, then reap it, if the kernel lets it die."""
        self._killed = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(KILL_S)

    def _begin(self, launch: Launch) -> None:
        launched = launch()
        self._process = launched.process
        self._stdin, self._stdout = launched.stdin, launched.stdout
        self._stderr = StderrTail(launched.stderr)
        try:
            self._stderr.start()
            start_thread(self._reader)
            start_thread(threading.Thread(target=self._watch, name="watchdog", daemon=True))
        except MachineError:
            self.stop()
            raise

    def _wait_until_started(self) -> None:
        until_s = time.monotonic() + START_S
        event = None
        while event is None and time.monotonic() < until_s and not self.ended_silently():
            event = self.receive(POLL_S)
        if not isinstance(event, Started):
            code = self.exit_code
            silent = f"sent no event for {START_S:.0f} s"
            what = silent if code is None else f"ended with {ending(code)}"
            self.stop()
            cause = self.cause or "see the log above"
            raise ExecutorError(
                f"the executor {what} at its start: {cause}",
                hint="start a worker by hand to see more: python -m consumer work --tier 2gi",
            )
        self._new_bytes = self._sample()

    def _read(self) -> None:
        """Queue the events; stops at the first line that is not an event."""
        with self._stdout:
            for line in self._stdout:
                try:
                    self._events.put(decode_event(line))
                except ValidationError:  # cut off by a kill, or another program
                    break
        self._ended.set()

    def _watch(self) -> None:
        """Kill the process near the limit, before the system would, and record the number."""
        while not self._ended.wait(SAMPLE_S):
            used = self._sample()
            if self._limit_bytes is not None and used > WATCHDOG_SHARE * self._limit_bytes:
                self.over_bytes = used
                self.kill()
                return

    def _sample(self) -> int:
        with contextlib.suppress(OSError):  # gone
            self.rss_bytes = process_memory.rss_bytes(self._process.pid)
            self._peak_bytes = max(self._peak_bytes, self.rss_bytes)
            self._recent.append(self.rss_bytes)
        return self.rss_bytes


def ending(code: int) -> str:
    """How a process ended, in words."""
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
