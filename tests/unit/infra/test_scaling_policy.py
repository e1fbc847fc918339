"""The scaling policy: examples, and what holds for every input."""

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.scaling_policy import Caps, Left, desired_counts, instance_cost, workers_for
from memmodel.tiers import parse_tiers

TIERS = parse_tiers("2,4,8")
NAMES = [tier.name for tier in TIERS]

counts_of = st.fixed_dictionaries({name: st.integers(0, 60) for name in NAMES})
lefts = st.fixed_dictionaries(
    {name: st.builds(Left, st.integers(0, 400), st.integers(0, 40)) for name in NAMES}
)
small_counts_of = st.fixed_dictionaries({name: st.integers(0, 6) for name in NAMES})
small_lefts = st.fixed_dictionaries(
    {name: st.builds(Left, st.integers(0, 1), st.integers(0, 3)) for name in NAMES}
)
backlogs = st.fixed_dictionaries(
    {name: st.one_of(st.none(), st.integers(0, 400)) for name in NAMES}
)
limits = st.one_of(st.just(math.inf), st.integers(0, 90))
caps_of = st.builds(Caps, st.integers(1, 80), limits, limits, limits, limits)


def counts(
    left: Mapping[str, Left] | None,
    running: Mapping[str, int] | None = None,
    backlog: Mapping[str, int | None] | None = None,
    **caps: float,
) -> dict[str, int]:
    """What the policy gives, without the tiers that have nothing."""
    found = desired_counts(TIERS, running or {}, left, backlog or {}, Caps(**caps))  # type: ignore[arg-type] # one is an int
    return {name: count for name, count in found.items() if count}


@pytest.mark.parametrize(
    ("shards", "workers"), [(0, 0), (1, 1), (8, 8), (9, 3), (12, 3), (13, 4), (400, 100)]
)
def test_four_shards_are_worth_a_worker_and_each_of_the_last(shards: int, workers: int) -> None:
    """Fewer starts than shards, until the end, where each is waited for."""
    assert workers_for(shards) == workers


def test_a_tier_goes_up_with_what_is_ready() -> None:
    """Waiting shards are worth nothing yet."""
    assert counts({"2gi": Left(100, 50), "4gi": Left(0, 9)}) == {"2gi": 25}


def test_a_tier_with_work_does_not_go_down() -> None:
    """Neither with one shard, nor while all it has is waiting for inputs and nothing starves."""
    assert counts({"2gi": Left(1)}, {"2gi": 25}) == {"2gi": 25}
    assert counts({"2gi": Left(5), "4gi": Left(0, 1)}, {"4gi": 25})["4gi"] == 25


def test_nothing_left_is_nothing_running() -> None:
    """Whatever late metrics say."""
    assert counts({}, {"2gi": 25, "4gi": 3}, {"2gi": 40, "4gi": 1}) == {}
    assert counts({"2gi": Left()}, {"2gi": 25}, {"2gi": None}) == {}


def test_a_tier_without_work_ends_before_the_others() -> None:
    """A smaller one at once: nothing can be escalated to it."""
    assert counts({"4gi": Left(30)}, {"2gi": 25, "4gi": 8}, {"2gi": 40}) == {"4gi": 8}


def test_an_unreadable_ledger_changes_nothing() -> None:
    """Even beyond the caps."""
    assert counts(None, {"2gi": 25}, {"2gi": 0}, per_tier=1) == {"2gi": 25}


def test_an_unknown_backlog_leaves_the_ledger_to_decide() -> None:
    """It is enough for all but escalated shards."""
    assert counts({"2gi": Left(100)}, {}, {"2gi": None}) == {"2gi": 25}


def test_an_escalated_shard_is_seen_by_its_message() -> None:
    """The ledger may have it at the tier of its plan still."""
    assert counts({"2gi": Left(100)}, {"2gi": 25}, {"4gi": 3}) == {"2gi": 25, "4gi": 3}


def test_a_few_idle_instances_are_held_for_escalated_shards() -> None:
    """Many are not: they would cost more than the rare second of work that is lost."""
    left = {"2gi": Left(100)}
    assert counts(left, {"2gi": 25, "4gi": 3}, {"4gi": 0}) == {"2gi": 25, "4gi": 3}
    assert counts(left, {"2gi": 25, "4gi": 4}, {"4gi": 0}) == {"2gi": 25}
    assert counts({"2gi": Left(0, 5)}, {"2gi": 25, "4gi": 3}, {"4gi": 0}) == {"2gi": 25}


