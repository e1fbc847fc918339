"""Polling with a deadline, for what another thread or process does."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(poll: Callable[[], T | None], what: str = "a change", within_s: float = 60.0) -> T:
    """Call `poll` until its result is true; the result.

    The limit is long because machines of CI may be slow; only a failing test waits for it.
    """
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        found = poll()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {within_s:.0f} s in vain for {what}")
