"""Heartbeats: what a worker is at, written when it begins a shard and once a minute."""

import threading
from collections.abc import Callable
from typing import Final, Self

from delivery.ledger.run import Heartbeat, Run
from runtime import log
from runtime.errors import ShardliftError

BEAT_S: Final = 60.0

_log = log.get()


class HeartbeatThread:
    """Beats on a thread of its own within `with`, so that slow storage holds nothing up.

    Args:
        run: whose ledger gets the heartbeats.
        look: the heartbeat to write now.
        period_s: between two; a run is quiet after two leases, so never more than one.
    """

    def __init__(self, run: Run, look: Callable[[], Heartbeat], period_s: float) -> None:
        self._run = run
        self._look = look
        self._period_s = min(BEAT_S, period_s)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="heart", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()

    def _keep(self) -> None:
        self._beat()
        while not self._done.wait(self._period_s):
            self._beat()

    def _beat(self) -> None:
        try:
            self._run.write_heartbeat(self._look())
        except ShardliftError as error:  # nobody's work depends on a heartbeat
            _log.warning(log.HEARTBEAT_FAILED, run=self._run.uri, reason=str(error))
