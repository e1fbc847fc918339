"""Heartbeats: the shards in work and their progress, written at a start, then ever more rarely."""

import contextlib
import threading
from collections.abc import Callable
from typing import Final, Self

from delivery.ledger.run import Heartbeat, Run
from runtime import log, log_events
from runtime.errors import ShardliftError
from runtime.machine import start_thread

FIRST_S: Final = 2.0  # between the first two, so that progress shows early; then doubled
PERIOD_S: Final = 60.0  # at most

_log = log.get()


class HeartbeatThread:
    """Sends heartbeats from a background thread; slow storage cannot block the worker.

    Args:
        run: whose ledger gets the heartbeats.
        current: returns the heartbeat to write now.
        period_s: between two; a run counts as stalled after two leases, so at most one.
    """

    def __init__(self, run: Run, current: Callable[[], Heartbeat], period_s: float) -> None:
        self._run = run
        self._current = current
        self._period_s = min(PERIOD_S, period_s)
        self._done = threading.Event()
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Send the first heartbeat, and go on.

        Raises:
            MachineError: this machine has no thread to spare.
        """
        start_thread(self._thread)

    def hurry(self) -> None:
        """Send the next one soon: the worker has another shard, too."""
        self._news.set()

    def stop(self) -> None:
        """Send no further one."""
        self._done.set()
        self._news.set()

    def _loop(self) -> None:
        first_s = min(FIRST_S, self._period_s)
        pause_s = first_s
        self._send()
        while not self._done.is_set():
            if self._news.wait(pause_s):
                self._news.clear()
                pause_s = first_s
                if self._done.wait(first_s):  # shards may follow each other within moments
                    return
            self._send()
            pause_s = min(2 * pause_s, self._period_s)

    def _send(self) -> None:
        try:
            self._run.write_heartbeat(self._current())
        except ShardliftError as error:  # heartbeats only inform
            _log.warning(log_events.HEARTBEAT_FAILED, run=self._run.uri, reason=str(error))


class Heartbeats:
    """The heartbeat threads of a worker, one for each run of which it has shards.

    Args:
        current: returns the heartbeat of a run, by its URI; of none between two shards.
        period_s: between two.
    """

    def __init__(self, current: Callable[[str | None], Heartbeat], period_s: float) -> None:
        self._current = current
        self._period_s = period_s
        self._lock = threading.Lock()
        self._threads: dict[str, HeartbeatThread] = {}
        self._shards: dict[str, int] = {}
        self._runs: dict[str, Run] = {}  # where the last heartbeat names a shard

    def begin(self, run: Run) -> None:
        """Let the heartbeats of a run name one shard more.

        Raises:
            MachineError: this machine has no thread to spare.
        """
        with self._lock:
            self._runs[run.uri] = run
            if thread := self._threads.get(run.uri):
                thread.hurry()
            else:
                thread = HeartbeatThread(run, lambda: self._current(run.uri), self._period_s)
                thread.start()
                self._threads[run.uri] = thread
            self._shards[run.uri] = self._shards.get(run.uri, 0) + 1

    def end(self, run: Run) -> None:
        """End the heartbeats of a run with its last shard."""
        with self._lock:
            self._shards[run.uri] -= 1
            if not self._shards[run.uri]:
                self._threads.pop(run.uri).stop()

    def report_idle(self) -> None:
        """Write one heartbeat without a shard; further ones would hide that a run is stalled."""
        for run in self._runs.values():
            with contextlib.suppress(ShardliftError):
                run.write_heartbeat(self._current(None))
        self._runs.clear()
