"""The report page: one file that everybody can read, on a phone, in the dark, on paper, aloud."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from delivery.ledger.run import Run
from delivery.ledger.shard_status import ShardState, read_status
from producer.report import picture
from producer.report.coverage_script import POLICY, SCRIPT
from producer.report.facts import read_facts
from producer.report.page import page
from producer.report.picture import read_picture
from producer.synthetic_export import SyntheticVolume
from tests.support.ledgers import at, fail, finish, made_run, row
from tests.support.run_harness import small_spec
from tests.support.volumes import write_volume

_MIB = 1 << 20
OTHERS = r"https?:|src=(?!\"data:)|@import|url\((?!#)|<link|<script"


class Reader(HTMLParser):
    """Elements of a page, each with its parent's number, and the text directly in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], int]] = []
        self.texts: list[str] = []
        self._open: list[int] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append((tag, dict(attrs), self._open[-1] if self._open else -1))
        self.texts.append("")
        if tag not in {"meta", "img"}:  # these have no end
            self._open.append(len(self.elements) - 1)

    def handle_endtag(self, tag: str) -> None:
        """Every element ends where it should."""
        assert self.elements[self._open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        """Note a text."""
        if self._open:
            self.texts[self._open[-1]] += data

    def children(self, number: int) -> list[int]:
        """Numbers of the elements in this one."""
        return [one for one, (_, _, parent) in enumerate(self.elements) if parent == number]

    def all(self, tag: str) -> list[int]:
        """Numbers of the elements with this name."""
        return [one for one, (name, _, _) in enumerate(self.elements) if name == tag]


def html_of(run: Run) -> str:
    """The page of a run, a minute after its begin."""
    return page(read_facts(run, read_status(run), at(60)))


@pytest.fixture
def mixed(tmp_path: Path) -> str:
    """Two shards done, one failed, its dependents blocked."""
    run = made_run(tmp_path / "a state")
    measured: dict[str, Any] = {"peak_bytes": 90 * _MIB, "estimated_bytes": 120 * _MIB}
    finish(run, "s0/00", tier="2gi", seconds=2.0, tiers_tried=("2gi",), **measured)
    finish(run, "s0/01", seconds=9.0, finished=at(9), **measured)
    fail(run, "s0/02", reason="<b>s0</b>: cut short. Export this shard again")
    return html_of(run)


def test_every_chart_has_a_name(mixed: str) -> None:
    """A title as the first element: what the chart says, in words."""
    read = Reader(mixed)
    titles = []
    for number in read.all("svg"):
        assert read.elements[number][1]["role"] == "img"
        first = read.children(number)[0]
        assert read.elements[first][0] == "title"
        titles.append(read.texts[first])
    assert len(titles) == 6
    assert "Scale 0: 2 done, 1 failed, 1 ready" in titles
    assert "Shards finished over time: 2 shards in 9.0 s" in titles


def test_every_table_scrolls_by_itself_and_is_named(mixed: str) -> None:
    """In a region that takes the focus; columns and rows have headers."""
    read = Reader(mixed)
    tables = read.all("table")
    assert len(tables) == 8
    for number in tables:
        caption = read.children(number)[0]
        assert read.elements[caption][0] == "caption"
        region = read.elements[read.elements[number][2]][1]
        assert (region["role"], region["tabindex"]) == ("region", "0")
        assert region["aria-label"] == read.texts[caption] != ""
    scopes = {read.elements[number][1].get("scope") for number in read.all("th")}
    assert scopes == {"col", "row"}


def test_each_failure_has_its_next_command(mixed: str) -> None:
    """Beside the reason, which is untrusted text; a path with a blank is quoted."""
    assert "<b>s0</b>" not in mixed
    command = re.search(r"<code>(\S+ -m producer dead-letters requeue s0/02 --run [^<]*)", mixed)
    assert command
    assert "a state/" in command[1]
    assert command[1].count("&#x27;") == 2


def test_words_are_explained(mixed: str) -> None:
    """Every state, and what kinds of time there are."""
    read = Reader(mixed)
    words = {read.texts[number] for number in read.all("dt")}
    assert words >= {*map(str, ShardState), "work", "cpu", "wall", "tier"}
    assert all(read.texts[number] for number in read.all("dd"))


def test_the_slowest_shards_come_first(mixed: str) -> None:
    """By the time that they took."""
    table = mixed[mixed.index("<h2>Slowest shards</h2>") :]
    assert re.findall(r'<th scope="row">(s\d/\w+)</th>', table)[:2] == ["s0/01", "s0/00"]


def test_tiles_fill_their_rows(mixed: str) -> None:
    """Rows of four, on phones of two."""
    assert mixed.count('<div class="card">') % 4 == 0
    assert "repeat(4, 1fr)" in mixed
    assert "repeat(2, 1fr)" in mixed
    assert '<b>3</b><span><a href="#failures">failed, given up or blocked</a>' in mixed
    assert 'id="failures"' in mixed


def test_colours_follow_the_reader(mixed: str) -> None:
    """Each is a variable of the style, which has a value for dark screens and one for the rest."""
    style, _, body = mixed.partition("</style>")
    assert not re.search(r"(?:fill|stroke|color|background)[=:]\"?#", body)
    used = set(re.findall(r"var\((--[\w-]+)\)", mixed))
    light, dark = re.findall(r":root \{[^}]*--ink[^}]*\}", style)
    for name in used:
        assert f"{name}:" in light
        assert f"{name}:" in dark
    assert "@media screen and (prefers-color-scheme: dark)" in style
    assert "@media print" in style


def test_it_needs_nothing_else(mixed: str) -> None:
    """No file, no network; small."""
    assert not re.search(OTHERS, mixed)
    assert len(mixed) < 32_000
    assert "default-src 'none'; " in mixed


def test_a_map_has_a_script_and_needs_nothing_else(of_a_volume: str) -> None:
    """Patterns are in the page; the script is the one that its policy lets run."""
    assert of_a_volume.count(SCRIPT) == 1
    assert f'content="{POLICY}"' in of_a_volume
    assert not re.search(OTHERS, of_a_volume.replace(SCRIPT, ""))


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    """No receipts: no charts over time; nothing has failed, so that there is nothing to go to."""
    text = html_of(made_run(tmp_path))
    assert "Slowest shards" not in text
    assert 'href="#failures"' not in text
    assert len(Reader(text).all("svg")) == 3


@pytest.mark.parametrize(
    ("seconds", "unit"), [(50, "seconds"), (600, "minutes"), (9000, "hours"), (400_000, "days")]
)
def test_long_runs_have_longer_units(tmp_path: Path, seconds: int, unit: str) -> None:
    """No axis of 400,000 seconds."""
    run = made_run(tmp_path)
    finish(run, "s0/00", seconds=float(seconds), finished=at(seconds))
    assert html_of(run).count(f">{unit}</text>") == 2


def test_cost_so_far(mixed: str) -> None:
    """What finished shards took, for each way to rent workers; a tile has the sum."""
    assert "<span>so far, if on worker pools</span>" in mixed
    table = mixed[mixed.index("<h2>Cost so far</h2>") :]
    assert re.findall(r'<th scope="col">([^<]+)</th>', table)[:4] == [
        "cost", "worker pool", "job", "Spot VM",
    ]  # fmt: skip
    assert '<th scope="row">workers, 11 s</th>' in table
    assert "On machines of your own none of it is billed." in table


def test_no_picture_is_no_error(mixed: str) -> None:
    """It says why."""
    assert "<p>no picture: " in mixed


@pytest.fixture(scope="module")
def of_a_volume(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run whose volume has one shard of two."""
    folder = tmp_path_factory.mktemp("volume")
    size = (128, 64, 64)
    spec = small_spec(size, 1)
    labels = SyntheticVolume(size).labels((0, 0, 0), size)
    labels[:, :, 64:] = 0
    write_volume(folder / "out", spec.to_info(), labels)
    run = made_run(
        folder / "state", [row("s0/0"), row("s0/1")], downres=(), dest=str(folder / "out"),
        volume=spec.to_info(),
    )  # fmt: skip
    finish(run, "s0/0")
    fail(run, "s0/1")
    return html_of(run)


def test_where_the_shards_lie(of_a_volume: str) -> None:
    """A cell for each, by pattern as well as by colour; what a cell is, in words."""
    assert "Scale 0, z 0\N{EN DASH}63: shards 1 done, 1 failed" in of_a_volume
    assert '<path d="M0 0h1" stroke="url(#cell-done)" data-state="done"' in of_a_volume
    assert '<path d="M1 0h1" stroke="url(#cell-failed)" data-state="failed"' in of_a_volume
    assert of_a_volume.count('<pattern id="cell-') == len(ShardState)
    signs = re.findall(r'<pattern id="cell-([\w-]+)"[^>]*>(.*?)</pattern>', of_a_volume)
    marks = [sign.partition("/>")[2] for _, sign in signs]
    assert len(set(marks)) == len(ShardState)  # told apart without colours
    assert "s0: 2 shards of 64 x 64 x 64 voxels, a cell each" in of_a_volume
    read = Reader(of_a_volume)
    for number in read.all("svg"):
        assert read.elements[read.children(number)[0]][0] == "title"


def test_what_the_volume_looks_like(of_a_volume: str) -> None:
    """The picture is in the page, with what it shows in words."""
    found = re.search(r'<img class="slice" alt="([^"]+)" src="data:image/png;base64,([^"]+)">',
                      of_a_volume)  # fmt: skip
    assert found
    assert re.fullmatch(r"Slice at z \d+ of scale 0: \d+ x \d+ voxels, in the colours of "
                        r"Neuroglancer", found[1])  # fmt: skip
    image = Image.open(io.BytesIO(base64.b64decode(found[2])))
    assert max(image.size) <= 64
    assert len(of_a_volume) < 64_000


def test_a_large_picture_is_made_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it fits the page."""
    size = (128, 128, 64)
    spec = small_spec(size, 1)
    labels = np.random.default_rng(0).integers(1, 1 << 60, size[::-1], dtype=np.uint64)
    write_volume(tmp_path / "out", spec.to_info(), labels)
    run = made_run(tmp_path / "state", dest=str(tmp_path / "out"), volume=spec.to_info())
    assert read_picture(run).width == 128
    monkeypatch.setattr(picture, "_MOST_BYTES", 16 << 10)
    found = read_picture(run)
    assert found.width == 64
    assert len(found.png) <= 16 << 10
