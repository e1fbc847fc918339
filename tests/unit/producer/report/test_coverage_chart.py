"""Coverage maps of the report: one cell per shard in the page, small, in colours that differ."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings

from braid.precomputed.volume_spec import VolumeSpec
from delivery.ledger.shard_status import ShardState
from producer.coverage import NOT_KNOWN, SEVERITY, CoverageMap, coverage_maps
from producer.report.charts import STATES
from producer.report.coverage_chart import coverage_chart
from producer.report.coverage_paths import DIGITS
from producer.report.style import STYLE
from tests.support.coverage_runs import Shards, shards
from tests.support.run_harness import small_spec

Found = dict[tuple[int, int, int, int], tuple[ShardState, int]]

# From linear RGB to what those see who lack one kind of cone (Machado, Oliveira, Fernandes 2009).
SIGHTS = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
CLEARLY_APART = 18  # in CIELAB; 2 can just be told apart side by side


class Cells(HTMLParser):
    """Cells of all maps of a page, read from the paths."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: Found = {}
        self.drawn = 0
        self._scale, self._z = 0, 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the cells of a path in the layer and scale around it."""
        given_ = {name: value or "" for name, value in attrs}
        if "data-map" in given_:
            self._scale = json.loads(given_["data-map"])["scale"]
        self._z = int(given_.get("data-z", self._z))
        if tag == "path" and "data-state" in given_:
            self._take(given_)

    def _take(self, path: dict[str, str]) -> None:
        state = ShardState(path["data-state"])
        runs = re.findall(r"M(\d+) (\d+)h(\d+)", path["d"])
        assert "".join("M{} {}h{}".format(*run) for run in runs) == path["d"]
        places = [(int(x) + at, int(y)) for x, y, cells in runs for at in range(int(cells))]
        assert len(places) == int(path["data-cells"])
        held = path.get("data-chunks", "." * len(places))
        width = len(held) // len(places)
        for number, (x, y) in enumerate(places):
            digits = held[number * width : (number + 1) * width]
            self.cells[self._scale, x, y, self._z] = (state, chunks_of(digits))
            self.drawn += 1


def chunks_of(digits: str) -> int:
    """A number of chunks, as its digits say."""
    if digits.startswith("."):
        return NOT_KNOWN
    number = 0
    for digit in digits:
        number = 64 * number + DIGITS.index(digit)
    return number


def cells_of(maps: list[CoverageMap]) -> Found:
    """What maps hold."""
    return {
        (one.scale, x, y, z): (SEVERITY[rank - 1], chunks)
        for one in maps
        for (x, y, z), rank, chunks in zip(
            one.places.tolist(), one.ranks.tolist(), one.chunks.tolist(), strict=True
        )
    }


@settings(max_examples=25)
@given(shards())
def test_each_shard_is_drawn_once(made: Shards) -> None:
    """In its place, state and number of chunks; the legend has the counts of the status."""
    with made.run() as (run, status):
        maps = coverage_maps(run, status)
    html = coverage_chart(maps).html
    found = Cells(html)
    assert found.cells == cells_of(maps)
    assert found.drawn == len(found.cells) == len(status.states)
    counts = dict(re.findall(r"</svg>([a-z ]+) ([\d,]+)</span>", html))
    assert counts == {
        str(state): str(number)
        for state in ShardState
        if (number := sum(one is state for one in status.states.values()))
    }


def made_up(edge: int) -> list[CoverageMap]:
    """Four scales in which no shard is like its neighbours."""
    dice = np.random.default_rng(3)
    maps = []
    for spec in small_spec((edge * 64,) * 3, 4).scales:
        x, y, z = spec.grid
        places = np.stack(np.meshgrid(*map(np.arange, (z, y, x)), indexing="ij"), -1)
        flat = places.reshape(-1, 3)[:, ::-1]
        ranks = dice.integers(1, len(SEVERITY) + 1, len(flat)).astype(np.uint8)
        chunks = np.where(ranks == 1, dice.integers(0, 32_769, len(flat)), NOT_KNOWN)
        maps.append(CoverageMap(spec, (x, y, z), flat, ranks, chunks, len(flat)))
    return maps


def test_25_000_shards_take_little_of_a_page() -> None:
    """Each is drawn, also where every neighbour is in another state."""
    maps = made_up(28)
    html = coverage_chart(maps).html
    assert sum(one.shards for one in maps) == 25_103
    assert len(html) < 300 << 10
    found = Cells(html)
    assert found.cells.keys() == cells_of(maps).keys()
    assert "too many" not in html


@pytest.mark.parametrize("edge", [40, 52])
def test_more_shards_than_fit(edge: int) -> None:
    """Cells stand for several shards, in the state of the worst, and captions say so."""
    maps = made_up(edge)
    html = coverage_chart(maps).html
    assert len(html) < 300 << 10
    caption = re.search(
        r"s0: ([\d,]+) shards, too many to show each; "
        r"a cell is the worst of up to (\d) x \2 x \2, ",
        html,
    )
    assert caption
    assert caption[1] == f"{edge**3:,}"
    worst = int(caption[2])
    coarse = maps[0].coarsened((worst, worst, worst))
    states = {cell: state for cell, (state, _) in Cells(html).cells.items() if cell[0] == 0}
    assert states == {cell: state for cell, (state, _) in cells_of([coarse]).items()}


def test_chunks_go_before_cells_do() -> None:
    """A page that is too large does without what shards hold, then without single shards."""
    maps = made_up(8)
    whole = coverage_chart(maps).html
    _, _, figures = whole.partition('<div class="maps">')
    less = coverage_chart(maps, len(figures) - 99).html
    assert "data-chunks" in whole
    assert "data-chunks" not in less
    assert Cells(less).cells.keys() == Cells(whole).cells.keys()
    least = coverage_chart(maps, 1).html
    assert len(Cells(least).cells) < len(Cells(whole).cells)


def test_a_selection_of_a_large_volume() -> None:
    """Layers without a shard are left out; a grid that is too wide is cut to what has shards."""
    spec = VolumeSpec.parse(small_spec((64 * 500, 64 * 400, 64 * 300), 1).to_info()).scales[0]
    places = np.array([[400, 300, 7], [401, 300, 7], [402, 303, 200]])
    ranks = np.array([1, 1, len(SEVERITY)], np.uint8)
    one = CoverageMap(spec, (500, 400, 300), places, ranks, np.array([5, 6, -1]), 3)
    html = coverage_chart([one]).html
    assert "2 of 300 layers along z, the others have none; cut to where shards are" in html
    assert html.count('viewBox="400 299.5 3 4"') == 2
    assert Cells(html).cells == cells_of([one])
    small = replace(one, grid=(40, 40, 300), places=places % 40)
    assert 'viewBox="0 -0.5 40 40"' in coverage_chart([small]).html


def test_half_a_page_where_it_is_enough() -> None:
    """A few layers leave room for the picture of the volume."""
    assert coverage_chart(made_up(1)[:1]).narrow
    assert not coverage_chart(made_up(8)).narrow
    assert coverage_chart([]).html == ""


def colours(style: str) -> dict[ShardState, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """Linear RGB of every state."""
    found = {}
    for state, (name, _) in STATES.items():
        code = re.search(rf"--{name}: #([0-9a-f]{{6}});", style)
        assert code
        shown = np.array([int(code[1][at : at + 2], 16) / 255 for at in (0, 2, 4)])
        found[state] = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
    return found


def lab(linear: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[float]:
    """CIELAB of linear RGB."""
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    x, y, z = np.cbrt(to_xyz @ np.clip(linear, 0, 1) / (0.9505, 1, 1.089))
    return [116 * y - 16, 500 * (x - y), 200 * (y - z)]


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("dark", [False, True])
def test_every_two_states_differ_to_every_eye(sight: str, *, dark: bool) -> None:
    """By colour alone, since small cells have no mark, on light screens and on dark ones."""
    light, _, rest = STYLE.partition("@media screen and (prefers-color-scheme: dark)")
    seen = {
        state: np.array(lab(np.array(SIGHTS[sight]) @ linear))
        for state, linear in colours(rest if dark else light).items()
    }
    for one, other in combinations(ShardState, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > CLEARLY_APART, (one, other)
