"""Coverage maps on a terminal: two cells a character, side by side, with what the colours mean.

Without colours a cell is a letter.
"""

from collections.abc import Sequence
from typing import Final

from rich.style import Style
from rich.text import Text

from delivery.ledger.shard_status import ShardState
from producer.coverage import NO_SHARD, SEVERITY, CoverageMap

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
_GAP: Final = 3  # columns between two maps
_LABEL: Final = 3  # columns: `s12`
_MOST_ROWS: Final = 12  # lines


def coverage_text(
    maps: Sequence[CoverageMap], columns: int, lines: int = _MOST_ROWS, *, colours: bool = True
) -> Text:
    """Maps side by side within so many columns and lines; scales without room are left out.

    Args:
        maps: of the scales, the finest first.
        columns: of the terminal.
        lines: most lines of a map.
        colours: whether the terminal has colours and half blocks; else cells are letters.
    """
    rows = lines * 2 if colours else lines
    shown = _fit([one for one in maps if one.cells.size], columns, rows)
    if not shown:
        return Text()
    drawn = [_blocks(one) if colours else _letters(one) for one in shown]
    widths = [max(one.cells.shape[1], _LABEL) for one in shown]
    found = [
        Text((" " * _GAP).join(f"s{m.scale}".ljust(w) for m, w in zip(shown, widths, strict=True)))
    ]
    for number in range(max(map(len, drawn))):
        parts = []
        for own, width in zip(drawn, widths, strict=True):
            line = own[number].copy() if number < len(own) else Text()
            line.pad_right(width - len(line))
            parts.append(line)
        found.append(Text(" " * _GAP).join(parts))
    found.append(_legend(shown, colours=colours))
    if notes := _notes(shown, len(maps)):
        found.append(Text(notes, "dim"))
    return Text("\n").join(found)


def _fit(maps: Sequence[CoverageMap], columns: int, rows: int) -> list[CoverageMap]:
    """Coarsened maps that fit beside each other; the first gets half of the room at least."""
    left, found = columns, []
    for number, one in enumerate(maps):
        most = left if len(maps) == 1 else max(left // 2, _LABEL) if number == 0 else left
        if most < _LABEL:
            break
        fitted = one.coarsened(most, rows)
        found.append(fitted)
        left -= max(fitted.cells.shape[1], _LABEL) + _GAP
    return found


def _blocks(one: CoverageMap) -> list[Text]:
    """Lines of half blocks: the upper cell in front, the lower one behind."""
    cells = one.cells.tolist()
    if len(cells) % 2:
        cells.append([NO_SHARD] * len(cells[0]))
    lines = []
    for upper, lower in zip(cells[::2], cells[1::2], strict=True):
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


def _letters(one: CoverageMap) -> list[Text]:
    names = {NO_SHARD: " "} | {rank: _LETTERS[state] for rank, state in enumerate(SEVERITY, 1)}
    return [Text("".join(names[rank] for rank in row)) for row in one.cells.tolist()]


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


def _notes(maps: Sequence[CoverageMap], total: int) -> str:
    """What a cell stands for, and how many scales had no room."""
    notes = []
    if any(one.layers > 1 or one.edge > 1 for one in maps):
        notes.append("a cell is the worst of its shards")
    if rest := total - len(maps):
        notes.append(f"{rest} more scale{'' if rest == 1 else 's'}")
    return "; ".join(notes)