def test_a_total_is_shared() -> None:
    """One each, then where most shards wait per worker."""
    left = {"2gi": Left(400), "4gi": Left(40), "8gi": Left(1)}
    assert counts(left, total=12) == {"2gi": 10, "4gi": 1, "8gi": 1}
    assert counts(left, total=2) == {"4gi": 1, "8gi": 1}
    assert counts(left, {"2gi": 20}, total=12) == {"2gi": 20}  # nothing is stopped


def test_idle_instances_give_way_to_a_tier_that_would_get_none() -> None:
    """As few as needed of those without ready shards and messages, the largest first."""
    waiting = {"2gi": Left(0, 2), "4gi": Left(1)}
    assert counts(waiting, {"2gi": 4}, total=4) == {"2gi": 3, "4gi": 1}
    assert counts(waiting, {"2gi": 4}, dollars_per_hour=0.2) == {"2gi": 2, "4gi": 1}
    assert counts(waiting, {"2gi": 4}, total=5) == {"2gi": 4, "4gi": 1}
    assert counts(waiting, {"2gi": 4}, {"2gi": 1}, total=4) == {"2gi": 4}
    assert counts({"2gi": Left(1, 2), "4gi": Left(1)}, {"2gi": 4}, total=4) == {"2gi": 4}
    both = {"2gi": Left(0, 2), "4gi": Left(0, 2), "8gi": Left(1)}
    assert counts(both, {"2gi": 2, "4gi": 2}, total=4) == {"2gi": 2, "4gi": 1, "8gi": 1}
    held = {"2gi": Left(4), "4gi": Left(), "8gi": Left(1)}
    assert counts(held, {"2gi": 4, "4gi": 1}, total=5) == {"2gi": 4, "8gi": 1}


def test_nothing_gives_way_where_not_all_runs_are_known() -> None:
    """What waits by one run may be busy by another."""
    left = {"2gi": Left(0, 2), "4gi": Left(1)}
    found = desired_counts(TIERS, {"2gi": 4}, left, {}, Caps(total=4), give_way=False)
    assert found == {"2gi": 4, "4gi": 0, "8gi": 0}


def test_nothing_gives_way_in_vain() -> None:
    """Where one instance is more than the whole cap, or than idle ones leave of it."""
    waiting = {"2gi": Left(0, 2), "4gi": Left(0, 9), "8gi": Left(1)}
    assert counts(waiting, {"2gi": 1, "4gi": 1}, memory_gib=7) == {"2gi": 1, "4gi": 1}
    busy = waiting | {"4gi": Left(1)}
    assert counts(busy, {"2gi": 2, "4gi": 1}, memory_gib=10) == {"2gi": 2, "4gi": 1}


def test_dollars_and_quota_are_limits() -> None:
    """An instance of 2gi costs 4.9 cents an hour; each cap alone bounds the count."""
    left = {"2gi": Left(4000)}
    assert counts(left, dollars_per_hour=1.0) == {"2gi": 20}
    assert counts(left, vcpus=7) == {"2gi": 7}
    assert counts(left, memory_gib=7) == {"2gi": 3}
    assert counts(left, per_tier=5) == {"2gi": 5}
    assert counts(left) == {"2gi": 100}


def starving(
    running: dict[str, int], left: dict[str, Left], backlog: dict[str, int | None], caps: Caps
) -> set[str]:
    """Tiers without an instance that have a ready shard or a message, and room only if others go.

    One instance each, and what runs, are more than the caps.
    """
    able = [n for n in NAMES if any(left[m].ready for m in NAMES[: NAMES.index(n)])]
    kept = {n for n in NAMES if left[n].shards or n in able}
    first = {n for n in kept if not running[n] and (left[n].ready or backlog[n]) and caps.per_tier}
    spent = [
        sum((running[t.name] if t.name in kept else 0) * instance_cost(t)[n] for t in TIERS)
        + sum(instance_cost(t)[n] for t in TIERS if t.name in first)
        for n in range(4)
    ]
    full = any(one > most + 1e-9 for one, most in zip(spent, caps.budget, strict=True))
    return first if full else set()


