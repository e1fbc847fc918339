"""Charts: whole numbers for counts, rare parts that are seen, a title for each."""

import re
from itertools import pairwise

import pytest

from producer import svg


def labels(chart: str) -> list[str]:
    """Texts of a chart: the name of y, its ticks, those of x, the name of x."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", chart)


@pytest.mark.parametrize("most", [1, 2, 3, 7, 11, 48, 99, 101, 12_345])
def test_counts_have_whole_ticks(most: int) -> None:
    """Also few of them; the last tick is not below the largest count."""
    texts = labels(svg.histogram("t", [0.1] * most, "seconds", "shards"))
    ticks = texts[1 : texts.index("0", 2)]
    numbers = [int(tick.replace(",", "")) for tick in ticks]
    assert numbers[0] == 0
    assert len(numbers) in range(2, 8)
    assert numbers[-1] >= most
    assert len({high - low for low, high in pairwise(numbers)}) == 1


def test_steps_count_whole_shards() -> None:
    """Two shards: 0, 1, 2; time is not whole."""
    texts = labels(svg.steps("t", [(0.1, 1), (0.3, 2)], "seconds", "shards"))
    assert texts == ["shards", "0", "1", "2", "0", "0.1", "0.2", "0.3", "seconds"]


def test_one_of_many_is_seen() -> None:
    """The bar stays as long as it is, and states without shards take nothing."""
    drawn = svg.bar("t", [(100_000, "var(--done)"), (1, "var(--failed)"), (0, "var(--ready)")])
    widths = [float(width) for width in re.findall(r'<rect[^>]* width="([\d.]+)"', drawn)]
    assert len(widths) == 2
    assert widths[1] > 5
    assert sum(widths) == pytest.approx(1000, abs=0.2)


def test_an_empty_bar() -> None:
    """A scale without shards."""
    assert "<rect" not in svg.bar("t", [(0, "var(--done)")])


def test_many_shards_make_no_large_chart() -> None:
    """What would be drawn in one place is drawn once; all are told of."""
    dots = [svg.Dot(100 + n % 2 / 1000, 90, "var(--main)", f"s0/{n:x}") for n in range(50_000)]
    chart = svg.scatter("t", dots, "x", "y")
    assert chart.count("<circle") == 1
    assert "s0/0: 90 measured, 100 estimated, and 49,999 more" in chart
    spread = [svg.Dot(n * 7919 % 5003, n * 104729 % 4999, "c", f"s0/{n:x}") for n in range(50_000)]
    assert len(svg.scatter("t", spread, "x", "y")) < 600_000
    steps = svg.steps("t", [(n, n + 1) for n in range(50_000)], "seconds", "shards")
    assert len(steps) < 60_000
    assert re.search(r'V28\.0"', steps)  # the last shard, at the upper end


@pytest.mark.parametrize(
    "chart",
    [
        svg.bar("a < b", [(1, "var(--done)")]),
        svg.steps("a < b", [(0, 1)], "seconds", "shards"),
        svg.histogram("a < b", [0.0], "seconds", "shards"),
        svg.scatter("a < b", [svg.Dot(1, 2, "var(--main)", "s0/0")], "x", "y"),
    ],
)
def test_charts_have_a_title_and_the_colours_of_the_page(chart: str) -> None:
    """Nothing is drawn in a colour of its own, which dark mode would not reach."""
    assert re.match(r'<svg [^>]*role="img"[^>]*><title>a &lt; b</title>', chart)
    assert not re.search(r"#[0-9a-f]{3,6}", chart)
