"""Selections in a plan: what is chosen, what is left out, and that nothing is made from a hole."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from braid.precomputed import sharding
from braid.precomputed.volume_spec import VolumeSpec
from delivery.ledger.selection import Selection
from memmodel.tiers import parse_tiers
from producer.export_listing import ScaleListing
from producer.planner import PlanInputs, PlanResult, make_plan
from producer.run_request import Request
from producer.selection_request import parse_box
from producer.shard_choice import box_at
from producer.synthetic_export import sample_spec
from tests.support.export_listings import export_file

SIZE = (700, 500, 300)
VOLUME = VolumeSpec.parse(sample_spec(SIZE, 3))
ORIGINS = [(x, y, z) for x in (0, 256, 512) for y in (0, 256) for z in (0, 256)]
LISTING = ScaleListing(
    0, tuple(export_file(f"s0/{x}_{y}_{z}.arrow", (x, y, z), 1000) for x, y, z in ORIGINS)
)
REQUEST = Request(VOLUME, "/source", "/dest", (0,), (1, 2))

SIDES = st.tuples(*(st.tuples(st.integers(0, most - 1), st.integers(1, most)) for most in SIZE))
BOXES = SIDES.map(
    lambda sides: (tuple(s[0] for s in sides), tuple(max(s[0] + 1, s[1]) for s in sides))
)


def planned(selection: Selection | None) -> PlanResult:
    """The plan of a selection, with nothing made yet."""
    request = replace(REQUEST, selection=selection)
    return make_plan(request, PlanInputs({0: LISTING}, {0: {}, 1: {}, 2: {}}), parse_tiers("2"))


WHOLE = {row.key: row for row in planned(None).plan.rows()}


def check_closed(found: PlanResult) -> None:
    """A shard is made as in the whole, or left out; its inputs are all made, too."""
    made = {row.key: row for row in found.plan.rows()}
    assert made.keys() | found.left_out.keys() == WHOLE.keys()
    assert not made.keys() & found.left_out.keys()
    for key, row in made.items():
        assert (row.inputs, row.sources) == (WHOLE[key].inputs, WHOLE[key].sources)
        assert set(row.inputs) <= made.keys()
    assert [one.row.key for one in found.forecasts] == list(made) == list(found.reasons)


@given(BOXES, st.none() | st.integers(1, 14))
def test_a_box_chooses_what_meets_it(box: tuple, limit: int | None) -> None:  # type: ignore[type-arg]
    """At scale 0 exactly the shards with a voxel in it, or the first of them."""
    found = planned(Selection(box=box, limit=limit))
    check_closed(found)
    meeting = [
        f"s0/{sharding.shard_hex(shard, VOLUME.scales[0].sharding)}"
        for shard in sharding.shards_meeting(VOLUME.scales[0], *box)
    ]
    assert [key for key in WHOLE if key in found.chosen and key[:2] == "s0"] == meeting[:limit]


@given(st.sets(st.sampled_from([key for key in WHOLE if key[:2] == "s0"]), min_size=1))
def test_keys_choose_themselves_and_what_needs_no_others(keys: set[str]) -> None:
    """A coarser shard is made if all of its inputs are named."""
    found = planned(Selection(shards=tuple(keys)))
    check_closed(found)
    made = {row.key for row in found.plan.rows()}
    assert made == keys | {
        key for key, row in WHOLE.items() if row.inputs and set(row.inputs) <= made
    }


def test_all_of_it_leaves_nothing_out() -> None:
    """A box of the whole volume is the whole."""
    found = planned(Selection(box=((0, 0, 0), SIZE)))
    assert {row.key for row in found.plan.rows()} == WHOLE.keys()
    assert found.left_out_by_scale == {}


def test_boxes_are_rounded_outwards() -> None:
    """A voxel of a coarser scale belongs to a box if any of its eight does."""
    assert box_at(VOLUME, ((3, 4, 5), (9, 10, 12)), 1) == ((1, 2, 2), (5, 5, 6))
    assert parse_box(" 1:2, 3:40 ,5:600") == ((1, 3, 5), (2, 40, 600))
