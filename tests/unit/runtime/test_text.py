"""Text from others: printed, logged and written as JSON without control characters."""

import json
import unicodedata

import pytest

from runtime.table import format_table
from runtime.text import json_text, printable, printable_lines

HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\x9b31m\r\x08\u202e\u2066\u2028\x85\x7f[red]x\nerror: forged\x00\udc9b"
)


def test_what_is_printable_stays() -> None:
    """Letters of every script, marks, emoji and backslashes."""
    text = "s0/0a \\x1b [red] 数え é e\u0301 😀 → ½"
    assert printable(text) == text
    assert printable_lines("a\nb") == "a\nb"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", r"\x1b[31m"),
        ("a\nb\rc\td", r"a\nb\rc\td"),
        ("\x9b", r"\x9b"),
        ("\x7f", r"\x7f"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("\ufeff\u200b", r"\ufeff\u200b"),
        ("\U000e0041", r"\U000e0041"),
        ("caf\udce9", r"caf\udce9"),
    ],
)
def test_what_is_not_printable_is_escaped(text: str, shown: str) -> None:
    """As Python writes it."""
    assert printable(text) == shown


def test_no_character_of_a_control_category_is_left() -> None:
    """Of all of Unicode: controls, formats, surrogates, separators."""
    everything = "".join(map(chr, range(0x110000)))
    left = {unicodedata.category(c) for c in printable(everything)}
    assert not left & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert printable(printable(everything)) == printable(everything)


def test_json_is_printable_ascii_that_gives_the_value_back() -> None:
    """Also of characters that JSON itself would leave as they are."""
    text = json_text({HOSTILE: [HOSTILE]}, indent=1)
    assert text.replace("\n", "").isascii()
    assert text.replace("\n", "").isprintable()
    assert json.loads(text) == {HOSTILE: [HOSTILE]}


def test_cells_of_tables_are_escaped_and_not_markup() -> None:
    """A cell spends one line and names no colour."""
    head, row = format_table(("key", "[red]"), [(HOSTILE, ":smile:")], left=2).splitlines()
    assert head.split() == ["key", "[red]"]
    assert row.isprintable()
    assert row.endswith(":smile:")
    assert "[red]x" in row


def test_a_table_without_headers_has_none() -> None:
    """No line is spent on empty ones."""
    assert format_table(("", ""), [("a", "b"), ("cc", "d")], left=2) == "a   b\ncc  d"
