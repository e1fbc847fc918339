"""Locks by name, for slots of one worker that would do the same thing twice."""

import contextlib
import threading
from collections.abc import Iterator
from collections.abc import Set as AbstractSet


class NameLocks:
    """Locks of any number of names; who holds several takes them together."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: set[str] = set()

    @contextlib.contextmanager
    def hold(self, names: AbstractSet[str]) -> Iterator[None]:
        """Hold these names, once no other thread does."""
        with self._changed:
            while self._held & names:
                self._changed.wait()
            self._held |= names
        try:
            yield
        finally:
            with self._changed:
                self._held -= names
                self._changed.notify_all()
