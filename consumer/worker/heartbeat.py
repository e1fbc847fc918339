"""Heartbeats: the shard in work and its progress, written at its start, then ever more rarely."""

import threading
from collections.abc import Callable
from typing import Final, Self

from delivery.ledger.run import Heartbeat, Run
from runtime import log
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
        self._thread = threading.Thread(target=self._loop, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        start_thread(self._thread)
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()

    def _loop(self) -> None:
        self._send()
        pause_s = min(FIRST_S, self._period_s)
        while not self._done.wait(pause_s):
            self._send()
            pause_s = min(2 * pause_s, self._period_s)

    def _send(self) -> None:
        try:
            self._run.write_heartbeat(self._current())
        except ShardliftError as error:  # heartbeats only inform
            _log.warning(log.HEARTBEAT_FAILED, run=self._run.uri, reason=str(error))
