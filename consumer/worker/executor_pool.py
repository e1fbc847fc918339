"""Executor pool: shards take turns on a few executors, as many at once as the tier's memory holds.

Each executor stays a process with a watchdog of its own, so a shard that needs too much is stopped
and blamed as if it were alone. What several need together is nobody's fault: near the limit the
newest one is stopped, and its shard is made again, alone.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from consumer.protocol.events import Done, Failed, StopCommand
from consumer.protocol.tasks import Task
from consumer.worker.executor_client import Check, ExecutorClient, TaskCallbacks
from consumer.worker.executor_process import SAMPLE_S
from consumer.worker.fork_server import ForkServer
from delivery.messages import Kind
from memmodel import process_memory
from memmodel.estimate import BASE_BYTES, FORKED_BASE_BYTES, WATCHDOG_SHARE
from runtime.machine import start_thread

POLL_S: Final = 0.1  # between two checks of a shard that waits
LONG_S: Final = 10.0  # of waiting, after which a shard may not be wanted any more
SEEN: Final = 8  # shards of a kind, whose peaks tell what the next one needs
ENDING_SHARE: Final = 0.55  # of the peak, below which a shard that is past it comes to its end
PASSED_SHARE: Final = 0.85  # of the peak, from which on a shard is past it
CROWDED_SHARE: Final = 0.75  # of the limit; above it a shard that died may have died of others

_KILLED: Final = {"memory", "retryable"}  # kinds of failure of an executor that was killed


class MakeExecutor(Protocol):
    """Makes the client of an executor with this memory."""

    def __call__(self, limit_bytes: int | None, *, forks: ForkServer | None) -> ExecutorClient:
        """Make it; others from the same fork server share the memory."""
        ...


@dataclass(eq=False, slots=True)
class _Turn:
    """One shard that waits for an executor, or has one.

    Attributes:
        kind: of its task.
        needs_bytes: by its estimate; None: unknown, so nothing else may run.
        alone: whether it was stopped because of others.
        stopped: likewise, this time.
        crowd_bytes: the most that all executors used together while it was not alone.
        passed: whether its memory has been near its peak.
        ending: whether most is done, and its memory only falls.
    """

    kind: Kind
    needs_bytes: int | None
    client: ExecutorClient | None = None
    alone: bool = False
    stopped: bool = False
    crowd_bytes: int = 0
    passed: bool = False
    ending: bool = False


class _Usage:
    """Memory that shards use beyond what all executors share, by those of their kind before."""

    def __init__(self) -> None:
        self._shares: dict[Kind, deque[float]] = {}  # of estimates

    def note(self, turn: _Turn, result: Done | Failed) -> None:
        """Note the peak of a shard that was made."""
        if isinstance(result, Done) and result.peak_bytes and turn.needs_bytes:
            seen = self._shares.setdefault(turn.kind, deque(maxlen=SEEN))
            seen.append(result.peak_bytes / turn.needs_bytes)

    def peak(self, turn: _Turn) -> int:
        """The most that a shard will use; of a kind that is new, by its estimate."""
        share = max(self._shares.get(turn.kind, (1.0,)))
        return max(0, int(share * (turn.needs_bytes or 0)) - FORKED_BASE_BYTES)

    def now(self, turns: Sequence[_Turn]) -> int:
        """The most that shards in work will still use together."""
        # One that is ending beside others still counts in full: they have peaks to come.
        only = len(turns) == 1
        return sum(self._now(turn, ending=only and turn.ending) for turn in turns)

    def _now(self, turn: _Turn, *, ending: bool) -> int:
        """The most that a shard in work will still use: less once it is past its peak."""
        peak = self.peak(turn)
        if turn.client is None:
            return peak
        used = turn.client.recent_bytes - FORKED_BASE_BYTES
        turn.passed = turn.passed or used >= PASSED_SHARE * peak
        if not turn.passed:
            return peak
        # All of a shard that comes to its end is gone before the next one is at its peak.
        return used // 2 if ending or used < ENDING_SHARE * peak else min(peak, used)


class ExecutorPool:
    """Executors that shards wait for, in order.

    Args:
        limit_bytes: memory of all executors together; None: no limit.
        size: executors, at most.
        aim_bytes: memory that executors beside each other should not pass, judged by what shards of
            a kind have used; None: no aim.
        forks: launches the executors, if there are several; None: a fork server of its own.
        make: makes a client; another one in tests.
    """

    def __init__(
        self,
        limit_bytes: int | None,
        size: int = 1,
        make: MakeExecutor = ExecutorClient,
        *,
        aim_bytes: int | None = None,
        forks: ForkServer | None = None,
    ) -> None:
        self._limit_bytes = limit_bytes
        self._aim_bytes = aim_bytes
        self._usage = _Usage()
        self._forks = forks
        if size > 1 and forks is None:
            self._forks = ForkServer()
        self._clients = [make(limit_bytes, forks=self._forks) for _ in range(size)]
        self._free = list(self._clients)
        self._changed = threading.Condition()
        self._waiting: deque[_Turn] = deque()
        self._in_work: list[_Turn] = []
        self._closed = threading.Event()
        self._watchdog: threading.Thread | None = None

    @property
    def size(self) -> int:
        """The number of executors, at most."""
        return len(self._clients)

    @property
    def waiting(self) -> int:
        """The number of shards that wait for an executor."""
        return len(self._waiting)

    @property
    def rss_bytes(self) -> int:
        """Memory of all executors at the last samples."""
        return sum(client.rss_bytes for client in self._clients)

    def prepare(self) -> None:
        """Start an executor for the next shard, if none that runs is free.

        Raises:
            ExecutorError: it does not start.
        """
        with self._changed:
            if any(client.alive for client in self._free) or not self._room_for(BASE_BYTES):
                return
            if self._in_work and not self._keeps_aim(self._in_work[-1]):  # the next is like it
                return
            client = self._free.pop() if self._free else None
        if client is not None:
            try:
                client.start()
            finally:
                self._give_free(client)

    def run(
        self,
        task: Task,
        callbacks: TaskCallbacks,
        needs_bytes: int | None = None,
        check_waiting: Check = lambda: None,
    ) -> Done | Failed:
        """Have a task executed once it is its turn; returns whatever happens.

        Args:
            task: of the shard.
            callbacks: while it is in work.
            needs_bytes: memory by its estimate; None: unknown.
            check_waiting: called ten times a second while it waits; returns a reason to stop.
        """
        turn = _Turn(task.kind, needs_bytes)
        while True:
            if (command := self._wait(turn, callbacks, check_waiting)) is not None:
                return Failed(kind=command.kind, reason=command.reason)
            client = turn.client
            assert client is not None  # noqa: S101 - `_wait` took it
            try:
                result = client.run(task, self._watched(turn, callbacks))
            finally:
                self._end(turn, client)
            self._usage.note(turn, result)
            if not self._died_of_others(turn, result):
                return result
            turn.alone, turn.stopped, turn.crowd_bytes = True, False, 0
            turn.passed = turn.ending = False

    def close(self) -> None:
        """Stop all executors."""
        self._closed.set()
        for client in self._clients:
            client.stop()
        if self._forks is not None:
            self._forks.close()

    def _wait(
        self, turn: _Turn, callbacks: TaskCallbacks, check_waiting: Check
    ) -> StopCommand | None:
        """Wait until the shard has an executor; a reason to stop otherwise."""
        began_s = time.monotonic()
        with self._changed:
            self._waiting.insert(0 if turn.alone else len(self._waiting), turn)
            try:
                while not self._begin(turn):
                    self._changed.wait(POLL_S)
                    if (command := check_waiting()) is not None:
                        return command
            finally:
                with contextlib.suppress(ValueError):
                    self._waiting.remove(turn)
                self._changed.notify_all()
        waited_long = time.monotonic() - began_s > LONG_S
        if waited_long and (command := callbacks.check_publish()) is not None:
            assert turn.client is not None  # noqa: S101 - `_begin` took it
            self._end(turn, turn.client)
            return command
        return None

    def _watched(self, turn: _Turn, callbacks: TaskCallbacks) -> TaskCallbacks:
        """The callbacks of a task; the pool hears when its shard comes to its end."""

        def note_ending() -> None:
            callbacks.on_ending()
            with self._changed:
                turn.ending = True
                self._changed.notify_all()

        return replace(callbacks, on_ending=note_ending)

    def _begin(self, turn: _Turn) -> bool:
        """Take an executor, if it is the shard's turn and its memory is there."""
        if self._waiting[0] is not turn or not self._free or not self._may_join(turn):
            return False
        turn.client = next((c for c in reversed(self._free) if c.alive), self._free[-1])
        self._free.remove(turn.client)
        self._waiting.remove(turn)
        self._in_work.append(turn)
        if not self._room_for(0):
            self._stop_idle()
        if len(self._in_work) > 1:
            self._watch()
        return True

    def _may_join(self, turn: _Turn) -> bool:
        """Whether a shard may begin beside those in work; one alone is never refused."""
        if not self._in_work or self._limit_bytes is None:
            return True
        alone = any(one.alone or one.needs_bytes is None for one in (turn, *self._in_work))
        return (
            not alone
            and self._room_for(turn.needs_bytes or 0, idle=False)
            and self._keeps_aim(turn)
        )

    def _keeps_aim(self, turn: _Turn) -> bool:
        """Whether executors would stay within the memory aimed at, by what shards really use."""
        if self._aim_bytes is None:
            return True
        return self._usage.now(self._in_work) + self._usage.peak(turn) <= self._aim_bytes

    def _room_for(self, more_bytes: int, *, idle: bool = True) -> bool:
        """Whether so much fits beside the shards in work and, if they stay, idle executors."""
        if self._limit_bytes is None:
            return True
        running = sum(client.alive for client in self._free) if idle else 0
        used_bytes = sum(one.needs_bytes or 0 for one in self._in_work) + running * BASE_BYTES
        if not used_bytes:
            return True
        return used_bytes + more_bytes <= WATCHDOG_SHARE * self._limit_bytes

    def _stop_idle(self) -> None:
        for client in self._free:
            if client.alive:
                client.stop()

    def _end(self, turn: _Turn, client: ExecutorClient) -> None:
        with self._changed:
            self._in_work.remove(turn)
            turn.client = None
        self._give_free(client)

    def _give_free(self, client: ExecutorClient) -> None:
        with self._changed:
            self._free.append(client)
            self._changed.notify_all()

    def _died_of_others(self, turn: _Turn, result: Done | Failed) -> bool:
        """Whether a shard failed because of what all executors together used."""
        if not isinstance(result, Failed) or result.kind not in _KILLED:
            return False
        if turn.stopped:
            return True
        if result.kind != "memory" or self._limit_bytes is None:
            return False
        by_itself = (result.peak_bytes or 0) > WATCHDOG_SHARE * self._limit_bytes
        return not by_itself and turn.crowd_bytes > CROWDED_SHARE * self._limit_bytes

    def _watch(self) -> None:
        """Begin to watch the sum, once there is one."""
        if self._watchdog is None and self._limit_bytes is not None:
            self._watchdog = threading.Thread(
                target=self._watch_sum, args=(self._limit_bytes,), name="sum watchdog", daemon=True
            )
            start_thread(self._watchdog)

    def _watch_sum(self, limit_bytes: int) -> None:
        while not self._closed.wait(SAMPLE_S):
            with self._changed:
                if len(self._in_work) > 1:
                    self._relieve(limit_bytes)

    def _relieve(self, limit_bytes: int) -> None:
        """Near the limit, stop idle executors, else the newest one in work."""
        sum_bytes = self._sum_bytes(CROWDED_SHARE * limit_bytes)
        for turn in self._in_work:
            turn.crowd_bytes = max(turn.crowd_bytes, sum_bytes)
        if sum_bytes <= WATCHDOG_SHARE * limit_bytes:
            return
        if any(client.alive for client in self._free):
            self._stop_idle()
        elif not any(turn.stopped for turn in self._in_work):
            newest = self._in_work[-1]
            newest.stopped = True
            if newest.client is not None:
                newest.client.kill()

    def _sum_bytes(self, exact_above: float) -> int:
        """Memory of all executors and of what forks them; pages that they share count once."""
        pids = [client.pid for client in self._clients]
        if self._forks is not None:
            pids.append(self._forks.pid)
        return process_memory.sum_bytes([pid for pid in pids if pid is not None], exact_above)
