"""Worker loop: lease messages for the slots, back off on errors, shut down gracefully."""

from collections.abc import Callable
from typing import Final

from consumer.signals import ShutdownFlags
from consumer.worker.backoff import FIRST_PAUSE_S, MAX_ERRORS, Backoff
from consumer.worker.slots import Slots
from consumer.worker.worker import EXTERNAL_ERRORS, Worker
from delivery.broker.base import Broker, Delivery
from delivery.ledger.output_revision import OtherRevision
from delivery.messages import NewerSchema
from runtime.errors import MachineError
from runtime.machine import translate_machine_errors

__all__ = ["MAX_ERRORS", "WorkerLoop"]

WAIT_S: Final = 1.0  # for a message, between two checks of the flags


class WorkerLoop:
    """Serves one tier until a shutdown is requested or an exit condition holds.

    Args:
        broker: the queue.
        tier: its name.
        worker: handles the messages, as many at once as it has slots.
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
        self._busy: bool | None = None
        self._backoff = Backoff(flags, on_trouble, pause_s)
        one = worker.slots == 1
        self._slots = Slots(worker.slots, worker.handle if one else self._handle_with_backoff)

    def run(self, should_exit: Callable[[], bool]) -> None:
        """Serve the tier; `should_exit` is called whenever no message came and all slots are idle.

        Raises:
            NewerSchema: this program is older than a run.
            OtherRevision: this program makes other bytes than a run was planned for.
            UnreachableError, UsageError, ExecutorError: several in a row.
        """
        try:
            while not self._flags.wanted and not self._slots.failed:
                if not self._poll_with_backoff() and not self._slots.busy and should_exit():
                    break
        finally:
            if self._slots.busy:  # an error: what waits is released, what is in work is finished
                self._flags.graceful.set()
            self._slots.finish()
            self._worker.close()
            self._slots.close()
        self._slots.raise_error()

    def _poll_with_backoff(self) -> bool:
        """Poll once; after an error pause, longer each time in a row. False: no message came."""
        if not self._wants_message():
            self._slots.wait()
            return True
        received = False

        def poll() -> None:
            nonlocal received
            received = self._poll_once()

        if not self._attempt(poll):
            return True
        if received and self._slots.count == 1:  # else its slot knows better
            self._backoff.succeed()
        return received

    def _wants_message(self) -> bool:
        """Whether a message would get a slot, and an executor before long.

        While a shard waits here, another worker may be idle.
        """
        return self._slots.free and not self._worker.waiting and not self._backoff.pausing

    def _attempt(self, action: Callable[[], None]) -> bool:
        """Whether an action succeeded; pauses after an error that no shard caused."""
        begun = self._backoff.begin()
        try:
            with translate_machine_errors():
                action()
        except (NewerSchema, OtherRevision):
            raise
        except EXTERNAL_ERRORS as error:
            self._backoff.pause(error, begun)
            return False
        return True

    def _poll_once(self) -> bool:
        self._worker.prepare()
        delivery = self._broker.lease(self._tier, WAIT_S)
        self._set_busy(busy=delivery is not None or self._slots.busy)
        if delivery is None:
            if not self._slots.busy:
                self._worker.report_idle()
            return False
        if self._flags.wanted:  # it came together with the signal
            self._worker.decline(delivery)
        else:
            self._take(delivery)
        return True

    def _take(self, delivery: Delivery) -> None:
        try:
            self._slots.take(delivery)
        except MachineError:
            if self._slots.count > 1:  # no slot has it; one alone has given it back
                self._worker.decline(delivery)
            raise

    def _handle_with_backoff(self, delivery: Delivery) -> None:
        """Handle a delivery on a slot's thread."""
        if self._attempt(lambda: self._worker.handle(delivery)):
            self._backoff.succeed()

    def _set_busy(self, *, busy: bool) -> None:
        if busy != self._busy:
            self._busy = busy
            self._on_busy(busy)
