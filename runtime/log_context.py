"""Fields that log lines carry besides their event's own: the run, shard, tier and attempt in work.

A thread that works for another one shares its fields by `shared`; also those that are added later,
such as a shard's name, once its message is read.
"""

import contextvars
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, ParamSpec, TypeVar

Fields = dict[str, object]
P = ParamSpec("P")
T = TypeVar("T")

_fields: Final[contextvars.ContextVar[Fields | None]] = contextvars.ContextVar(
    "log_fields", default=None
)
_of_process: Final[Fields] = {}


@contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Let the lines of this thread carry fields, within `with`."""
    token = _fields.set({**(_fields.get() or {}), **fields})
    try:
        yield
    finally:
        _fields.reset(token)


def add(**fields: object) -> None:
    """Add fields to those that `bound` holds, for all threads that share them."""
    held = _fields.get()
    if held is not None:
        held.update(fields)


def shared(function: Callable[P, T]) -> Callable[P, T]:
    """The function with the fields of this thread, for a thread that is about to start."""
    context = contextvars.copy_context()

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return context.run(function, *args, **kwargs)

    return run


def set_for_process(**fields: object) -> None:
    """Let all lines of this process carry these fields and no others, whatever the thread."""
    _of_process.clear()
    _of_process.update(fields)


def fields() -> Mapping[str, object]:
    """Fields that a line of this thread carries."""
    return {**_of_process, **(_fields.get() or {})}
