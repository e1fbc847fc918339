"""Coverage maps on a terminal: the layers of each scale side by side, with what the colours mean.

A character is two cells, one above the other; without colours a cell is a letter. A scale whose
layers have no room is seen along z, and made coarser where that has none either.
"""

import textwrap
from collections.abc import Sequence
from typing import Final

from rich.style import Style
from rich.text import Text

from delivery.ledger.shard_status import ShardState
from producer.coverage import NO_SHARD, SEVERITY, CoverageMap
from producer.coverage_panels import Layout, Panel, Room, lay_out
from producer.render import counted

_COLOURS: Final = {
    ShardState.DONE: "green",
    ShardState.WAITING: "bright_black",
    ShardState.READY: "bright_blue",
    ShardState.BLOCKED: "yellow",
    ShardState.GIVEN_UP: "magenta",
    ShardState.FAILED: "bright_red",
}
_LETTERS: Final = {
    ShardState.DONE: "#",
    ShardState.WAITING: ".",
    ShardState.READY: "+",
    ShardState.BLOCKED: "b",
    ShardState.GIVEN_UP: "g",
    ShardState.FAILED: "F",
}
_UPPER, _LOWER, _WHOLE = "▀", "▄", "█"
_GAP: Final = "  "  # between two panels
_MOST_ROWS: Final = 12  # lines
_CELLS: Final = 2  # in a character


def coverage_text(
    maps: Sequence[CoverageMap], columns: int, lines: int = _MOST_ROWS, *, colours: bool = True
) -> Text:
    """Maps within so many columns and lines; scales without room are left out.

    Args:
        maps: of the scales, the finest first.
        columns: of the terminal.
        lines: most lines of the maps, with the names above them.
        colours: whether the terminal has colours and half blocks; else cells are letters.
    """
    room = Room(columns, lines, _CELLS if colours else 1, len(_GAP))
    layout = lay_out(maps, room)
    if not layout.rows:
        return Text()
    found = [line for row in layout.rows for line in _row(row, colours=colours)]
    found.append(_legend(layout.maps, colours=colours))
    notes = _notes(layout, len(maps))
    found += [Text(line, "dim") for line in textwrap.wrap(notes, max(columns, 1))]
    return Text("\n").join(found)


def _row(panels: Sequence[Panel], *, colours: bool) -> list[Text]:
    """Names of panels side by side, and the panels below."""
    names = _GAP.join(one.name.ljust(one.width) for one in panels).rstrip()
    drawn = [_blocks(one) if colours else _letters(one) for one in panels]
    found = [Text(names)]
    for number in range(max(map(len, drawn))):
        parts = []
        for own, panel in zip(drawn, panels, strict=True):
            line = own[number].copy() if number < len(own) else Text()
            line.pad_right(panel.width - len(line))
            parts.append(line)
        found.append(Text(_GAP).join(parts))
    return found


def _blocks(panel: Panel) -> list[Text]:
    """Lines of half blocks: the upper cell in front, the lower one behind."""
    cells = panel.cells.tolist()
    if len(cells) % _CELLS:
        cells.append([NO_SHARD] * len(cells[0]))
    lines = []
    for upper, lower in zip(cells[::_CELLS], cells[1::_CELLS], strict=True):
        line = Text()
        for above, below in zip(upper, lower, strict=True):
            line.append(*_block(above, below))
        lines.append(line)
    return lines


def _block(above: int, below: int) -> tuple[str, Style]:
    front, behind = _colour(above), _colour(below)
    if front is None and behind is None:
        return " ", Style()
    if front is None:
        return _LOWER, Style(color=behind)
    return (_WHOLE if above == below else _UPPER), Style(color=front, bgcolor=behind)


def _colour(rank: int) -> str | None:
    return None if rank == NO_SHARD else _COLOURS[SEVERITY[rank - 1]]


def _letters(panel: Panel) -> list[Text]:
    names = {NO_SHARD: " "} | {rank: _LETTERS[state] for rank, state in enumerate(SEVERITY, 1)}
    return [Text("".join(names[rank] for rank in row)) for row in panel.cells.tolist()]


def _legend(maps: Sequence[CoverageMap], *, colours: bool) -> Text:
    """The states that occur, each with its sign."""
    held = {state for one in maps for state in one.states}
    legend = Text()
    for state in SEVERITY:
        if state in held:
            sign = _WHOLE if colours else _LETTERS[state]
            legend.append(sign, _COLOURS[state] if colours else "")
            legend.append(f" {state}  ")
    legend.rstrip()
    return legend


def _notes(layout: Layout, total: int) -> str:
    """What a cell stands for, and how many scales had no room."""
    notes = []
    if any(len(one.layers) > 1 for one in layout.maps):
        notes.append("z: layers of shards, each cell a shard")
    kinds: dict[str, list[str]] = {}
    for one in layout.maps:
        if one.edges != (1, 1, 1):
            kinds.setdefault(_cell(one), []).append(f"s{one.scale}")
    notes += [f"{', '.join(scales)}: {cell}" for cell, scales in kinds.items()]
    if rest := total - len(layout.maps):
        notes.append(f"no room for {counted(rest, 'more scale')}")
    return "; ".join(notes)


def _cell(one: CoverageMap) -> str:
    """What a cell of a map stands for that is not a shard."""
    x, y, z = one.edges
    if (x, y) == (1, 1):
        return "no room for each layer, a cell is the worst shard of its column along z"
    return f"no room for each shard, a cell is the worst of up to {x} x {y} x {z}"
