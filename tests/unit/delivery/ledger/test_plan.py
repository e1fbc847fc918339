"""The plan: rows in, the same rows out, and the relations between them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.ledger.plan import Plan, PlanRow
from runtime.errors import UsageError
from runtime.storage import open_storage
from tests.support.ledgers import pyramid, row

texts = st.text(st.characters(codec="utf-8"), max_size=20)
sources = texts.filter(lambda text: not ({"", ".."} & {*f"/{text}".split("/")[1:]} or "\0" in text))
rows = st.lists(
    st.builds(
        lambda shard, state, tier, estimate, bytes_in, sources, crc: PlanRow(
            f"s0/{shard:x}", 0, f"{shard:x}", shard, "convert", state, tier, estimate, bytes_in,
            tuple(sources), (), crc,
        ),
        st.integers(0, 2**64 - 1),
        st.sampled_from(["make", "present", "empty"]),
        st.none() | texts,
        st.none() | st.integers(0, 2**62),
        st.integers(0, 2**62),
        st.lists(sources, max_size=5),
        st.none() | texts,
    ),
    unique_by=lambda one: one.key,
    max_size=20,
)  # fmt: skip


@given(rows=rows)
def test_a_plan_survives_storage(
    rows: list[PlanRow], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every field of every row is read as it was written, in the order of shards."""
    storage = open_storage(str(tmp_path_factory.mktemp("plan")))
    Plan.of(rows, (0, 3)).write(storage)
    found = Plan.read(storage)
    assert list(found.rows()) == sorted(rows, key=lambda one: one.shard)
    assert all(found.row(one.key) == one for one in rows)
    assert found.rows_of(one.key for one in rows) == rows
    assert (found.scales, len(found)) == ((0, 3), len(rows))


def test_relations_run_both_ways(tmp_path: Path) -> None:
    """A shard's dependents are those that name it as an input."""
    storage = open_storage(str(tmp_path))
    Plan.of(pyramid()).write(storage)
    plan = Plan.read(storage)
    assert plan.row("s1/01").inputs == ("s0/02", "s0/03")
    assert plan.dependents("s0/02") == ("s1/01",)
    assert plan.dependents("s1/01") == ("s2/00",)
    assert plan.dependents("s2/00") == ()
    assert [one.key for one in plan.rows(1)] == ["s1/00", "s1/01"]
    assert "s1/01" in plan
    assert "s1/02" not in plan


def test_inputs_come_before_their_dependents() -> None:
    """Whatever the order of rows, relations are sorted so that states can be derived in one go."""
    relations = Plan.of(reversed(pyramid())).relations
    seen: set[str] = set()
    for relation in relations:
        assert seen.issuperset(relation.inputs)
        seen.add(relation.key)


def test_an_unknown_shard_is_wrong_use() -> None:
    """A key that the plan does not know is named in the error."""
    with pytest.raises(UsageError, match="no shard s0/77"):
        Plan.of(pyramid()).row("s0/77")


def test_contradictory_plans_are_refused() -> None:
    """A shard twice, or an input of a scale that is not planned, would end in a hole: refused."""
    with pytest.raises(UsageError, match="names s0/00 twice"):
        Plan.of([row("s0/00"), row("s0/00")])
    with pytest.raises(UsageError, match="s1/00 is made from s0/00, whose scale is not planned"):
        Plan.of([row("s1/00", "s0/00")])
    with pytest.raises(UsageError, match="not planned"):
        Plan.of([row("s1/00", "s1/01"), row("s1/01")])
    assert len(Plan.of([row("s1/00", "s0/00")], (0,))) == 1  # scale 0 planned, the shard empty


def test_bounds_part_the_shards_in_the_order_of_their_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that a listing of their records is made in parts of a page each."""
    monkeypatch.setattr("delivery.ledger.plan._LISTED", 3)
    plan = Plan.of(pyramid(8))
    keys = sorted(one.key for one in pyramid(8))
    assert plan.bounds == tuple(keys[3::3])
    assert Plan.of([]).bounds == ()
