"""Charts as inline SVG: each with a title for readers who do not see it, colours of the page.

Colours are CSS values, so that the page's variables follow light, dark and print.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.text import printable

_WIDTH, _HEIGHT = 400, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 22, 28, 42  # margins for the axes
_FONT = 13  # stays readable where the chart is as narrow as a phone
_BAR_LENGTH, _BAR = 1000, 18
_LEAST = 6.0  # length of a bar's part, however few: one failed shard of many is seen
_GRID, _MAIN = "var(--line)", "var(--main)"
_TICKS = 5
_BINS = 20
_MOST_DOTS = 2_500
_PLACE_EDGES = (1, 2, 4, 8, 16)

Point = tuple[float, float]


@dataclass(frozen=True)
class Dot:
    """Named point of a scatter chart."""

    x: float
    y: float
    colour: str
    name: str


@dataclass(frozen=True)
class _Plot:
    """Axes from 0 to their last tick."""

    x_ticks: Sequence[float]
    y_ticks: Sequence[float]

    def x(self, value: float) -> float:
        return round(_LEFT + value / self.x_ticks[-1] * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        return round(_HEIGHT - _BOTTOM - value / self.y_ticks[-1] * (_HEIGHT - _TOP - _BOTTOM), 1)

    def wrap(self, body: str, title: str, x_name: str, y_name: str) -> str:
        """SVG document of grid, ticks, axis names and the body."""
        parts = [_label(0, _FONT, y_name, "start")]
        for tick in self.y_ticks:
            at = self.y(tick)
            parts.append(_line(_LEFT, at, _WIDTH - _RIGHT, at, _GRID))
            parts.append(_label(_LEFT - 6, at + 4, _number(tick), "end"))
        below = _HEIGHT - _BOTTOM + 17
        parts += [_label(self.x(tick), below, _number(tick), "middle") for tick in self.x_ticks]
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        parts.append(_label(middle, _HEIGHT - 6, x_name, "middle"))
        return image(_WIDTH, _HEIGHT, title, "".join(parts) + body)


def bar(title: str, pieces: Sequence[tuple[int, str]]) -> str:
    """Bar of any width, divided by its (count, colour) parts."""
    whole = sum(number for number, _ in pieces) or 1
    lengths = [max(number / whole * _BAR_LENGTH, _LEAST) if number else 0.0 for number, _ in pieces]
    stretch = _BAR_LENGTH / (sum(lengths) or 1)
    parts, left = [], 0.0
    for length, (_, colour) in zip(lengths, pieces, strict=True):
        parts.append(_rect(left, 0, length * stretch, _BAR, colour))
        left += length * stretch
    more = ' preserveAspectRatio="none" class="bar"'
    return image(_BAR_LENGTH, _BAR, title, "".join(parts), more)


def steps(title: str, points: Sequence[Point], x_name: str, y_name: str) -> str:
    """Step chart of a count; points ascend in x."""
    x_ticks = _ticks(max(x for x, _ in points))
    plot = _Plot(x_ticks, _ticks(max(y for _, y in points), whole=True))
    corners = {plot.x(x): plot.y(y) for x, y in points}  # the last of those in one place
    path = f"M{plot.x(0)} {plot.y(0)}" + "".join(f"H{x}V{y}" for x, y in corners.items())
    line = f'<path d="{path}" fill="none" stroke-width="2" style="stroke:{_MAIN}"/>'
    return plot.wrap(line, title, x_name, y_name)


def histogram(title: str, values: Sequence[float], unit: str, noun: str) -> str:
    """Histogram of twenty equal bins from 0."""
    x_ticks = _ticks(max(values))
    end = x_ticks[-1]
    counts = [0] * _BINS
    for value in values:
        counts[min(int(value / end * _BINS), _BINS - 1)] += 1
    plot = _Plot(x_ticks, _ticks(max(counts), whole=True))
    bars = []
    for number, held in enumerate(counts):
        left, right = plot.x(end * number / _BINS), plot.x(end * (number + 1) / _BINS)
        bars.append(
            _rect(left + 1, plot.y(held), right - left - 2, plot.y(0) - plot.y(held), _MAIN)
        )
    return plot.wrap("".join(bars), title, unit, noun)


def scatter(title: str, dots: Sequence[Dot], x_name: str, y_name: str) -> str:
    """Scatter chart with the diagonal on which x and y are equal; dots in one place are one.

    Places are as fine as so many dots allow.
    """
    ticks = _ticks(max(max(dot.x, dot.y) for dot in dots))
    plot = _Plot(ticks, ticks)
    low, high = ticks[0], ticks[-1]
    ends = (plot.x(low), plot.y(low), plot.x(high), plot.y(high))
    parts = [_line(*ends, "var(--muted)", more=' stroke-dasharray="5"')]
    edges = iter(_PLACE_EDGES)
    places = _places(plot, dots, next(edges))
    while len(places) > _MOST_DOTS and (edge := next(edges, 0)):
        places = _places(plot, dots, edge)
    parts += [_dots(x, y, held) for (x, y, _), held in places.items()]
    return plot.wrap("".join(parts), title, x_name, y_name)


def _places(plot: _Plot, dots: Sequence[Dot], edge: int) -> dict[tuple[int, int, str], list[Dot]]:
    """The dots by place and colour."""
    places: dict[tuple[int, int, str], list[Dot]] = {}
    for dot in dots:
        x, y = (round(at / edge) * edge for at in (plot.x(dot.x), plot.y(dot.y)))
        places.setdefault((x, y, dot.colour), []).append(dot)
    return places


def _dots(x: int, y: int, held: Sequence[Dot]) -> str:
    first = held[0]
    name = f"{first.name}: {_number(first.y)} measured, {_number(first.x)} estimated"
    more = f", and {len(held) - 1:,} more" if len(held) > 1 else ""
    return (
        f'<circle cx="{x}" cy="{y}" r="4" fill-opacity="0.75" style="fill:{first.colour}">'
        f"<title>{html.escape(printable(name + more))}</title></circle>"
    )


def _ticks(most: float, *, whole: bool = False) -> list[float]:
    """Round values from 0 up to at least `most`, about five steps apart; whole ones for counts."""
    least = most / _TICKS if most > 0 else 1.0
    power = 10.0 ** math.floor(math.log10(least))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= least * (1 - 1e-9))
    step = max(step, 1.0) if whole else step
    last = max(math.ceil(most / step - 1e-9), 1)
    return [step * number for number in range(last + 1)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"  # noqa: PLR2004 - three digits are enough


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, *, more: str = "") -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" style="stroke:{colour}"{more}/>'


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    if width <= 0 or height <= 0:
        return ""
    box = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect {box} style="fill:{colour}"/>'


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text x="{x}" y="{y}" font-size="{_FONT}" fill="currentColor" text-anchor="{anchor}">'
        f"{html.escape(printable(text))}</text>"
    )


def image(width: int, height: int, title: str, body: str, more: str = "") -> str:
    """SVG document: its size in units, what it shows in words, its content, further attributes."""
    return image_of(f"0 0 {width} {height}", title, body, more)


def image_of(box: str, title: str, body: str, more: str = "") -> str:
    """SVG document of a box of its units: left, top, width and height."""
    return (
        f'<svg viewBox="{box}" role="img"{more}>'
        f"<title>{html.escape(printable(title))}</title>{body}</svg>"
    )
