"""Upload from a thread of its own: one part is on its way while the next is made."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from runtime.machine import start_thread

_END_WAIT_S: Final = 1.0  # for a thread that nobody needs; within the time to end in on SIGTERM


class UploadStopped(Exception):  # noqa: N818 - an order, not a fault
    """Raised in the thread when what it uploads is not wanted any more."""


class PartReader:
    """File object over pieces that another thread hands over; for clients that upload files.

    Args:
        most_bytes: that wait to be read, at least those of one read; who hands over more waits.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._position = 0
        self._complete = False
        self._closed = False
        self._change = threading.Condition()

    def put(self, piece: bytes) -> bool:
        """Hand over a piece, when those before leave room; False if nothing is read any more."""
        with self._change:
            while self._held >= self._most and not self._closed:
                self._change.wait()
            self._pieces.append(piece)
            self._held += len(piece)
            self._change.notify_all()
            return not self._closed

    def complete(self) -> None:
        """Note that all pieces were handed over."""
        with self._change:
            self._complete = True
            self._change.notify_all()

    def close(self) -> None:
        """Let nobody wait any more; reading raises from now on."""
        with self._change:
            self._closed = True
            self._pieces.clear()
            self._change.notify_all()

    @property
    def closed(self) -> bool:
        """Whether reading raises."""
        return self._closed

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer only at the end.

        Raises:
            UploadStopped: the rest will not come.
        """
        with self._change:
            while self._held < size and not self._complete and not self._closed:
                self._change.wait()
            if self._closed:
                raise UploadStopped
            data = self._take(size)
            self._change.notify_all()
        self._position += len(data)
        return data

    def tell(self) -> int:
        """Number of bytes read so far."""
        return self._position

    def _take(self, size: int) -> bytes:
        taken, left = [], size
        while left and self._pieces:
            piece = self._pieces.popleft()
            if len(piece) > left:
                self._pieces.appendleft(piece[left:])
                piece = piece[:left]
            taken.append(piece)
            left -= len(piece)
        self._held -= size - left
        return b"".join(taken)


class BackgroundUpload:
    """An upload in a thread; its errors are raised where pieces are handed over.

    Args:
        send: uploads all that the reader gives; runs in the thread.
        most_bytes: that wait for it.
    """

    def __init__(self, send: Callable[[PartReader], None], most_bytes: int) -> None:
        self._send = send
        self._reader = PartReader(most_bytes)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="upload", daemon=True)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start the thread; it ends at the end, in any case."""
        start_thread(self._thread)
        try:
            yield
        finally:
            self._reader.close()
            self._thread.join(_END_WAIT_S)  # a request on its way ends by itself

    def put(self, piece: bytes) -> None:
        """Hand over a piece; waits while there is no room for it.

        Raises:
            Exception: that of the upload.
        """
        if not self._reader.put(piece):
            self.wait()

    def complete(self) -> None:
        """Note that all pieces were handed over."""
        self._reader.complete()

    def wait(self) -> None:
        """Wait until everything is uploaded.

        Raises:
            Exception: that of the upload.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._send(self._reader)
        except BaseException as error:  # noqa: BLE001 - raised in the thread that hands over
            self._error = error
            self._reader.close()
