"""Client of the executor process: start, send tasks, judge how they end, replace it."""

import contextlib
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import psutil

from consumer.protocol.events import (
    EXIT_STOPPED,
    Begun,
    Done,
    Ending,
    Event,
    Failed,
    Progress,
    PublishCommand,
    Ready,
    StopCommand,
    TaskCommand,
)
from consumer.protocol.tasks import Task
from consumer.worker.executor_launch import Launch, spawn
from consumer.worker.executor_process import POLL_S, ExecutorError, ExecutorProcess, ending
from consumer.worker.fork_server import EXECUTOR, ForkServer
from memmodel.estimate import WATCHDOG_SHARE

__all__ = ["ExecutorClient", "ExecutorError", "TaskCallbacks"]

SILENCE_S: Final = 1800.0  # without any event the executor is stuck
WAITING_SHARE: Final = 0.01  # of that time on a processor; with less it waits for something else

_STOPPED: Final = {
    EXIT_STOPPED,
    *(-signal.SIGTERM, -signal.SIGHUP, -signal.SIGINT, -signal.SIGPWR),
}
_MACHINE: Final = ("Resource temporarily unavailable", "can't start new thread")

Check = Callable[[], StopCommand | None]


@dataclass(frozen=True, slots=True)
class TaskCallbacks:
    """Callbacks of a task in work.

    Attributes:
        on_progress: called with the chunks done so far.
        check_publish: called just before the output appears; returns a reason to stop, or None.
        check_interrupt: called ten times a second; returns a reason to stop at once, or None.
        on_ending: called once most of a long task is done, and its memory will only fall.
    """

    on_progress: Callable[[int], None]
    check_publish: Check
    check_interrupt: Check
    on_ending: Callable[[], None] = lambda: None


class ExecutorClient:
    """One executor process, started when first needed and kept between shards.

    Args:
        limit_bytes: the tier's memory; the watchdog kills the executor at `WATCHDOG_SHARE` of it.
            None: no watchdog.
        command: a program to be spawned, its worker's process id appended. None: an executor.
        forks: launches executors that share memory. None: there is one alone, to be spawned.
    """

    def __init__(
        self,
        limit_bytes: int | None,
        command: tuple[str, ...] | None = None,
        *,
        forks: ForkServer | None = None,
    ) -> None:
        self.limit_bytes = limit_bytes
        self._launch: Launch = partial(spawn, command or EXECUTOR, {})
        if forks is not None and command is None:
            self._launch = forks.launch
        self._process: ExecutorProcess | None = None

    @property
    def pid(self) -> int | None:
        """The process id, None while there is no process."""
        process = self._process  # other threads ask while it is replaced
        return process.pid if process else None

    @property
    def rss_bytes(self) -> int:
        """Memory at the last sample; 0 while there is no process."""
        process = self._process
        return process.rss_bytes if process else 0

    @property
    def recent_bytes(self) -> int:
        """Highest memory of the last `RECENT_S`; 0 while there is no process."""
        process = self._process
        return process.recent_bytes if process else 0

    @property
    def alive(self) -> bool:
        """Whether a process runs."""
        process = self._process
        return process is not None and process.alive

    def start(self) -> None:
        """Start a process unless one runs.

        Raises:
            ExecutorError: it does not start.
        """
        if self._process is not None and self._process.alive:
            return
        self.stop()
        self._process = ExecutorProcess(self._launch, self.limit_bytes)

    def run(self, task: Task, callbacks: TaskCallbacks) -> Done | Failed:
        """Have a task executed; returns whatever happens to the process.

        A process that was stopped, killed or has grown is replaced before the next task.
        """
        self.start()
        process = self._process
        assert process is not None  # noqa: S101 - `start` made it
        try:
            result = _TaskInWork(process, callbacks).run(task)
        except BaseException:  # an error of the worker: the process would wait for an answer
            self.stop()
            raise
        if not process.alive or _used_up(process, result):
            self.stop()
        return result

    def stop(self) -> None:
        """Stop the process: SIGTERM first, so that it removes half-written output."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def kill(self) -> None:
        """Kill the process while another thread is in `run`, which then returns a failure."""
        if (process := self._process) is not None:
            process.kill()


class _TaskInWork:
    """One task from its command to its last event, which is made up if the process is gone."""

    def __init__(self, process: ExecutorProcess, callbacks: TaskCallbacks) -> None:
        self._process = process
        self._callbacks = callbacks
        self._begun = False
        self._event_s = time.monotonic()  # time of the last event
        self._event_cpu_s = _cpu_s(process.pid)  # the processor time used until then

    def run(self, task: Task) -> Done | Failed:
        self._process.begin_peak()
        self._process.send(TaskCommand(task=task))
        result = self._wait_for_result()
        if result.peak_bytes is None:
            result = result.model_copy(update={"peak_bytes": self._process.peak_bytes})
        return result

    def _wait_for_result(self) -> Done | Failed:
        while True:
            event = self._process.receive(POLL_S)
            if isinstance(event, Done | Failed):
                return event
            if event is not None:
                self._handle(event)
            elif (command := self._callbacks.check_interrupt()) is not None:
                self._process.stop()
                return Failed(kind=command.kind, reason=command.reason)
            elif self._process.ended_silently():
                return self._fail_died()
            elif time.monotonic() - self._event_s > SILENCE_S:
                return self._fail_stuck()

    def _handle(self, event: Event) -> None:
        self._event_s, self._event_cpu_s = time.monotonic(), _cpu_s(self._process.pid)
        if isinstance(event, Begun):
            self._begun = True
        elif isinstance(event, Progress):
            self._callbacks.on_progress(event.chunks)
        elif isinstance(event, Ending):
            self._callbacks.on_ending()
        elif isinstance(event, Ready):
            self._process.send(self._callbacks.check_publish() or PublishCommand())

    def _fail_stuck(self) -> Failed:
        """Without any event: a process that used no processor waits for storage, or is frozen."""
        waits = _cpu_s(self._process.pid) - self._event_cpu_s < WAITING_SHARE * SILENCE_S
        self._process.kill()
        what = f"the executor sent no event for {SILENCE_S:.0f} s and was stopped"
        if waits:
            return Failed(kind="retryable", reason=f"{what}; it waited, for storage that hangs")
        return Failed(kind="memory", reason=what)

    def _fail_died(self) -> Failed:
        """An end without a result: of a shard that began, for want of memory most likely."""
        code = self._process.exit_code or 0
        if self._process.over_bytes is not None:
            reason = (
                f"the executor passed {WATCHDOG_SHARE:.0%} of its tier's memory and was stopped"
            )
            return Failed(kind="memory", reason=reason)
        if code in _STOPPED:
            reason = f"the executor was stopped from outside ({ending(code)})"
            return Failed(kind="retryable", reason=reason)
        cause = self._process.cause
        reason = f"the executor ended with {ending(code)}{f': {cause}' if cause else ''}"
        if not self._begun:
            return Failed(kind="retryable", reason=f"{reason}, before it began the shard")
        machine = any(text in cause for text in _MACHINE)
        return Failed(kind="retryable" if machine else "memory", reason=reason)


def _used_up(process: ExecutorProcess, result: Done | Failed) -> bool:
    """Whether the process may take no further task."""
    return process.has_grown or (isinstance(result, Failed) and result.kind == "memory")


def _cpu_s(pid: int) -> float:
    with contextlib.suppress(psutil.Error):
        used = psutil.Process(pid).cpu_times()
        return float(used.user + used.system)
    return 0.0
