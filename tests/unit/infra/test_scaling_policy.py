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


def test_a_tier_with_work_never_goes_down() -> None:
    """Neither with one shard, nor while all it has is waiting for inputs."""
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


def test_dollars_and_quota_are_limits() -> None:
    """An instance of 2gi costs 4.9 cents an hour; each cap alone bounds the count."""
    left = {"2gi": Left(4000)}
    assert counts(left, dollars_per_hour=1.0) == {"2gi": 20}
    assert counts(left, vcpus=7) == {"2gi": 7}
    assert counts(left, memory_gib=7) == {"2gi": 3}
    assert counts(left, per_tier=5) == {"2gi": 5}
    assert counts(left) == {"2gi": 100}


@given(counts_of, lefts, backlogs, caps_of)
def test_no_tier_with_anything_left_goes_down(
    running: dict[str, int], left: dict[str, Left], backlog: dict[str, int | None], caps: Caps
) -> None:
    """Other tiers keep all of their instances or none."""
    found = desired_counts(TIERS, running, left, backlog, caps)
    for name in NAMES:
        assert found[name] >= running[name] or found[name] == 0
        assert found[name] >= running[name] or not left[name].shards


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
