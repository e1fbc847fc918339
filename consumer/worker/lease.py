"""One message kept ours while its shard is worked on, and the knowledge of when it is not.

The broker does not tell: extending an expired lease succeeds, also while another worker holds the
message. So the worker's own clock decides, from the last extension that was confirmed.
"""

import threading
import time
from collections.abc import Callable
from typing import Final, Self

from delivery.broker.base import Broker, Delivery
from runtime import log
from runtime.errors import ShardliftError

MARGIN_SHARE: Final = 0.1  # of the deadline: for clocks that differ and answers that travel
EXTEND_SHARE: Final = 1 / 3  # of the deadline, between two extensions
RETRY_SHARE: Final = 1 / 15  # of the deadline, after an extension that failed

Clock = Callable[[], float]  # monotonic seconds

_log = log.get()


class Lease:
    """A lease on one delivery; within `with` a thread extends it.

    Args:
        broker: whose message it is.
        delivery: the message.
        deadline_s: how long one extension holds.
        clock: monotonic seconds; the same that `delivery.received_s` was read from.
    """

    def __init__(
        self, broker: Broker, delivery: Delivery, deadline_s: float, clock: Clock = time.monotonic
    ) -> None:
        self._broker = broker
        self._delivery = delivery
        self._deadline_s = deadline_s
        self._clock = clock
        self._confirmed_s = delivery.received_s
        self._lost = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()  # a call under way may hang with the network: not waited for

    def lost(self) -> bool:
        """Whether the message may be someone else's. Once lost, it stays lost."""
        held_s = self._clock() - self._confirmed_s
        if held_s > self._deadline_s * (1 - MARGIN_SHARE):
            self._lost = True
        return self._lost

    def extend(self) -> bool:
        """Ask the broker once; whether it confirmed. A lost lease is not asked for again."""
        if self.lost():
            return False
        asked_s = self._clock()  # the broker counts from some moment after this one
        try:
            if not self._broker.extend(self._delivery):
                self._lost = True
        except ShardliftError as error:
            _log.warning(log.LEASE_EXTENSION_FAILED, reason=str(error))
            return False
        if self.lost():
            return False
        self._confirmed_s = asked_s
        return True

    def _keep(self) -> None:
        share = EXTEND_SHARE
        while not self._done.wait(self._deadline_s * share):
            try:
                share = EXTEND_SHARE if self.extend() else RETRY_SHARE
            except Exception:
                if self._done.is_set():  # the broker was closed under us, and nobody needs us
                    return
                raise
            if self.lost():
                return
