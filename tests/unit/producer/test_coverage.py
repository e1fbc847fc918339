"""Coverage maps: each shard of the plan in one cell, in its own state; coarser by the worst."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braid.precomputed.sharding import shard_box, shard_edges
from delivery.ledger.shard_status import RunStatus, ShardState, read_status
from delivery.messages import parse_key
from producer.coverage import NOT_KNOWN, SEVERITY, coverage_maps
from tests.support.coverage_runs import Shards, shards
from tests.support.ledgers import made_run, row
from tests.support.run_harness import small_spec

Cell = tuple[int, int, int, int]


def expected_cells(made: Shards, status: RunStatus) -> dict[Cell, tuple[ShardState, int]]:
    """Scale and place of every shard in the plan, with its state and chunks, shard by shard."""
    found = {}
    for key, state in status.states.items():
        scale, name = parse_key(key)
        spec = made.volume.scales[scale]
        begin, _ = shard_box(spec, int(name, 16))
        x, y, z = (b // e for b, e in zip(begin, shard_edges(spec), strict=True))
        receipt = status.receipts.get(key)
        found[scale, x, y, z] = (state, receipt.chunks if receipt else NOT_KNOWN)
    return found


def worst(states: set[ShardState]) -> ShardState:
    """The state that a cell of several shards has."""
    return max(states, key=SEVERITY.index)


@settings(max_examples=25)
@given(shards())
def test_each_shard_is_one_cell(made: Shards) -> None:
    """Every shard of the plan has a cell of its own, and no cell is without one."""
    with made.run() as (run, status):
        maps = coverage_maps(run, status)
        expected = expected_cells(made, status)
    found = {
        (one.scale, *place): (SEVERITY[rank - 1], chunks)
        for one in maps
        for place, rank, chunks in zip(
            one.places.tolist(), one.ranks.tolist(), one.chunks.tolist(), strict=True
        )
    }
    assert found == expected
    assert sum(len(one.places) for one in maps) == len(expected) == len(status.states)
    for one in maps:
        own = {state for (scale, *_), (state, _) in expected.items() if scale == one.scale}
        assert set(one.states) == own
        assert one.layers == sorted({z for scale, _, _, z in expected if scale == one.scale})


@settings(max_examples=25)
@given(shards(), st.tuples(*[st.integers(1, 8)] * 3))
def test_a_coarser_cell_is_the_worst_of_its_shards(
    made: Shards, edges: tuple[int, int, int]
) -> None:
    """Whatever edges it has, and in two steps as in one; no shard is lost."""
    with made.run() as (run, status):
        (fine, *_) = coverage_maps(run, status)
        expected = expected_cells(made, status)
    coarse = fine.coarsened(edges)
    assert coarse.edges == tuple(min(e, n) for e, n in zip(edges, fine.grid, strict=True))
    held: dict[tuple[int, ...], set[ShardState]] = {}
    for (scale, *place), (state, _) in expected.items():
        if scale == 0:
            at = tuple(p // e for p, e in zip(place, coarse.edges, strict=True))
            held.setdefault(at, set()).add(state)
    cells = zip(coarse.places.tolist(), coarse.ranks.tolist(), strict=True)
    assert {tuple(at): SEVERITY[rank - 1] for at, rank in cells} == {
        at: worst(states) for at, states in held.items()
    }
    assert coarse.shards == fine.shards
    assert (np.asarray(coarse.grid) * coarse.edges >= fine.grid).all()
    assert coarse.voxels == tuple(v * e for v, e in zip(fine.voxels, coarse.edges, strict=True))


@settings(max_examples=20)
@given(shards())
def test_planes_hold_the_cells_of_a_layer(made: Shards) -> None:
    """As a picture within the bounds; what has no shard is told from what has one."""
    with made.run() as (run, status):
        maps = coverage_maps(run, status)
    for one in maps:
        begin, _ = one.bounds
        found = {
            (x + begin[0], y + begin[1], z): int(rank)
            for z, plane in one.planes()
            for (y, x), rank in np.ndenumerate(plane)
            if rank
        }
        cells = zip(one.places.tolist(), one.ranks.tolist(), strict=True)
        assert found == {tuple(place): rank for place, rank in cells}
        assert all(plane.shape == one.extent[1::-1] for _, plane in one.planes())


def test_a_map_that_needs_no_change_stays(tmp_path: Path) -> None:
    """Edges of one, or of a grid of one cell."""
    spec = small_spec((64, 64, 64), 1)
    run = made_run(tmp_path, [row("s0/0")], downres=(), volume=spec.to_info())
    (found,) = coverage_maps(run, read_status(run))
    assert found.coarsened((1, 1, 1)) is found.coarsened((4, 4, 4)) is found.flattened() is found


@pytest.mark.parametrize("key", ["s0/3", "s0/ff", "s0/ffffffffffffffff", "s7/0"])
def test_shards_outside_the_volume_have_no_cell(tmp_path: Path, key: str) -> None:
    """Such as those of a plan that another program wrote."""
    spec = small_spec((192, 64, 64), 1)
    run = made_run(tmp_path, [row("s0/2")], downres=(), volume=spec.to_info())
    status = read_status(run)
    status.states[key] = ShardState.READY
    (found,) = coverage_maps(run, status)
    assert (found.places.tolist(), found.shards) == ([[2, 0, 0]], 1)


def test_a_volume_that_is_not_known_has_no_maps(tmp_path: Path) -> None:
    """No reason against a status or a report."""
    run = made_run(tmp_path)
    assert coverage_maps(run, read_status(run)) == []


def test_states_are_ordered_for_every_state() -> None:
    """The worst is what needs a person most."""
    assert set(SEVERITY) == set(ShardState)
    assert SEVERITY[0] is ShardState.DONE
    assert SEVERITY[-1] is ShardState.FAILED
