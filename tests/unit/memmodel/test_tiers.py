"""Tiers: names, order, CPUs."""

import pytest

from memmodel.tiers import GIB, MIB, parse_size, parse_tiers, tier_named, tier_of
from runtime.errors import UsageError


def test_names_and_order() -> None:
    """GiB, ascending for any order; fractions are cut to whole MiB and named in them."""
    tiers = parse_tiers("4, 0.3,1.5,2")
    assert [tier.name for tier in tiers] == ["307mi", "1536mi", "2gi", "4gi"]
    assert [tier.limit_bytes for tier in tiers] == [307 * MIB, 1536 * MIB, 2 * GIB, 4 * GIB]


@pytest.mark.parametrize("text", ["", "2,,4", "x", "0", "-1", "nan", "inf", "1e99", "0.0001"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """The part that is wrong is named."""
    with pytest.raises(UsageError, match="is not a size in GiB"):
        parse_tiers(text)


def test_one_size_twice_is_refused() -> None:
    """Two queues of one name would be one."""
    with pytest.raises(UsageError, match="twice"):
        parse_tiers("2,2.0001")


def test_a_name_says_the_limit() -> None:
    """Runs keep names only."""
    for tier in parse_tiers("0.5,1.5,2,32"):
        assert tier_of(tier.name) == tier
    for name in ("", "gi", "2", "-2gi", "2ki", "٢gi"):
        with pytest.raises(UsageError):
            tier_of(name)


def test_an_unknown_name_lists_the_tiers() -> None:
    """In the order given."""
    tiers = parse_tiers("2,4,8")[::-1]
    assert tier_named("2gi", tiers) == tiers[-1]
    with pytest.raises(UsageError, match="8gi, 4gi, 2gi"):
        tier_named("16gi", tiers)


def test_cpus_come_with_memory() -> None:
    """As Cloud Run couples them."""
    cpus = [tier.vcpus for tier in parse_tiers("0.5,4,5,8,16,24,32")]
    assert cpus == [1, 1, 2, 2, 4, 6, 8]


@pytest.mark.parametrize(
    ("text", "size"),
    [("16GiB", 16 * GIB), ("512MiB", 512 * MIB), ("1.5 G", 3 * GIB // 2), ("2g", 2 * GIB)],
)
def test_a_size_is_read(text: str, size: int) -> None:
    """A number with a unit."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1GiB", "0", "0GiB", "12 parsecs", "1e3", "1.2.3"])
def test_other_text_is_not_a_size(text: str) -> None:
    """It is refused with examples of sizes."""
    with pytest.raises(UsageError, match="not a memory size") as caught:
        parse_size(text)
    assert caught.value.hint == "such as 16GiB or 512MiB"


def test_a_size_needs_a_unit() -> None:
    """A bare number could be any unit."""
    with pytest.raises(UsageError, match="'1' is not a memory size") as caught:
        parse_size("1")
    assert caught.value.hint == "it lacks a unit: 1GiB or 1MiB?"
