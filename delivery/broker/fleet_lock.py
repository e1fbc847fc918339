"""Fleet lock: at most one fleet works on a queue of one machine.

The kernel's lock (flock) on a file next to the queue's, so that a fleet that dies in any way
releases it. Two fleets on one queue harm no shard, but each spends the memory that it found free.
"""

import contextlib
import fcntl
import os
import threading
from pathlib import Path
from typing import Final, Self

from runtime.errors import UsageError

SUFFIX: Final = ".fleet"


class FleetLock:
    """The lock of one queue; a process started with its `fileno` holds it too.

    Args:
        queue: the queue's file.

    Raises:
        UsageError: its file cannot be opened.
    """

    def __init__(self, queue: Path) -> None:
        path = queue.with_name(f"{queue.name}{SUFFIX}")
        try:
            queue.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise UsageError(
                f"the fleet lock {path} cannot be opened: {error.strerror}",
                hint="take it away, or set QUEUE_URL or --queue to a folder that can be written",
            ) from None

    def fileno(self) -> int:
        """Its file descriptor."""
        return self._file

    def take(self) -> bool:
        """Take the lock; False while another fleet has it."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def take_when_free(self) -> bool:
        """Take the lock now or, in the background, as soon as it is free; whether now."""
        if self.take():
            return True
        threading.Thread(target=self._await, name="fleet-lock", daemon=True).start()
        return False

    def close(self) -> None:
        """Release the lock; processes that inherited it keep it."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _await(self) -> None:
        with contextlib.suppress(OSError):  # closed meanwhile
            fcntl.flock(self._file, fcntl.LOCK_EX)
