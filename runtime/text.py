"""Text of messages that several rooms print."""

from collections.abc import Sequence


def join_first(names: Sequence[str], most: int) -> str:
    """The first names and the number of the others: `s0/00, s0/01 and 7 more`."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
