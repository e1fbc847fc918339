"""The scaling policy judged by simulation: kills, cost, end, caps, for several arrival patterns."""

from collections.abc import Callable

import pytest

from tests.support.scaling_patterns import (
    Pattern,
    again,
    day,
    escalating,
    flat,
    mixed,
    narrow,
    pyramid,
)
from tests.support.scaling_simulator import Outcome, World

SEEDS = range(1, 6)
ON_TIME = 1.15  # most billed seconds per second of work
SHORT_AND_WIDE = 1.5
OFF_S = 60.0

PATTERNS: dict[str, tuple[Callable[[int], Pattern], float]] = {
    "many": (lambda seed: flat(2000, 120, 200, seed), ON_TIME),
    "very many": (lambda seed: flat(8000, 60, 300, seed), ON_TIME),
    "few long": (lambda seed: flat(60, 600, 100, seed), ON_TIME),
    "short and wide": (lambda seed: flat(400, 120, 400, seed), SHORT_AND_WIDE),
    "pyramid": (lambda seed: pyramid(4096, 20, 60, seed, ("2gi",)), ON_TIME),
    "pyramid on two tiers": (lambda seed: pyramid(8000, 40, 100, seed, ("2gi", "4gi")), ON_TIME),
    "escalations": (lambda seed: escalating(2000, 120, 100, seed, 0.02), ON_TIME),
    "large ones end first": (lambda seed: mixed(4000, 400, 60, seed, 0.002), ON_TIME),
    "again": (lambda seed: again(1000, 60, 60, seed, (0, 1110, 1115, 4000)), ON_TIME),
    "day": (day, ON_TIME),
}


def judge(pattern: Pattern, found: Outcome, most_billed: float) -> None:
    """Hold an outcome to what was promised."""
    caps = pattern.caps
    assert found.kills == 0
    assert found.starved == 0
    assert found.off_s <= OFF_S
    assert found.billed_ratio <= most_billed
    assert found.most.pop("") <= caps.total
    assert max(found.most.values()) <= caps.per_tier


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", PATTERNS)
def test_the_policy_keeps_its_promises(name: str, seed: int) -> None:
    """No kill, little idling, off within a minute, never 0 with a ready shard, within the caps."""
    make, most_billed = PATTERNS[name]
    pattern = make(seed)
    judge(pattern, pattern.simulate(seed), most_billed)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["many", "pyramid", "escalations", "day"])
def test_it_keeps_them_without_monitoring(name: str, seed: int) -> None:
    """The ledger is enough, where it tells to which tier a shard was escalated."""
    make, most_billed = PATTERNS[name]
    pattern = make(seed)
    judge(pattern, pattern.simulate(seed, World(metrics=False)), most_billed)


@pytest.mark.parametrize("seed", SEEDS)
def test_escalated_shards_are_seen_by_metrics_alone(seed: int) -> None:
    """Two minutes late; the run ends all the same."""
    pattern = escalating(2000, 120, 100, seed, 0.02)
    judge(pattern, pattern.simulate(seed, World(notes=False)), ON_TIME)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_ledger_out_of_reach_costs_time_only(seed: int) -> None:
    """Nothing is killed, and what runs is off within a minute after it can be read again."""
    pattern = flat(1000, 60, 60, seed)
    found = pattern.simulate(seed, World(ledger=lambda now: not 200 < now < 1500))
    assert (found.kills, found.starved) == (0, 0)
    assert found.off_s <= 1500 - found.end_s + OFF_S


@pytest.mark.parametrize("world", [World(), World(metrics=False)])
@pytest.mark.parametrize("cap", [1, 12])
@pytest.mark.parametrize("seed", SEEDS)
def test_with_a_cap_that_a_smaller_tier_uses_up_the_run_ends(
    seed: int, cap: int, world: World
) -> None:
    """Idle instances give way to escalated shards; none is killed at work, the cap holds.

    A shard that moved without a note counts as ready where it was, so nothing there is idle.
    """
    found = narrow(600, 30, cap, seed, 0.02).simulate(seed, world)
    assert found.kills == 0
    assert found.off_s <= OFF_S
    assert found.most[""] <= cap


def test_plan_order_costs_more() -> None:
    """Why shards are published longest first: billed seconds, and the end."""
    first = [flat(2000, 120, 200, seed).simulate(seed) for seed in SEEDS]
    plain = [flat(2000, 120, 200, seed, longest_first=False).simulate(seed) for seed in SEEDS]
    assert sum(o.billed_s for o in plain) > 1.1 * sum(o.billed_s for o in first)
    assert sum(o.end_s for o in plain) > 1.1 * sum(o.end_s for o in first)


def test_the_simulator_kills_under_a_bad_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that follows the backlog down stops busy workers: the judge sees it."""
    monkeypatch.setattr(
        "tests.support.scaling_simulator.desired_counts",
        lambda _tiers, _running, _left, backlog, caps: {
            tier: min(caps.per_tier, -(-(count or 0) // 4)) for tier, count in backlog.items()
        },
    )
    found = flat(400, 120, 400, 1).simulate(1)
    assert found.kills > 0
    assert found.billed_ratio > 0
