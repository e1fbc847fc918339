"""Slots of a worker: threads that each take one delivery at a time through the failure table.

While one slot's shard is in an executor, others read and write the ledger for theirs. With one
slot there are no threads: the caller's handles the delivery.
"""

import math
import queue
import threading
from collections.abc import Callable
from typing import Final

from delivery.broker.base import Delivery
from memmodel.estimate import BASE_BYTES, WATCHDOG_SHARE, WORKER_AIM_BYTES, WORKER_BYTES
from runtime.machine import start_thread

POLL_S: Final = 0.1  # signals are handled between two waits
SLOTS_PER_EXECUTOR: Final = 2
EXECUTORS_PER_CPU: Final = 4  # of which most wait for storage, each at another place


class Slots:
    """A fixed number of slots.

    Args:
        count: of slots.
        handle: handles one delivery; called on several threads if there are several slots. What it
            raises ends the slots, and is raised by `raise_error`.
    """

    def __init__(self, count: int, handle: Callable[[Delivery], None]) -> None:
        self.count = count
        self._handle = handle
        self._changed = threading.Condition()
        self._deliveries: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._error: BaseException | None = None

    @property
    def busy(self) -> bool:
        """Whether any slot has a delivery."""
        return self._busy > 0

    @property
    def free(self) -> bool:
        """Whether a slot has none."""
        return self._busy < self.count

    @property
    def failed(self) -> bool:
        """Whether a slot raised an error."""
        return self._error is not None

    def take(self, delivery: Delivery) -> None:
        """Have a free slot handle a delivery; with one slot, return when it is handled.

        Raises:
            MachineError: there is no thread to spare; the delivery is not taken.
        """
        if self.count == 1:
            self._handle(delivery)
            return
        if self._busy == len(self._threads):
            self._start_thread()
        with self._changed:
            self._busy += 1
        self._deliveries.put(delivery)

    def wait(self, timeout_s: float = POLL_S) -> None:
        """Wait until a slot becomes free, or for a moment."""
        with self._changed:
            self._changed.wait(timeout_s)

    def finish(self) -> None:
        """Wait until every slot has handled its delivery."""
        while self.busy:
            self.wait()

    def close(self) -> None:
        """End the threads; executors that they started end with them."""
        for _ in self._threads:
            self._deliveries.put(None)
        for thread in self._threads:
            thread.join()

    def raise_error(self) -> None:
        """Raise the first error of a slot, if there was any."""
        if self._error is not None:
            raise self._error

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._serve, name="slot", daemon=True)
        start_thread(thread)
        self._threads.append(thread)

    def _serve(self) -> None:
        # Until `close`, even without work: the kernel ends an executor with the thread that started
        # it, whichever slot uses it then.
        while (delivery := self._deliveries.get()) is not None:
            error: BaseException | None = None
            try:
                self._handle(delivery)
            except BaseException as raised:  # noqa: BLE001 - raised again by `raise_error`
                error = raised
            with self._changed:
                self._error = self._error or error
                self._busy -= 1
                self._changed.notify_all()


def automatic_slots(cpus: int, limit_bytes: int | None) -> int:
    """Number of slots for storage over a network, as far as memory holds idle executors.

    Args:
        cpus: that the worker may use.
        limit_bytes: memory of all its executors.
    """
    executors = EXECUTORS_PER_CPU * cpus
    if limit_bytes is not None:
        executors = min(executors, int(WATCHDOG_SHARE * limit_bytes / BASE_BYTES))
    return SLOTS_PER_EXECUTOR * executors if executors > 1 else 1


def executors_aim(slots: int) -> int:
    """Bytes that all executors for so many slots should not pass."""
    cpus = max(1.0, executors_for(slots) / EXECUTORS_PER_CPU)
    return int(cpus * WORKER_AIM_BYTES) - WORKER_BYTES


def executors_for(slots: int) -> int:
    """Number of executors for so many slots."""
    return math.ceil(slots / SLOTS_PER_EXECUTOR)
