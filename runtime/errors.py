"""Errors classified by the next action, and exit codes.

Three kinds matter to a worker: *unreachable* (try again later), *permanent* (caused by the shard,
which goes to the dead letters) and *out of memory* (try a larger tier). A command turns each into
one line, a hint and an exit code; see `runtime.cli`.
"""

from typing import Final

EXIT_DONE: Final = 0
EXIT_FINDINGS: Final = 1  # ended, but with failed shards or findings
EXIT_USAGE: Final = 2  # wrong use or configuration
EXIT_UNREACHABLE: Final = 3  # a service or path could not be reached
EXIT_INTERRUPTED: Final = 130  # Ctrl-C or SIGTERM


class ShardliftError(Exception):
    """Base of all expected errors.

    The text says what happened and to which file or shard; `hint` says what to do next.

    Attributes:
        exit_code: of a command that ends with this error; set per class or per error.
    """

    exit_code: int = EXIT_FINDINGS

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(ShardliftError):
    """Wrong use or configuration; only another command or setting helps."""

    exit_code = EXIT_USAGE


class UnreachableError(ShardliftError):
    """Service or path not reachable after retries; may work later."""

    exit_code = EXIT_UNREACHABLE


class NoSuchBucketError(UnreachableError):
    """Bucket that does not exist, or that these credentials may not know of."""


class DamagedInTransit(UnreachableError):  # noqa: N818 - of the bytes, not of the object
    """Bytes that changed between storage and this process; the object is whole, so read again."""


class MachineError(UnreachableError):
    """This machine lacks a thread, a process or a file handle, or cannot start a program.

    Not caused by any shard: its message is released, and the worker tries again later.
    """


class PermanentError(ShardliftError):
    """Failure caused by the shard itself; neither a retry nor more memory helps."""


class ObjectNotFound(ShardliftError):  # noqa: N818 - the name says it
    """No object at this path."""


class OutOfMemory(ShardliftError):  # noqa: N818 - a verdict about a shard, not a fault
    """Work that needs more memory than its tier has.

    Both numbers are bytes, or None where they could not be measured (a killed executor).
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
