"""docs/troubleshooting.md quotes messages that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROOMS = ("braid", "runtime", "delivery", "memmodel", "producer", "consumer", "infra", "shardlift")
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
HEADINGS = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
# A quote with blanks is a message; without, it is a command, an option or a name.
QUOTES = [q for heading in HEADINGS for q in re.findall(r"`([^`]+)`", heading) if " " in q]


def _text(node: ast.expr) -> str | None:
    """A string literal with each value that it formats as an ellipsis; None for other nodes."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "…" for part in node.values)
    return None


@pytest.fixture(scope="module")
def literals() -> str:
    """Every string literal of the code, one per line; of the kernels every line."""
    files = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]
    nodes = (node for file in files for node in ast.walk(ast.parse(file.read_text())))
    found = [text for node in nodes if isinstance(node, ast.expr) and (text := _text(node))]
    kernels = [re.sub(r"\{[^}]*\}", "…", f.read_text()) for f in (ROOT / "kernels").glob("*.p*")]
    return "\n".join([*found, *kernels])


@pytest.mark.parametrize("quote", QUOTES)
def test_headings_quote_messages(quote: str, literals: str) -> None:
    """A message in a heading stands in the code, where values stand for its ellipses."""
    assert quote.removeprefix("… ") in literals


def test_there_are_messages() -> None:
    """The headings are read as such."""
    assert len(QUOTES) >= 8
