"""Faults and hooks by method id, each used up by a number of requests."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from tests.support.google_api.calls import Call

Action = Callable[[Call], None]
T = TypeVar("T")


@dataclass
class _Order(Generic[T]):
    pattern: re.Pattern[str]
    left: int
    what: T


class Faults:
    """What shall go wrong, and what shall happen before a call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[_Order[int | str]] = []
        self._actions: list[_Order[Action]] = []

    def add(self, pattern: str, times: int, how: int | str) -> None:
        """Order a fault: a status, "reset" or "lost"."""
        with self._lock:
            self._faults.append(_Order(re.compile(pattern), times, how))

    def add_action(self, pattern: str, times: int, action: Action) -> None:
        """Order an action before a call."""
        with self._lock:
            self._actions.append(_Order(re.compile(pattern), times, action))

    def clear(self) -> None:
        """Nothing from now on."""
        with self._lock:
            self._faults.clear()
            self._actions.clear()

    def fault_for(self, method: str) -> int | str | None:
        """The fault ordered for a request, used up by it."""
        return self._next(self._faults, method)

    def act(self, call: Call) -> None:
        """Do what is ordered before this call."""
        action = self._next(self._actions, call.method.id)
        if action is not None:
            action(call)

    def _next(self, orders: list[_Order[T]], method: str) -> T | None:
        with self._lock:
            for order in orders:
                if order.left and order.pattern.search(method):
                    order.left -= 1
                    return order.what
        return None