@given(counts_of, lefts, backlogs, caps_of)
def test_no_tier_with_a_ready_shard_or_messages_goes_down(
    running: dict[str, int], left: dict[str, Left], backlog: dict[str, int | None], caps: Caps
) -> None:
    """Messages count while the tier has anything left."""
    found = desired_counts(TIERS, running, left, backlog, caps)
    for name in NAMES:
        if left[name].ready or (left[name].waiting and backlog[name]):
            assert found[name] >= running[name]


@given(small_counts_of, small_lefts, backlogs, caps_of)
def test_a_tier_with_waiting_shards_goes_down_only_for_one_that_starves(
    running: dict[str, int], left: dict[str, Left], backlog: dict[str, int | None], caps: Caps
) -> None:
    """Which then has its first instance, for which one fewer would not have been enough."""
    found = desired_counts(TIERS, running, left, backlog, caps)
    down = [t for t in TIERS if left[t.name].waiting and found[t.name] < running[t.name]]
    if not down:
        return
    assert any(found[name] == 1 for name in starving(running, left, backlog, caps))
    spent = [sum(found[t.name] * instance_cost(t)[n] for t in TIERS) for n in range(4)]
    least = instance_cost(down[0])  # of the smallest that gave way
    assert any(
        one + more > most - 1e-6 for one, more, most in zip(spent, least, caps.budget, strict=True)
    )


@given(counts_of, lefts, backlogs, caps_of)
def test_a_tier_with_nothing_left_keeps_its_instances_or_none(
    running: dict[str, int], left: dict[str, Left], backlog: dict[str, int | None], caps: Caps
) -> None:
    """Unless some give way."""
    found = desired_counts(TIERS, running, left, backlog, caps)
    if not starving(running, left, backlog, caps):
        assert all(found[name] >= running[name] or not found[name] for name in NAMES)


@given(small_counts_of, small_lefts, backlogs, caps_of)
def test_a_ready_shard_starves_only_behind_busy_tiers(
    running: dict[str, int], left: dict[str, Left], backlog: dict[str, int | None], caps: Caps
) -> None:
    """Without the instances of idle tiers there is no room for one, else it has one."""
    found = desired_counts(TIERS, running, left, backlog, caps)
    busy = {n: found[n] if left[n].ready or backlog[n] else 0 for n in NAMES}
    for tier in TIERS:
        if left[tier.name].ready and not found[tier.name]:
            spent = [
                sum(busy[t.name] * instance_cost(t)[n] for t in TIERS) + instance_cost(tier)[n]
                for n in range(4)
            ]
            assert any(one > most for one, most in zip(spent, caps.budget, strict=True))


@given(counts_of, lefts, backlogs, caps_of)
def test_caps_bound_what_is_added(
    running: dict[str, int], left: dict[str, Left], backlog: dict[str, int | None], caps: Caps
) -> None:
    """Each of them; who adds an instance is within all."""
    found = desired_counts(TIERS, running, left, backlog, caps)
    spent = [sum(found[t.name] * instance_cost(t)[n] for t in TIERS) for n in range(4)]
    for name in NAMES:
        assert found[name] <= max(running[name], caps.per_tier)
    if any(found[name] > running[name] for name in NAMES):
        assert all(one <= most + 1e-6 for one, most in zip(spent, caps.budget, strict=True))


@given(counts_of, lefts, backlogs)
def test_a_ready_shard_always_has_an_instance(
    running: dict[str, int], left: dict[str, Left], backlog: dict[str, int | None]
) -> None:
    """Where caps leave room; never more instances than shards or messages."""
    found = desired_counts(TIERS, running, left, backlog, Caps())
    for name in NAMES:
        assert found[name] or not left[name].ready
        shards = max(left[name].ready, backlog[name] or 0)
        assert found[name] <= max(running[name], shards)


@given(counts_of, backlogs, caps_of)
def test_all_is_off_when_nothing_is_left(
    running: dict[str, int], backlog: dict[str, int | None], caps: Caps
) -> None:
    """The ledger decides, not the metrics."""
    assert not any(desired_counts(TIERS, running, {}, backlog, caps).values())


@given(counts_of, lefts, backlogs, caps_of)
def test_a_second_call_changes_nothing_unless_a_tier_ended(
    running: dict[str, int], left: dict[str, Left], backlog: dict[str, int | None], caps: Caps
) -> None:
    """What was added stays wanted; only what ended makes room for others."""
    first = desired_counts(TIERS, running, left, backlog, caps)
    second = desired_counts(TIERS, first, left, backlog, caps)
    for name in NAMES:
        assert second[name] >= first[name] or not left[name].shards
