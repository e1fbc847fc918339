"""Lease on one message: renewal in the background, expiry judged by the worker's own clock.

Brokers do not report expiry reliably: on Pub/Sub, extending an expired lease succeeds even while
another worker holds the message. So the lease counts from the last confirmed extension, by a clock
that goes on while the machine is suspended.
"""

import threading
from collections.abc import Callable
from typing import Final, Self

from delivery.broker.base import Broker, Delivery
from runtime import log, log_context, log_events
from runtime.clock import uptime_s
from runtime.errors import ShardliftError
from runtime.machine import start_thread

MARGIN_SHARE: Final = 0.1  # of the deadline: for differing clocks and slow responses
EXTEND_SHARE: Final = 1 / 3  # of the deadline, between two extensions
RETRY_SHARE: Final = 1 / 15  # of the deadline, after an extension that failed

Clock = Callable[[], float]  # monotonic seconds

_log = log.get()


class Lease:
    """A lease on one delivery; within `with`, a thread extends it.

    Args:
        broker: of the message.
        delivery: the message.
        deadline_s: duration of one extension.
        clock: the clock of `delivery.received_s`.
        on_lost: called once, on the lease's thread, if the lease was lost while this worker lives.
    """

    def __init__(
        self,
        broker: Broker,
        delivery: Delivery,
        deadline_s: float,
        clock: Clock = uptime_s,
        *,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._broker = broker
        self._delivery = delivery
        self._deadline_s = deadline_s
        self._clock = clock
        self._on_lost = on_lost
        self._confirmed_s = delivery.received_s
        self._lost = False
        self._done = threading.Event()
        self._thread = threading.Thread(
            target=log_context.shared(self._run), name="lease", daemon=True
        )

    def __enter__(self) -> Self:
        start_thread(self._thread)
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()  # not joined: a call under way may hang with the network

    def lost(self) -> bool:
        """Whether another worker may hold the message; a lost lease stays lost."""
        held_s = self._clock() - self._confirmed_s
        if held_s > self._deadline_s * (1 - MARGIN_SHARE):
            self._lost = True
        return self._lost

    def extend(self) -> bool:
        """Extend the lease; whether the broker confirmed. A lost lease is never extended."""
        if self.lost():
            return False
        requested_s = self._clock()  # the broker counts from a later moment
        try:
            if not self._broker.extend(self._delivery) and not self._done.is_set():
                self._lost = True
        except ShardliftError as error:
            _log.warning(log_events.LEASE_EXTENSION_FAILED, reason=str(error))
            return False
        if self.lost():
            return False
        self._confirmed_s = requested_s
        return True

    def _run(self) -> None:
        self._renew()
        if self._lost:  # this thread runs, so the worker is not dead
            self._on_lost()

    def _renew(self) -> None:
        share = EXTEND_SHARE
        while not self._done.wait(self._deadline_s * share):
            try:
                share = EXTEND_SHARE if self.extend() else RETRY_SHARE
            except Exception:
                if self._done.is_set():  # the broker was closed meanwhile
                    return
                raise
            if self.lost():
                return
