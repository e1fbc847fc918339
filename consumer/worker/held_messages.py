"""Held messages: those that a worker has leased and not settled, released when it cannot go on."""

import contextlib
import threading

from delivery.broker.base import Broker, Delivery
from delivery.messages import decode
from runtime.errors import ShardliftError
from runtime.machine import start_thread


class HeldMessages:
    """The messages that the slots of one worker hold.

    Args:
        broker: of the messages.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._held: dict[str, Delivery] = {}  # by token

    def add(self, delivery: Delivery) -> None:
        """Hold a message."""
        self._held[delivery.token] = delivery

    def remove(self, delivery: Delivery) -> None:
        """Hold it no longer: it is settled."""
        self._held.pop(delivery.token, None)

    def give_back(self, delivery: Delivery) -> None:
        """Release a message without counting an attempt, unless it is settled."""
        if self._held.pop(delivery.token, None) is None:
            return
        try:
            message = decode(delivery.data)
        except ShardliftError:  # not a shard's; its attempts do not matter
            self._broker.nack(delivery)
        else:
            self._broker.hand_over(delivery, delivery.tier, message)

    def give_back_all(self) -> None:
        """Release all messages, side by side: there may be little time."""
        held = [*self._held.values()]
        # The last one on this thread: there may be none to spare.
        threads = [
            threading.Thread(target=self._try, args=(one,), daemon=True) for one in held[:-1]
        ]
        for thread in threads:
            with contextlib.suppress(ShardliftError):  # without a thread its lease ends by itself
                start_thread(thread)
        for one in held[-1:]:
            self.give_back(one)
        for thread in threads:
            if thread.ident is not None:
                thread.join()

    def _try(self, delivery: Delivery) -> None:
        with contextlib.suppress(ShardliftError):
            self.give_back(delivery)
