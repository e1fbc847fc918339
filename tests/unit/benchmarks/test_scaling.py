"""docs/scaling.md shows what the simulation gives now."""

import re

import pytest

from benchmarks.scaling import BEGIN, END, PAGE, PICTURE, ROWS, page_with, row


def test_every_pattern_is_on_the_page() -> None:
    """Its table has a row for each, and no other; the picture is there."""
    figures = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    names = re.findall(r"^\| (.+?) \| \d", figures, re.MULTILINE)
    assert names == list(ROWS)
    assert page_with(PAGE.read_text(), figures) == PAGE.read_text()
    assert PICTURE.read_text().startswith("<?xml")


@pytest.mark.parametrize(
    "name", [name for name in ROWS if name.startswith(("60 of", "400 of 120"))]
)
def test_figures_are_those_of_the_code(name: str) -> None:
    """For the patterns that are simulated fastest."""
    assert row(name, ROWS[name]) in PAGE.read_text()
