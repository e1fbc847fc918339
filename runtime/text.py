"""Text of messages that several rooms print."""

import sys
from collections.abc import Sequence
from typing import Final

_UNFOLDED: Final = 100_000  # columns; more than any table needs


def table_width(terminal: int | None = None) -> int | None:
    """Columns of a table on stdout: `terminal` on a terminal, elsewhere all that it needs.

    What reads a pipe or a file takes a row for a line, and a path for a word.
    """
    return terminal if sys.stdout.isatty() else _UNFOLDED


def counted(number: int, noun: str) -> str:
    """Number and noun: `1 file`, `2,000 files`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def join_first(names: Sequence[str], most: int) -> str:
    """The first names and the number of the others: `s0/00, s0/01 and 7 more`."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
