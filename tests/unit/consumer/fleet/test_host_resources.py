"""Resources of a machine for workers."""

import os

import pytest

from consumer.fleet.host_resources import cpus, served_tiers, work_limit_bytes
from memmodel import cgroups
from memmodel.tiers import GIB, Tier, parse_tiers

TIERS = parse_tiers("2,4,8")


@pytest.mark.parametrize(
    ("machine", "served"),
    [
        (16 * GIB, [("2gi", 2 * GIB), ("4gi", 4 * GIB), ("8gi", 8 * GIB)]),
        (4 * GIB, [("2gi", 2 * GIB), ("4gi", 4 * GIB)]),
        (3 * GIB, [("2gi", 2 * GIB), ("4gi", 3 * GIB)]),
        (GIB, [("2gi", GIB)]),
    ],
)
def test_the_first_tier_beyond_a_machine_gets_what_there_is(
    machine: int, served: list[tuple[str, int]]
) -> None:
    """A shard of tier 4gi may need only 3 GiB; one of 8gi needs more than 4 GiB."""
    assert [(tier.name, tier.limit_bytes) for tier in served_tiers(TIERS, machine)] == served


def test_work_gets_no_more_than_the_machine_has() -> None:
    """The tier's limit, or the machine's where that is less."""
    tier = Tier("2gi", 2 * GIB)
    assert work_limit_bytes(tier, GIB) == GIB
    assert work_limit_bytes(tier, 8 * GIB) <= 2 * GIB


def test_cpus_count_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    """On systems that cannot bind a process to CPUs, all of them count."""
    monkeypatch.setattr(cgroups, "cpu_quota", lambda: None)
    assert 1 <= cpus() <= (os.cpu_count() or 1)
    monkeypatch.delattr("os.sched_getaffinity")
    assert cpus() == os.cpu_count()


@pytest.mark.parametrize(("quota", "counted"), [(0.5, 1), (1.0, 1), (1.5, 2), (64.0, 4)])
def test_a_containers_quota_counts(
    quota: float, counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a CPU is one worker; a quota beyond the machine changes nothing."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(cgroups, "cpu_quota", lambda: quota)
    assert cpus() == counted
