"""Errors by what has to happen next, and the exit codes they end in.

Three kinds matter to a worker: *unreachable* (try again later), *permanent* (the shard's own
fault, so it goes to the dead letters) and *out of memory* (try a larger tier). A command turns
each into one line, a hint and an exit code; see `runtime.cli`.
"""

from typing import ClassVar, Final

EXIT_DONE: Final = 0
EXIT_FINDINGS: Final = 1  # ended, but with failed shards or findings
EXIT_USAGE: Final = 2  # wrong use or configuration
EXIT_UNREACHABLE: Final = 3  # a service or path could not be reached
EXIT_INTERRUPTED: Final = 130  # Ctrl-C or SIGTERM


class ShardliftError(Exception):
    """Base of every error that this program raises on purpose.

    The text says what happened and to which file or shard; `hint` says what to do next.
    """

    exit_code: ClassVar[int] = EXIT_FINDINGS

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(ShardliftError):
    """Wrong use or configuration: nothing will help but another command or setting."""

    exit_code = EXIT_USAGE


class UnreachableError(ShardliftError):
    """A service or path could not be reached, after retries; later it may work."""

    exit_code = EXIT_UNREACHABLE


class PermanentError(ShardliftError):
    """The shard's own fault: no retry and no memory helps, so it goes to the dead letters."""


class ObjectNotFound(ShardliftError):  # noqa: N818 - reads as what it means at the call
    """There is no object at this path."""


class OutOfMemory(ShardliftError):  # noqa: N818 - a verdict about a shard, not a fault
    """The work needs more memory than its tier has.

    Both numbers are bytes, or None where nobody could measure them (a killed work process).
    """

    def __init__(
        self,
        message: str,
        hint: str | None = None,
        *,
        needed_bytes: int | None = None,
        limit_bytes: int | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.needed_bytes = needed_bytes
        self.limit_bytes = limit_bytes


class LeaseLost(ShardliftError):  # noqa: N818 - a state of the lease
    """By the worker's own clock the message may be someone else's now: publish nothing."""


class Cancelled(ShardliftError):  # noqa: N818 - a state of the run
    """The run was cancelled: publish nothing, ack the message."""
