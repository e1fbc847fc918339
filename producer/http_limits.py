"""Limits of the file server: size and time of a request's head, number of connections."""

import socket
import threading
import time
from typing import Final

MAX_LINE_BYTES: Final = 8 << 10
MAX_HEAD_BYTES: Final = 16 << 10
IDLE_S: Final = 60.0  # between two requests of a connection
HEAD_S: Final = 10.0  # for a request's head, and for the first byte on a connection
SEND_S: Final = 60.0  # for one piece of a body
MAX_CONNECTIONS: Final = 64  # a browser opens six

_PIECE_BYTES: Final = 4 << 10
_DRAINED_BYTES: Final = 1 << 20
_ENDS: Final = (b"\r\n\r\n", b"\n\n")


class HeadTooLargeError(Exception):
    """A request's head exceeds `MAX_HEAD_BYTES`."""


class HeadReader:
    """Reads the heads of requests from a connection, each within limits.

    Args:
        connection: of one client.
        head_s: seconds for one head.
        idle_s: seconds to wait for the next one.
    """

    def __init__(
        self, connection: socket.socket, head_s: float = HEAD_S, idle_s: float = IDLE_S
    ) -> None:
        self._connection = connection
        self._head_s = head_s
        self._idle_s = idle_s
        self._pending = b""
        self._first = True

    def read(self) -> bytes:
        """The next head with its blank line; empty when the client has ended.

        Raises:
            TimeoutError: it did not come in time.
            HeadTooLargeError: it is larger than a viewer's.
        """
        until = time.monotonic() + (self._head_s if self._first else self._idle_s)
        self._first = False
        began = bool(self._pending)
        while (end := _end(self._pending)) is None:
            if len(self._pending) > MAX_HEAD_BYTES:
                raise HeadTooLargeError
            self._connection.settimeout(max(0.001, until - time.monotonic()))
            piece = self._connection.recv(_PIECE_BYTES)
            if not piece:
                return b""
            if not began:
                began, until = True, time.monotonic() + self._head_s
            self._pending = (self._pending + piece).lstrip(b"\r\n")
        if end > MAX_HEAD_BYTES:
            raise HeadTooLargeError
        head, self._pending = self._pending[:end], self._pending[end:]
        return head

    def drain(self) -> None:
        """Take what the client still sends, for a while, so that it reads its answer."""
        left, until = _DRAINED_BYTES, time.monotonic() + 1.0
        self._connection.shutdown(socket.SHUT_WR)
        while left > 0 and (wait_s := until - time.monotonic()) > 0:
            self._connection.settimeout(wait_s)
            piece = self._connection.recv(_PIECE_BYTES)
            if not piece:
                return
            left -= len(piece)


def _end(data: bytes) -> int | None:
    """Position behind the blank line that ends a head."""
    found = [at + len(end) for end in _ENDS if (at := data.find(end)) >= 0]
    return min(found, default=None)


class ConnectionLimit:
    """Open connections, of which there are at most so many.

    One more takes the place of the one that has waited longest for a request.
    """

    def __init__(self, most: int = MAX_CONNECTIONS) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._waits: dict[socket.socket, bool] = {}  # the longest waiting first

    def admit(self, connection: socket.socket) -> bool:
        """Count a new connection; False if all others are being answered."""
        with self._lock:
            if len(self._waits) >= self._most:
                oldest = next((one for one, waits in self._waits.items() if waits), None)
                if oldest is None:
                    return False
                del self._waits[oldest]
                _shut(oldest)
            self._waits[connection] = True
            return True

    def begin(self, connection: socket.socket) -> None:
        """A request came: the connection is being answered."""
        self._set(connection, waits=False)

    def end(self, connection: socket.socket) -> None:
        """The request is answered: the connection waits for the next."""
        self._set(connection, waits=True)

    def release(self, connection: socket.socket) -> None:
        """Forget a connection that ends."""
        with self._lock:
            self._waits.pop(connection, None)

    def _set(self, connection: socket.socket, *, waits: bool) -> None:
        with self._lock:
            if self._waits.pop(connection, None) is not None:
                self._waits[connection] = waits


def _shut(connection: socket.socket) -> None:
    """End a connection that another thread reads from: its read returns."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # the client was faster
        return
