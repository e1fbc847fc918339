"""Layout of coverage maps on a terminal: panels side by side, line after line, within its room."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from producer.coverage import CoverageMap, Ranks

_LEAST_WIDTH: Final = 3  # columns: `s12`


@dataclass(frozen=True)
class Room:
    """Room for maps.

    Attributes:
        columns: of the terminal.
        lines: with those of names.
        cells: of a panel in a line, one above the other.
        gap: columns between two panels.
    """

    columns: int
    lines: int
    cells: int
    gap: int

    def height(self, cells: int) -> int:
        """Lines of a panel that is so many cells high, and of its name."""
        return 1 + math.ceil(cells / self.cells)


@dataclass(frozen=True)
class Panel:
    """Layer of a map, or a map seen along z.

    Attributes:
        name: above it.
        cells: ranks, (y, x).
    """

    name: str
    cells: Ranks

    @property
    def width(self) -> int:
        """Columns, also of the name."""
        cells: int = self.cells.shape[1]
        return max(cells, len(self.name), _LEAST_WIDTH)


@dataclass(frozen=True)
class Layout:
    """Maps as they fit, and their panels.

    Attributes:
        maps: those with room, some of them coarser.
        rows: panels side by side.
    """

    maps: Sequence[CoverageMap]
    rows: Sequence[Sequence[Panel]]


def lay_out(maps: Sequence[CoverageMap], room: Room) -> Layout:
    """Maps by layers as far as they fit; the largest are the first to be seen along z."""
    shown = list(maps)
    while shown:
        if (rows := _rows(shown, room)) is not None:
            return Layout(shown, rows)
        deep = [number for number, one in enumerate(shown) if len(one.layers) > 1]
        if not deep:
            return _side_by_side(shown, room)
        largest = max(deep, key=lambda number: _cells(shown[number]))
        shown[largest] = shown[largest].flattened()
    return Layout((), ())


def _cells(one: CoverageMap) -> int:
    """Of all layers, also those without a shard."""
    width, height, _ = one.extent
    return width * height * len(one.layers)


def _rows(maps: Sequence[CoverageMap], room: Room) -> list[list[Panel]] | None:
    """Panels of all maps, line after line; None if they do not fit."""
    if sum(map(_cells, maps)) > room.columns * room.lines * room.cells:
        return None  # before any is made
    rows: list[list[Panel]] = []
    left = 0
    for panel in (panel for one in maps for panel in _panels(one)):
        if panel.width > left:
            rows.append([])
            left = room.columns
        if panel.width > left:
            return None
        rows[-1].append(panel)
        left -= panel.width + room.gap
    return rows if sum(_height(row, room) for row in rows) <= room.lines else None


def _height(row: Iterable[Panel], room: Room) -> int:
    return max(room.height(panel.cells.shape[0]) for panel in row)


def _panels(one: CoverageMap) -> list[Panel]:
    """Layers of a map; the first is named after the scale."""
    planes = list(one.planes())
    several = len(planes) > 1
    return [
        Panel(" ".join([f"s{one.scale}"] * (not at) + [f"z{z}"] * several), cells)
        for at, (z, cells) in enumerate(planes)
    ]


def _side_by_side(maps: Sequence[CoverageMap], room: Room) -> Layout:
    """Maps seen along z in one line, made coarser; the first gets half of the room at least."""
    left, found, row = room.columns, [], []
    for number, one in enumerate(maps):
        most = left if len(maps) == 1 else max(left // 2, _LEAST_WIDTH) if number == 0 else left
        if most < _LEAST_WIDTH:
            break
        fitted = _fitted(one, most, max(room.lines - 1, 1) * room.cells)
        found.append(fitted)
        row += _panels(fitted)
        left -= row[-1].width + room.gap
    return Layout(found, [row])


def _fitted(one: CoverageMap, columns: int, rows: int) -> CoverageMap:
    """The map with at most so many cells in a row and in a column."""
    edge, found = 1, one
    while (found.extent[0] > columns or found.extent[1] > rows) and edge < max(one.grid):
        width, height, _ = found.extent
        edge = max(edge + 1, edge * max(width // columns, height // rows))
        found = one.coarsened((edge, edge, 1))
    return found
