"""Backoff of a worker: pauses after errors that no shard caused, shared by its slots."""

import threading
from collections.abc import Callable
from typing import Final

from consumer.signals import ShutdownFlags
from runtime import log, log_events
from runtime.errors import ShardliftError

FIRST_PAUSE_S: Final = 1.0  # after an error; doubled with each further one in a row
MAX_ERRORS: Final = 5  # in a row, after which the worker ends with the last one

_log = log.get()


class Backoff:
    """Counts errors in a row. While one slot pauses, no slot gets a message.

    An outage reaches all slots at once, so errors of attempts that began before the last error was
    counted are the same trouble, and count once.

    Args:
        flags: an immediate shutdown ends a pause.
        on_trouble: called with each error; with "" once it is over.
        first_s: the first pause.
    """

    def __init__(
        self, flags: ShutdownFlags, on_trouble: Callable[[str], None], first_s: float
    ) -> None:
        self._flags = flags
        self._on_trouble = on_trouble
        self._first_s = first_s
        self._lock = threading.Lock()
        self._errors = 0
        self._rounds = 0
        self._pausing = 0

    @property
    def pausing(self) -> bool:
        """Whether a slot pauses."""
        return self._pausing > 0

    def begin(self) -> int:
        """Begin an attempt; its round, for `pause`."""
        return self._rounds

    def succeed(self) -> None:
        """Count anew: an attempt succeeded."""
        with self._lock:
            errors, self._errors = self._errors, 0
        if errors:
            self._on_trouble("")

    def pause(self, error: ShardliftError, begun: int) -> None:
        """Pause after an error, longer each time in a row.

        Args:
            error: of the attempt.
            begun: its round.

        Raises:
            ShardliftError: the error itself, if it was one too many.
        """
        with self._lock:
            if begun != self._rounds:
                return
            self._rounds += 1
            self._errors += 1
            errors = self._errors
            self._pausing += 1
        try:
            self._on_trouble(str(error))
            if errors >= MAX_ERRORS:
                raise error
            seconds = self._first_s * 2 ** (errors - 1)
            _log.warning(log_events.WORKER_BACKOFF, reason=str(error), seconds=seconds)
            self._flags.immediate.wait(seconds)
        finally:
            with self._lock:
                self._pausing -= 1
