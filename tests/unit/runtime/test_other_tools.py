"""Names of other tools: hints where they are typed, and pages that list them."""

from pathlib import Path

import pytest

from runtime import other_tools
from tests.support.commands import run_in_process

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.mark.parametrize(
    ("name", "page"),
    [
        *((name, "from-tensorstore-export.md") for name in other_tools.TENSORSTORE_EXPORT_COMMANDS),
        *((name, "from-tensorstore-export.md") for name in other_tools.TENSORSTORE_EXPORT_OPTIONS),
        *((name, "from-igneous.md") for name in other_tools.IGNEOUS_COMMANDS),
    ],
)
def test_a_page_has_every_name(name: str, page: str) -> None:
    """The pages for those who come from there."""
    assert name in (DOCS / page).read_text()


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("export-status", "what other tools call export-status is here: status"),
        ("xfer", "what other tools call xfer is here: enqueue"),
        ("exprt", None),
    ],
)
def test_hints(typed: str, hint: str | None) -> None:
    """Only names that another tool has get one, also with a suggestion behind."""
    assert other_tools.hint(f"No such command '{typed}'. Did you mean 'x'?") == hint


def test_an_option_of_another_tool_is_explained(tmp_path: Path) -> None:
    """By the command itself."""
    done = run_in_process("producer", "enqueue", "--only-missing", folder=tmp_path)
    assert done.returncode == 2
    assert "hint: what other tools call --only-missing is here: nothing to pass" in done.stderr
