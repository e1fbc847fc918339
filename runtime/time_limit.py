"""Calls that are given up after a time, for what is welcome but not needed."""

import threading
from collections.abc import Callable
from typing import TypeVar

from runtime.errors import UnreachableError

T = TypeVar("T")


def call_within(seconds: float, function: Callable[[], T], what: str) -> T:
    """Call a function on a thread of its own; what it raises is raised here.

    A function that takes longer goes on unheard, and does not keep the process from its end.

    Args:
        seconds: that it may take.
        function: without side effects.
        what: it does, as the error says it: `gs://bucket/volume could not be read`.

    Raises:
        UnreachableError: it took longer.
    """
    results: list[T] = []
    errors: list[Exception] = []

    def call() -> None:
        try:
            results.append(function())
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            errors.append(error)

    thread = threading.Thread(target=call, name="time limit", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise UnreachableError(f"{what} within {seconds:g} s")
    return results[0]
