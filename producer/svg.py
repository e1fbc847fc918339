"""Charts as inline SVG."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT = 480, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 10, 40  # margins for the axes
_BAR, _GAP = 18, 8
_INK, _GRID, _MAIN = "#55606d", "#e3e8ed", "#33658a"
_TICKS = 5
_BINS = 20

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
    """Axes from 0 to round ends.

    Attributes:
        x_end: value at the right end.
        y_end: value at the upper end.
    """

    x_end: float
    y_end: float
    width: int = _WIDTH

    def x(self, value: float) -> float:
        return round(_LEFT + value / self.x_end * (self.width - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        return round(_HEIGHT - _BOTTOM - value / self.y_end * (_HEIGHT - _TOP - _BOTTOM), 1)

    def wrap(self, body: str, x_name: str, y_name: str) -> str:
        """SVG document of grid, ticks, axis names and the body."""
        parts = []
        for tick in _ticks(self.y_end):
            at = self.y(tick)
            parts.append(_line(_LEFT, at, self.width - _RIGHT, at, _GRID))
            parts.append(_label(_LEFT - 6, at + 4, _number(tick), "end"))
        below = _HEIGHT - _BOTTOM + 16
        ticks = _ticks(self.x_end)
        parts += [_label(self.x(tick), below, _number(tick), "middle") for tick in ticks]
        middle = (_LEFT + self.width - _RIGHT) / 2
        parts.append(_label(middle, _HEIGHT - 6, x_name, "middle"))
        turned = f' transform="rotate(-90 12 {_HEIGHT / 2})"'
        parts.append(_label(12, _HEIGHT / 2, y_name, "middle", turned))
        return _svg(self.width, _HEIGHT, "".join(parts) + body)


def stacked(bars: Sequence[tuple[str, Sequence[tuple[int, str]]]]) -> str:
    """Stacked bars: one per name, divided by its (count, colour) parts."""
    parts = []
    for row, (name, pieces) in enumerate(bars):
        top, left = row * (_BAR + _GAP), 40.0
        parts.append(_label(0, top + 14, name, "start"))
        whole = sum(number for number, _ in pieces) or 1
        for number, colour in pieces:
            width = number / whole * 920
            parts.append(_rect(left, top, width, _BAR, colour))
            left += width
    return _svg(960, len(bars) * (_BAR + _GAP), "".join(parts))


def steps(points: Sequence[Point], x_name: str, y_name: str) -> str:
    """Step chart; points ascend in x."""
    plot = _Plot(_round_up(max(x for x, _ in points)), _round_up(max(y for _, y in points)))
    path = f"M{plot.x(0)} {plot.y(0)}" + "".join(f"H{plot.x(x)}V{plot.y(y)}" for x, y in points)
    line = f'<path d="{path}" fill="none" stroke="{_MAIN}" stroke-width="2"/>'
    return plot.wrap(line, x_name, y_name)


def histogram(values: Sequence[float], unit: str) -> str:
    """Histogram of twenty equal bins from 0."""
    end = _round_up(max(values))
    counts = [0] * _BINS
    for value in values:
        counts[min(int(value / end * _BINS), _BINS - 1)] += 1
    plot = _Plot(end, _round_up(max(counts)))
    bars = []
    for number, held in enumerate(counts):
        left, right = plot.x(end * number / _BINS), plot.x(end * (number + 1) / _BINS)
        bars.append(
            _rect(left + 1, plot.y(held), right - left - 2, plot.y(0) - plot.y(held), _MAIN)
        )
    return plot.wrap("".join(bars), unit, "shards")


def scatter(dots: Sequence[Dot], x_name: str, y_name: str) -> str:
    """Scatter chart with the diagonal on which x and y are equal."""
    end = _round_up(max(max(dot.x, dot.y) for dot in dots))
    plot = _Plot(end, end, 2 * _WIDTH)
    parts = [
        _line(
            plot.x(0), plot.y(0), plot.x(end), plot.y(end), "#b9c2cc", more=' stroke-dasharray="5"'
        )
    ]
    for dot in dots:
        title = html.escape(f"{dot.name}: {_number(dot.y)} measured, {_number(dot.x)} estimated")
        parts.append(
            f'<circle cx="{plot.x(dot.x)}" cy="{plot.y(dot.y)}" r="4" fill="{dot.colour}" '
            f'fill-opacity="0.75"><title>{title}</title></circle>'
        )
    return plot.wrap("".join(parts), x_name, y_name)


def _round_up(most: float) -> float:
    """Round up to 1, 2, 2.5 or 5 times a power of ten."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= most * (1 - 1e-9))


def _ticks(end: float) -> list[float]:
    return [end * number / _TICKS for number in range(_TICKS + 1)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"  # noqa: PLR2004 - three digits are enough


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, *, more: str = "") -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}"{more}/>'


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    if width <= 0 or height <= 0:
        return ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'
    )


def _label(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return (
        f'<text x="{x}" y="{y}" font-size="12" fill="{_INK}" text-anchor="{anchor}"{more}>'
        f"{html.escape(text)}</text>"
    )


def _svg(width: int, height: int, body: str) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img">{body}</svg>'
