"""Text of messages that several rooms print, and what makes foreign text safe to print.

Names of files, contents of exports, reasons, services' texts and ids of workers come from others.
Printed as they are, they could move the cursor, colour, hide or forge what a terminal, a log or a
page shows; so every way out goes through `printable`, `printable_lines` or `json_text`.
"""

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

_UNFOLDED: Final = 100_000  # columns; more than any table needs


def printable(text: str) -> str:
    r"""The text in one line: what is not printable is escaped, such as `\x1b`, `\n`, `\u202e`.

    Control characters, line breaks, marks of writing direction, characters without width and the
    bytes of names that are not UTF-8 are not printable; letters of every script are.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def printable_lines(text: str) -> str:
    r"""The text with its line feeds; else as `printable`. For texts made of printable lines."""
    return "\n".join(map(printable, text.split("\n")))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def json_text(
    value: Any,  # noqa: ANN401 - any JSON value
    *,
    indent: int | None = None,
    default: Callable[[Any], Any] | None = None,
) -> str:
    """One JSON document in printable ASCII: everything else is escaped, as JSON escapes it.

    Args:
        value: the document.
        indent: of its lines; None: it is one line.
        default: makes a JSON value of another one.
    """
    return json.dumps(value, indent=indent, default=default).replace("\x7f", "\\u007f")


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
