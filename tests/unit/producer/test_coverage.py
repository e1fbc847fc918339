"""Coverage maps: each shard in its place, the worst of a column, coarser by the worst."""

from pathlib import Path

import numpy as np
import pytest

from braid.precomputed.sharding import all_shards, shard_box, shard_edges, shard_hex
from braid.precomputed.volume_spec import VolumeSpec
from delivery.ledger.run import Run
from delivery.ledger.shard_status import ShardState, read_status
from producer.coverage import SEVERITY, CoverageMap, coverage_maps
from producer.coverage_text import coverage_text
from tests.support.ledgers import fail, finish, made_run, row
from tests.support.run_harness import small_spec

SIZE = (640, 256, 128)  # 10 x 4 x 2 shards of one chunk
RANK = {state: number for number, state in enumerate(SEVERITY, 1)}


def keys(spec: VolumeSpec, scale: int) -> dict[str, tuple[int, int, int]]:
    """Keys of all shards of a scale, with their places."""
    own = spec.scales[scale]
    found = {}
    for shard in all_shards(own):
        begin, _ = shard_box(own, shard)
        x, y, z = (b // e for b, e in zip(begin, shard_edges(own), strict=True))
        found[f"s{scale}/{shard_hex(shard, own.sharding)}"] = (x, y, z)
    return found


@pytest.fixture
def spec() -> VolumeSpec:
    """Two scales."""
    return small_spec(SIZE, 2)


@pytest.fixture
def run(tmp_path: Path, spec: VolumeSpec) -> Run:
    """A run of scale 0, two shards of which are not planned; all of one column failed."""
    places = keys(spec, 0)
    planned = [key for key, place in places.items() if place[:2] != (9, 3)]
    made = made_run(
        tmp_path, [row(key) for key in planned], downres=(), volume=spec.to_info(), scales=(0,)
    )
    for key in planned:
        x, y, z = places[key]
        if x < 4 or (x == 4 and z == 0):
            finish(made, key)
        elif (x, y) == (5, 1) and z == 1:
            fail(made, key)
    return made


def test_every_shard_is_in_its_place(run: Run) -> None:
    """The worst state of each column; nothing where no shard is planned."""
    (found,) = coverage_maps(run, read_status(run))
    assert (found.scale, found.shards, found.layers, found.edge) == (0, 78, 2, 1)
    assert found.cells.shape == (4, 10)
    expected = np.full((4, 10), RANK[ShardState.READY])
    expected[:, :4] = RANK[ShardState.DONE]
    expected[1, 5] = RANK[ShardState.FAILED]
    expected[3, 9] = 0
    assert np.array_equal(found.cells, expected)
    assert found.states == [ShardState.DONE, ShardState.READY, ShardState.FAILED]


def test_a_coarser_map_keeps_the_worst() -> None:
    """However small it is; a map that fits stays."""
    cells = np.full((7, 13), RANK[ShardState.DONE], np.uint8)
    cells[6, 12] = RANK[ShardState.FAILED]
    whole = CoverageMap(0, cells, 91, 1)
    assert whole.coarsened(13, 7) is whole
    for columns, rows in ((12, 7), (5, 5), (1, 1)):
        found = whole.coarsened(columns, rows)
        assert found.cells.shape[0] <= rows
        assert found.cells.shape[1] <= columns
        assert found.cells[-1, -1] == RANK[ShardState.FAILED]
        assert found.edge > 1
    assert whole.coarsened(7, 7).coarsened(1, 1).edge == 14


def test_a_volume_that_is_not_known_has_no_maps(tmp_path: Path) -> None:
    """No reason against a status or a report."""
    run = made_run(tmp_path)
    assert coverage_maps(run, read_status(run)) == []


@pytest.mark.parametrize(("columns", "lines"), [(80, 12), (34, 4), (8, 2)])
def test_maps_fit_a_terminal(run: Run, columns: int, lines: int) -> None:
    """Side by side, two cells a character; a legend of the states that occur."""
    (found,) = coverage_maps(run, read_status(run))
    coarse = CoverageMap(1, found.cells[:2, :5], 10, 1)
    shown = coverage_text([found, coarse], columns, lines).plain.splitlines()
    assert len(shown) <= lines + 3
    assert max(len(line) for line in shown if "done" not in line and "cell" not in line) <= columns
    assert shown[0].startswith("s0")
    assert "█ done  █ ready  █ failed" in shown


def test_without_colours_a_cell_is_a_letter(run: Run) -> None:
    """One line for each row of cells."""
    (found,) = coverage_maps(run, read_status(run))
    shown = coverage_text([found], 80, colours=False).plain.splitlines()
    assert shown[1:5] == ["####++++++", "####+F++++", "####++++++", "####+++++ "]
    assert shown[5] == "# done  + ready  F failed"
    assert shown[6] == "a cell is the worst of its shards"


def test_colours_of_half_blocks(run: Run) -> None:
    """The upper cell in front, the lower one behind; a lower one alone in the lower half."""
    (found,) = coverage_maps(run, read_status(run))
    cells = np.array([[RANK[ShardState.DONE], 0], [RANK[ShardState.FAILED], 1]], np.uint8)
    text = coverage_text([CoverageMap(0, cells, 3, 1)], 80)
    assert text.plain.splitlines()[1] == "▀▄ "[:2] + " "
    styles = {str(span.style) for span in text.spans}
    assert "green on bright_red" in styles
    assert found.cells.any()
