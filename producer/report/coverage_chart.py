"""Coverage maps of the report: cells by state, told apart by patterns as well as by colours."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np

from delivery.ledger.shard_status import ShardState
from producer import svg
from producer.coverage import SEVERITY, CoverageMap
from producer.render import count, shards
from producer.report.charts import STATES
from producer.report.elements import escaped

_MOST_CELLS: Final = 64  # of an edge
_MOST_PIXELS: Final = 384
_LARGEST_CELL: Final = 22  # pixels
_LEAST_PIXELS: Final = 150  # of the width, so that a caption is no column of words
_SIGN_PIXELS: Final = 16
_BOX: Final = '<rect x=".05" y=".05" width=".9" height=".9" style="fill:{}"/>'
_MARK: Final = '<path d="{}" fill="none" stroke-width=".16" style="stroke:var(--mark)"/>'
_MARKS: Final = {
    ShardState.DONE: "",
    ShardState.WAITING: "M.45 .5h.1",
    ShardState.READY: "M.5 .3v.4M.3 .5h.4",
    ShardState.BLOCKED: "M.2 .35h.6M.2 .65h.6",
    ShardState.GIVEN_UP: "M.2 .8L.8 .2",
    ShardState.FAILED: "M.22 .22L.78 .78M.78 .22L.22 .78",
}


def coverage_chart(maps: Sequence[CoverageMap]) -> str:
    """Maps of the scales, the finest first, and what the patterns mean; empty without any."""
    if not maps:
        return ""
    drawn = [one.coarsened(_MOST_CELLS, _MOST_CELLS) for one in maps]
    figures = "".join(
        f'<figure style="max-width:min(100%, {max(_pixels(one), _LEAST_PIXELS):.0f}px)">'
        f"{_map(one, with_patterns=number == 0)}"
        f"<figcaption>{escaped(_caption(one))}</figcaption></figure>"
        for number, one in enumerate(drawn)
    )
    held = {state for one in drawn for state in one.states}
    return f'<div class="maps">{figures}</div>{_signs([s for s in STATES if s in held])}'


def _caption(one: CoverageMap) -> str:
    """Which scale, how many shards, and what a cell stands for."""
    parts = [f"s{one.scale}: {shards(one.shards)}"]
    layers = f"{count(one.layers)} across z"
    if one.edge > 1:
        parts.append(f"a cell is the worst of up to {one.edge} x {one.edge} shards, {layers}")
    elif one.layers > 1:
        parts.append(f"a cell is the worst of up to {layers}")
    else:
        parts.append("a cell is a shard")
    return ", ".join(parts)


def _map(one: CoverageMap, *, with_patterns: bool) -> str:
    height, width = one.cells.shape
    held = ", ".join(
        f"{count(int((one.cells == rank).sum()))} {state}"
        for rank, state in enumerate(SEVERITY, 1)
        if (one.cells == rank).any()
    )
    paths = (
        f'<path d="{"".join(_runs(one.cells == rank))}" fill="url(#{_name(state)})"/>'
        for rank, state in enumerate(SEVERITY, 1)
        if (one.cells == rank).any()
    )
    size = f' style="width:{_pixels(one):.0f}px" class="map"'
    title = f"Map of scale {one.scale}, seen along z: cells {held}"
    defs = _patterns() if with_patterns else ""
    return svg.image(width, height, title, defs + "".join(paths), size)


def _pixels(one: CoverageMap) -> float:
    """Width of a map."""
    height, width = one.cells.shape
    return float(width * min(_LARGEST_CELL, _MOST_PIXELS / max(width, height)))


def _runs(cells: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Iterator[str]:
    """Cells that follow each other in a row, as one rectangle each."""
    for y, row in enumerate(cells):
        edges = np.flatnonzero(np.diff(row.astype(np.int8), prepend=0, append=0)).tolist()
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            yield f"M{begin} {y}h{end - begin}v1h{begin - end}z"


def _patterns() -> str:
    """A pattern of one cell for each state."""
    own = (
        f'<pattern id="{_name(state)}" width="1" height="1" patternUnits="userSpaceOnUse">'
        f"{_sign(state)}</pattern>"
        for state in STATES
    )
    return f"<defs>{''.join(own)}</defs>"


def _sign(state: ShardState) -> str:
    colour, _ = STATES[state]
    mark = _MARKS[state]
    return _BOX.format(f"var(--{colour})") + (_MARK.format(mark) if mark else "")


def _signs(states: Iterable[ShardState]) -> str:
    """Each state with its pattern."""
    shown = "".join(f"<span>{_chip(state)}{escaped(str(state))}</span>" for state in states)
    return f'<p class="key">{shown}</p>'


def _chip(state: ShardState) -> str:
    size = f' style="width:{_SIGN_PIXELS}px" class="chip"'
    return svg.image(1, 1, str(state), _sign(state), size)


def _name(state: ShardState) -> str:
    return f"cell-{STATES[state][0]}"
