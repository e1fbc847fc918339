"""Layers of a coverage map as SVG: one path for each state, a line for each run of cells in a row.

A layer of thousands of cells takes a few kilobytes. Lines are as wide as a row, so that y of a cell
is its middle. What a path's shards hold is beside it, for the script that names them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Final

import numpy as np

from braid.typing import Int64Array
from producer.coverage import NOT_KNOWN, SEVERITY, CoverageMap
from producer.report.charts import STATES

DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"
_NO_DIGIT: Final = "."


@dataclass(frozen=True)
class LayerPath:
    """Cells of one layer that are in one state.

    Attributes:
        z: the layer.
        rank: the state.
        cells: how many.
        svg: the element.
    """

    z: int
    rank: int
    cells: int
    svg: str


@dataclass(frozen=True)
class _Run:
    """Cells side by side: positions in the map, from `begin` to before `end`."""

    z: int
    rank: int
    x: int
    y: int
    begin: int
    end: int


def layer_paths(one: CoverageMap, pattern: str, *, with_chunks: bool) -> Iterator[LayerPath]:
    """Paths of a map in the order of layers, in each from the best state to the worst.

    Args:
        one: the map.
        pattern: prefix of the patterns' names.
        with_chunks: whether to note what each shard holds.
    """
    x, y, z = one.places.T
    order = np.lexsort((x, y, one.ranks, z))
    chunks = _chunk_digits(one.chunks[order]) if with_chunks else None
    for (layer, rank), group in groupby(_runs(one, order), attrgetter("z", "rank")):
        runs = list(group)
        begin, end = runs[0].begin, runs[-1].end
        lines = "".join(f"M{run.x} {run.y}h{run.end - run.begin}" for run in runs)
        name, _ = STATES[SEVERITY[rank - 1]]
        held = "".join(chunks[begin:end]) if chunks else ""
        more = f' data-chunks="{held}"' if held.strip(_NO_DIGIT) else ""
        about = f'data-state="{SEVERITY[rank - 1]}" data-cells="{end - begin}"{more}'
        element = f'<path d="{lines}" stroke="url(#{pattern}-{name})" {about}/>'
        yield LayerPath(layer, rank, end - begin, element)


def _runs(one: CoverageMap, order: Int64Array) -> Iterator[_Run]:
    """Cells side by side in one layer and state."""
    x, y, z = one.places[order].T
    ranks = one.ranks[order].astype(np.int64)
    follows = (np.diff(x) == 1) & (np.diff(y) == 0) & (np.diff(z) == 0) & (np.diff(ranks) == 0)
    begins = np.flatnonzero(np.concatenate(([True], ~follows)))
    ends = np.append(begins[1:], len(x))
    columns = (z[begins], ranks[begins], x[begins], y[begins], begins, ends)
    for values in zip(*(column.tolist() for column in columns), strict=True):
        yield _Run(*values)


def _chunk_digits(chunks: Int64Array) -> list[str]:
    """Numbers of chunks, each in as many digits to the base 64 as the largest needs."""
    width = max(-(-int(chunks.max()).bit_length() // 6), 1)
    shifts = [6 * place for place in reversed(range(width))]
    unknown = _NO_DIGIT * width
    return [
        unknown if number == NOT_KNOWN else "".join(DIGITS[number >> s & 63] for s in shifts)
        for number in chunks.tolist()
    ]
