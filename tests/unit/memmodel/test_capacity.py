"""Workers for tiers within a budget."""

import math

from hypothesis import given
from hypothesis import strategies as st

from memmodel.capacity import Budget, allocate, divide
from memmodel.tiers import GIB, parse_tiers

TIERS = parse_tiers("1,2,4")


def test_without_work_there_are_no_workers() -> None:
    """No backlog, no workers."""
    assert set(allocate({}, TIERS, Budget(8 * GIB, 8)).workers.values()) == {0}


def test_every_tier_with_work_gets_a_worker_then_the_longest_queue() -> None:
    """The largest first; the rest goes where most shards wait."""
    backlog = {"1gi": 100, "2gi": 5, "4gi": 1}
    found = allocate(backlog, TIERS, Budget(10 * GIB, 8))
    assert found.workers == {"1gi": 4, "2gi": 1, "4gi": 1}
    assert found.waiting == ()
    assert found.too_large == ()


def test_what_does_not_fit_is_told_from_what_must_wait() -> None:
    """A tier beyond the whole budget is out of reach; one beyond what is left waits."""
    backlog = {"1gi": 1, "2gi": 3, "4gi": 1}
    found = allocate(backlog, TIERS, Budget(2 * GIB, 8))
    assert found.workers == {"1gi": 0, "2gi": 1, "4gi": 0}
    assert found.waiting == ("1gi",)
    assert found.too_large == ("4gi",)


def test_an_unknown_backlog_is_worth_one_worker() -> None:
    """It may hold shards, so a worker has to poll it."""
    found = allocate({"1gi": None, "2gi": 0}, TIERS, Budget(8 * GIB, 8))
    assert found.workers == {"1gi": 1, "2gi": 0, "4gi": 0}


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 50)), min_size=3, max_size=3),
    st.integers(0, 20),
    st.integers(0, 9),
)
def test_the_budget_holds_and_nothing_is_left_idle(
    waiting: list[int | None], memory_gib: int, cpus: int
) -> None:
    """Never more than the machine has, never more workers than shards, and no room wasted."""
    backlog = dict(zip(("1gi", "2gi", "4gi"), waiting, strict=True))
    found = allocate(backlog, TIERS, Budget(memory_gib * GIB, cpus))
    used = sum(found.workers[tier.name] * tier.limit_bytes for tier in TIERS)
    workers = sum(found.workers.values())
    assert used <= memory_gib * GIB
    assert workers <= cpus
    for tier in TIERS:
        count = 1 if backlog[tier.name] is None else int(backlog[tier.name] or 0)
        mine = found.workers[tier.name]
        assert mine <= count
        room = workers < cpus and used + tier.limit_bytes <= memory_gib * GIB
        assert mine == count or not room
        listed = (tier.name in found.waiting) + (tier.name in found.too_large)
        assert listed == (count > 0 and mine == 0)


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 30), min_size=1),
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)),
    st.lists(st.integers(0, 60), min_size=2, max_size=2),
)
def test_dividing_keeps_what_runs_and_stays_within_the_budget(
    wanted: dict[str, int], running: dict[str, int], budget: list[int]
) -> None:
    """Nothing is taken away, nothing is added beyond the budget or the wish, no room is wasted."""
    costs = {"a": (4, 1), "b": (2, 1), "c": (1, 1)}
    found = divide(wanted, costs, budget, running)
    assert found.keys() == wanted.keys()
    spent = [sum(found[name] * costs[name][one] for name in found) for one in (0, 1)]
    for name, count in found.items():
        kept = running.get(name, 0)
        assert kept <= count <= max(kept, wanted[name])
        if count > kept:
            assert all(total <= limit for total, limit in zip(spent, budget, strict=True))
        room = all(s + c <= b for s, c, b in zip(spent, costs[name], budget, strict=True))
        assert count >= wanted[name] or not room


def test_dividing_without_limits_gives_what_is_wanted() -> None:
    """Infinity is a budget."""
    wanted = {"a": 500, "b": 0, "c": 3}
    assert divide(wanted, dict.fromkeys("abc", (0.01,)), [math.inf]) == wanted
