"""A network between a test server and its clients: time per request, bytes per second."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

_PIECE_BYTES = 256 << 10


@dataclass
class Way:
    """One direction of one connection, or of the whole network.

    Attributes:
        free_at: when the bytes sent so far have passed.
    """

    free_at: float = 0.0

    def take(self, size: int, per_s: float, now: float) -> float:
        """Send so many bytes after those before; when they have passed."""
        self.free_at = max(self.free_at, now) + size / per_s
        return self.free_at


@dataclass
class Network:
    """A network with a delay and a width.

    Attributes:
        delay_s: between a request and the first byte of its answer.
        connection_per_s: bytes of one connection, each way.
        per_s: bytes of all connections together, each way.
    """

    delay_s: float = 0.0
    connection_per_s: float = 100e6
    per_s: float = 100e6
    _all_in: Way = field(default_factory=Way)
    _all_out: Way = field(default_factory=Way)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self) -> None:
        """Let the time of one request pass."""
        time.sleep(self.delay_s)

    def inward(self, size: int, way: Way) -> Iterator[int]:
        """Sizes of the pieces of a request's body, each when it has passed."""
        return self._pieces(size, way, self._all_in)

    def outward(self, size: int, way: Way) -> Iterator[int]:
        """Sizes of the pieces of an answer's body, each when it has passed."""
        return self._pieces(size, way, self._all_out)

    def _pieces(self, size: int, way: Way, everyone: Way) -> Iterator[int]:
        for at in range(0, size, _PIECE_BYTES):
            piece = min(_PIECE_BYTES, size - at)
            now = time.monotonic()
            with self._lock:
                passed = everyone.take(piece, self.per_s, now)
            passed = max(passed, way.take(piece, self.connection_per_s, now))
            time.sleep(max(0.0, passed - now))
            yield piece
