"""A worker's day: one message after another, patience with trouble, an orderly end."""

from collections.abc import Callable
from typing import Final

from consumer.signals import ShutdownFlags
from consumer.worker.worker import TROUBLE, Worker
from delivery.broker.base import Broker
from delivery.messages import NewerSchema
from runtime import log
from runtime.errors import ShardliftError

WAIT_S: Final = 1.0  # for a message, between two looks at the flags
FIRST_PAUSE_S: Final = 1.0  # after trouble; doubled each time
MOST_TROUBLES: Final = 5  # in a row: then the worker gives up, and whoever started it decides

_log = log.get()


class WorkerLoop:
    """Works at one tier until told to stop, or until nothing is left.

    Args:
        broker: the queue.
        tier: its name.
        worker: who answers the messages.
        flags: whether to stop.
        tell: told whether there is a shard in work, at each change.
        pause_s: the first pause after trouble.
    """

    def __init__(
        self,
        broker: Broker,
        tier: str,
        worker: Worker,
        flags: ShutdownFlags,
        *,
        tell: Callable[[bool], None] = lambda _: None,
        pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        self._broker = broker
        self._tier = tier
        self._worker = worker
        self._flags = flags
        self._tell = tell
        self._busy: bool | None = None
        self._pause_s = pause_s
        self._troubles = 0

    def run(self, over: Callable[[], bool]) -> None:
        """Work; `over` is asked whenever no message came.

        Raises:
            NewerSchema: this program is older than a run.
            UnreachableError, UsageError, ExecutorError: trouble, several times in a row.
        """
        try:
            while not self._flags.wanted:
                if not self._patiently() and over():
                    break
        finally:
            self._worker.close()

    def _patiently(self) -> bool:
        """One message, if there is one. After trouble wait, the longer the more there was."""
        try:
            came = self._once()
        except NewerSchema:
            raise
        except TROUBLE as error:
            self._pause(error)
            return True
        self._troubles = self._troubles if not came else 0
        return came

    def _once(self) -> bool:
        self._worker.prepare()
        delivery = self._broker.lease(self._tier, WAIT_S)
        self._say(busy=delivery is not None)
        if delivery is None:
            self._worker.rest()
            return False
        if self._flags.wanted:  # it came while the signal did
            self._broker.nack(delivery)
        else:
            self._worker.handle(delivery)
        return True

    def _say(self, *, busy: bool) -> None:
        if busy != self._busy:
            self._busy = busy
            self._tell(busy)

    def _pause(self, error: ShardliftError) -> None:
        self._troubles += 1
        if self._troubles >= MOST_TROUBLES:
            raise error
        seconds = self._pause_s * 2 ** (self._troubles - 1)
        _log.warning(log.WORKER_BACKOFF, reason=str(error), seconds=seconds)
        self._flags.immediate.wait(seconds)
