"""Worker loop: poll one message at a time, back off on errors, shut down gracefully."""

from collections.abc import Callable
from typing import Final

from consumer.signals import ShutdownFlags
from consumer.worker.worker import EXTERNAL_ERRORS, Worker
from delivery.broker.base import Broker
from delivery.ledger.output_revision import OtherRevision
from delivery.messages import NewerSchema
from runtime import log
from runtime.errors import ShardliftError
from runtime.machine import translate_machine_errors

WAIT_S: Final = 1.0  # for a message, between two checks of the flags
FIRST_PAUSE_S: Final = 1.0  # after an error; doubled with each further one in a row
MAX_ERRORS: Final = 5  # in a row, after which the worker ends with the last one

_log = log.get()


class WorkerLoop:
    """Serves one tier until a shutdown is requested or an exit condition holds.

    Args:
        broker: the queue.
        tier: its name.
        worker: handles the messages.
        flags: requests to shut down.
        on_busy: called with whether a shard is in work, at each change.
        on_trouble: called with each error that no shard caused; with "" once it is over.
        pause_s: the first pause after an error.
    """

    def __init__(
        self,
        broker: Broker,
        tier: str,
        worker: Worker,
        flags: ShutdownFlags,
        *,
        on_busy: Callable[[bool], None] = lambda _: None,
        on_trouble: Callable[[str], None] = lambda _: None,
        pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        self._broker = broker
        self._tier = tier
        self._worker = worker
        self._flags = flags
        self._on_busy = on_busy
        self._on_trouble = on_trouble
        self._busy: bool | None = None
        self._pause_s = pause_s
        self._errors = 0

    def run(self, should_exit: Callable[[], bool]) -> None:
        """Serve the tier; `should_exit` is called whenever no message came.

        Raises:
            NewerSchema: this program is older than a run.
            OtherRevision: this program makes other bytes than a run was planned for.
            UnreachableError, UsageError, ExecutorError: several in a row.
        """
        try:
            while not self._flags.wanted:
                if not self._poll_with_backoff() and should_exit():
                    break
        finally:
            self._worker.close()

    def _poll_with_backoff(self) -> bool:
        """Poll once; after an error pause, longer each time in a row. False: no message came."""
        try:
            with translate_machine_errors():
                received = self._poll_once()
        except (NewerSchema, OtherRevision):
            raise
        except EXTERNAL_ERRORS as error:
            self._pause(error)
            return True
        if received and self._errors:
            self._errors = 0
            self._on_trouble("")
        return received

    def _poll_once(self) -> bool:
        self._worker.prepare()
        delivery = self._broker.lease(self._tier, WAIT_S)
        self._set_busy(busy=delivery is not None)
        if delivery is None:
            self._worker.report_idle()
            return False
        if self._flags.wanted:  # it came together with the signal
            self._broker.nack(delivery)
        else:
            self._worker.handle(delivery)
        return True

    def _set_busy(self, *, busy: bool) -> None:
        if busy != self._busy:
            self._busy = busy
            self._on_busy(busy)

    def _pause(self, error: ShardliftError) -> None:
        self._errors += 1
        self._on_trouble(str(error))
        if self._errors >= MAX_ERRORS:
            raise error
        seconds = self._pause_s * 2 ** (self._errors - 1)
        _log.warning(log.WORKER_BACKOFF, reason=str(error), seconds=seconds)
        self._flags.immediate.wait(seconds)
