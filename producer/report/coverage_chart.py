"""Coverage maps of the report: the layers of each scale side by side, a cell for each shard.

States are told apart by patterns as well as by colours. A map that would take too much of a page is
made coarser, and says so.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Final

from braid.precomputed import morton, sharding
from producer import svg
from producer.coverage import SEVERITY, CoverageMap
from producer.render import count, counted, shards
from producer.report.coverage_drawing import LARGEST_CELL, Drawing
from producer.report.coverage_paths import LayerPath, layer_paths
from producer.report.coverage_signs import legend, pattern_of, patterns
from producer.report.elements import escaped

_MOST_BYTES: Final = 256 << 10  # of all maps: a page stays below 1 MiB
_NARROW_PIXELS: Final = 420  # half of the page
_MANY: Final = 3  # layers; on a phone so many are side by side
_INTRODUCTION: Final = (
    "Each frame is a layer of the volume, seen along z. The pointer on a cell names its shard."
)


@dataclass(frozen=True)
class CoverageChart:
    """The maps as HTML.

    Attributes:
        html: empty without any map.
        narrow: whether half of the page's width is enough.
    """

    html: str
    narrow: bool


def coverage_chart(maps: Sequence[CoverageMap], most_bytes: int = _MOST_BYTES) -> CoverageChart:
    """Maps of the scales, the finest first, and what the patterns mean."""
    if not maps:
        return CoverageChart("", narrow=True)
    drawn, most = [], LARGEST_CELL
    for one in maps:
        drawn.append(Drawing.fit(one, most))
        most = min(2 * drawn[-1].cell, LARGEST_CELL)
    html = _figures(drawn, with_chunks=True)
    if len(html) > most_bytes:
        html = _figures(drawn, with_chunks=False)
    while len(html) > most_bytes and any(max(one.map.grid) > 1 for one in drawn):
        largest = max(range(len(drawn)), key=lambda number: len(drawn[number].map.places))
        coarser = drawn[largest].map.coarsened((2, 2, 2))
        drawn[largest] = Drawing.fit(coarser, LARGEST_CELL)
        html = _figures(drawn, with_chunks=False)
    width = max(one.width for one in drawn)
    html = f'{legend(maps)}<p class="note">{_INTRODUCTION}</p><div class="maps">{html}</div>'
    return CoverageChart(html, narrow=width <= _NARROW_PIXELS)


def _figures(drawn: Sequence[Drawing], *, with_chunks: bool) -> str:
    """A figure for each scale; the first holds the patterns of all."""
    return "".join(
        _figure(one, patterns() if number == 0 else "", with_chunks=with_chunks)
        for number, one in enumerate(drawn)
    )


def _figure(drawing: Drawing, defs: str, *, with_chunks: bool) -> str:
    """A scale: what a cell is, and its layers, each with its span of z."""
    one = drawing.map
    layers = "".join(
        f'<figure style="width:{drawing.layer_width}px">{picture}'
        f"<figcaption>{escaped(_span(one, z))}</figcaption></figure>"
        for z, picture in _layers(drawing, defs, with_chunks=with_chunks)
    )
    many = " many" if len(one.layers) >= _MANY else ""
    data = escaped(json.dumps(_for_script(one), separators=(",", ":")))
    return (
        f'<figure data-map="{data}"><figcaption>{escaped(_caption(drawing))}</figcaption>'
        f'<div class="layers{many}">{layers}</div></figure>'
    )


def _layers(drawing: Drawing, defs: str, *, with_chunks: bool) -> Iterator[tuple[int, str]]:
    """Each layer and its SVG document."""
    one = drawing.map
    (left, top), (width, height) = drawing.origin, drawing.cells
    style = f' class="map" style="width:{width * drawing.cell}px"'
    paths = layer_paths(one, pattern_of(drawing.cell), with_chunks=with_chunks)
    for z, group in groupby(paths, attrgetter("z")):
        held = list(group)
        body = defs + "".join(path.svg for path in held)
        more = f'{style} data-z="{z}" fill="none"'
        box = f"{left} {top - 0.5} {width} {height}"  # y is the middle of a row
        yield z, svg.image_of(box, _title(one, z, held), body, more)
        defs = ""


def _title(one: CoverageMap, z: int, held: Sequence[LayerPath]) -> str:
    """A layer in words."""
    states = ", ".join(f"{count(path.cells)} {SEVERITY[path.rank - 1]}" for path in held)
    noun = "shards" if one.edges == (1, 1, 1) else "cells"
    return f"Scale {one.scale}, {_span(one, z)}: {noun} {states}"


def _span(one: CoverageMap, z: int) -> str:
    """Voxels of a layer along z."""
    begin = z * one.voxels[2]
    end = min(begin + one.voxels[2], one.spec.size[2])
    return f"z {count(begin)}\N{EN DASH}{count(end - 1)}"


def _caption(drawing: Drawing) -> str:
    """Which scale, how many shards, what a cell stands for, and what is not drawn."""
    one = drawing.map
    voxels = " x ".join(map(count, one.voxels))
    if one.edges == (1, 1, 1):
        each = ", a cell each" if one.shards > 1 else ""
        parts = [f"s{one.scale}: {shards(one.shards)} of {voxels} voxels{each}"]
    else:
        edges = " x ".join(map(count, one.edges))
        parts = [f"s{one.scale}: {shards(one.shards)}, too many to show each"]
        parts.append(f"a cell is the worst of up to {edges}, {voxels} voxels")
    _, _, deep = one.grid
    if deep > 1:
        shown = len(one.layers)
        several = f"{counted(deep, 'layer')} along z"
        parts.append(several if shown == deep else f"{shown} of {several}, the others have none")
    if drawing.cells != one.grid[:2]:
        parts.append("cut to where shards are")
    return "; ".join(parts)


def _for_script(one: CoverageMap) -> dict[str, object]:
    """What names the shard of a cell."""
    low = sharding.shard_id_range(1, one.spec.sharding)[0].bit_length() - 1
    return {
        "scale": one.scale,
        "axes": list(morton.bit_axes(one.spec.grid)[low:]),
        "digits": len(sharding.shard_hex(0, one.spec.sharding)),
        "voxels": one.voxels,
        "size": one.spec.size,
        "several": one.edges != (1, 1, 1),
    }
