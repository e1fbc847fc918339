"""Coverage maps on a terminal: layers where they fit, else columns or coarser cells that say so."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braid.precomputed.sharding import all_shards, shard_box, shard_hex
from delivery.ledger.run import Run
from delivery.ledger.shard_status import ShardState, read_status
from producer.coverage import CoverageMap, coverage_maps
from producer.coverage_text import coverage_text
from tests.support.coverage_runs import Shards, shards
from tests.support.ledgers import fail, finish, made_run, row
from tests.support.run_harness import small_spec

LETTERS = {
    ShardState.DONE: "#",
    ShardState.WAITING: ".",
    ShardState.READY: "+",
    ShardState.BLOCKED: "b",
    ShardState.GIVEN_UP: "g",
    ShardState.FAILED: "F",
}
AMPLE = 400


def letters(maps: list[CoverageMap], columns: int, lines: int) -> list[str]:
    """The lines of maps without colours, and without the names of layers."""
    shown = coverage_text(maps, columns, lines, colours=False).plain.splitlines()
    return [line for line in shown if set(line) <= {*LETTERS.values(), " "}]


@settings(max_examples=20)
@given(shards())
def test_every_shard_has_a_letter_where_there_is_room(made: Shards) -> None:
    """As many of each state as the status counts."""
    with made.run() as (run, status):
        maps = coverage_maps(run, status)
    found = Counter("".join(letters(maps, AMPLE, AMPLE))) - Counter({" ": AMPLE * AMPLE})
    assert found == Counter(LETTERS[state] for state in status.states.values())
    assert "no room" not in coverage_text(maps, AMPLE, AMPLE).plain


@settings(max_examples=20)
@given(shards(), st.integers(3, 60), st.integers(2, 20))
def test_maps_fit_any_terminal(made: Shards, columns: int, lines: int) -> None:
    """However small it is; a failed shard of a scale that is shown is seen."""
    with made.run() as (run, status):
        maps = coverage_maps(run, status)
    plain = coverage_text(maps, columns, lines, colours=False).plain.splitlines()
    drawn = letters(maps, columns, lines)
    names = [line for line in plain if line.startswith(("s", "z")) and ":" not in line]
    assert len(drawn) <= lines
    assert max(map(len, drawn)) <= columns
    assert all(len(line) <= columns for line in names)
    if ShardState.FAILED in maps[0].states:
        assert "F" in "".join(drawn)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of 10 x 4 x 2 shards without a column of two; some are done, one has failed."""
    spec = small_spec((640, 256, 128), 1)
    (scale,) = spec.scales
    places = {
        f"s0/{shard_hex(shard, scale.sharding)}": shard_box(scale, shard)[0]
        for shard in all_shards(scale)
    }
    planned = [key for key, place in places.items() if place[:2] != (9, 3)]
    made = made_run(tmp_path, [row(key) for key in planned], downres=(), volume=spec.to_info())
    for key in planned:
        x, y, z = places[key]
        if x < 4 or (x == 4 and z == 0):
            finish(made, key)
        elif (x, y, z) == (5, 1, 1):
            fail(made, key)
    return made


def maps_of(run: Run) -> list[CoverageMap]:
    """The maps of a run."""
    return coverage_maps(run, read_status(run))


def test_layers_side_by_side(run: Run) -> None:
    """Each with its name; a cell is a letter."""
    shown = coverage_text(maps_of(run), 80, colours=False).plain.splitlines()
    assert shown == [
        "s0 z0       z1",
        "#####+++++  ####++++++",
        "#####+++++  ####+F++++",
        "#####+++++  ####++++++",
        "#####++++   ####+++++ ",
        "# done  + ready  F failed",
        "z: layers of shards, each cell a shard",
    ]


def test_layers_below_each_other(run: Run) -> None:
    """Where a line has no room for both."""
    shown = coverage_text(maps_of(run), 20, colours=False).plain.splitlines()
    assert shown[0] == "s0 z0"
    assert shown[5:8] == ["z1", "####++++++", "####+F++++"]


def test_columns_where_layers_have_no_room(run: Run) -> None:
    """The worst of each column along z, and a line that says so."""
    shown = coverage_text(maps_of(run), 80, 5, colours=False).plain.splitlines()
    assert len(shown) > 5  # both layers fit
    shown = coverage_text(maps_of(run), 20, 5, colours=False).plain.splitlines()
    assert shown[:5] == ["s0", "####++++++", "####+F++++", "####++++++", "####+++++ "]
    assert " ".join(shown[6:]) == (
        "s0: no room for each layer, a cell is the worst shard of its column along z"
    )


def test_coarser_cells_where_columns_have_no_room(run: Run) -> None:
    """They say what they stand for, and how many scales are left out."""
    (found,) = maps_of(run)
    shown = coverage_text([found, found], 6, 3, colours=False).plain.splitlines()
    assert shown[:2] == ["s0", "#F+"]
    text = " ".join(shown)
    assert "no room for each shard, a cell is the worst of up to 4 x 4 x 2" in text
    assert "no room for 1 more scale" in text


def test_colours_of_half_blocks(run: Run) -> None:
    """The upper cell in front, the lower one behind; half a block where there is but one."""
    text = coverage_text(maps_of(run), 80)
    assert text.plain.splitlines()[:4] == [
        "s0 z0       z1",
        "██████████  █████▀████",
        "█████████▀  █████████▀",
        "█ done  █ ready  █ failed",
    ]
    styles = {str(span.style) for span in text.spans}
    assert {"green on green", "bright_blue on bright_red", "bright_blue"} <= styles
