"""Waiting for what another thread or process does.

A wait that is not in vain takes no longer for a long limit, and CI's machines may be slow.
"""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(look: Callable[[], T | None], what: str = "a change", within_s: float = 60.0) -> T:
    """What `look` gives as soon as it gives something."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {within_s:.0f} s in vain for {what}")
