"""docs/cost.md: its figures are those of the code, and some are worked out by hand."""

import pytest

from benchmarks import cost_page


def test_the_pages_figures_are_the_codes() -> None:
    """`python -m benchmarks.cost_page` writes them."""
    page = cost_page.PAGE.read_text()
    assert cost_page.filled(page) == page, "python -m benchmarks.cost_page"


def test_the_male_fly_by_hand() -> None:
    """587 million chunks at 2,281/s a core are 71 core-hours: $4.1 in pools, at 1.6e-5 a second.

    Stored: 4.3 TB x 0.8 = 3,204 GiB, $64.07 a month. A weekend of 100 forgotten workers of 4gi is
    60 h x 3,600 s x 100 x $1.6e-5 = $345.60.
    """
    found = cost_page.bill_of(cost_page.CONVERT_ALL)
    starts_s = 26_128  # a second each
    core_s = 587e6 / 2281
    assert core_s / 3600 == pytest.approx(71.5, abs=0.1)
    assert found.line("workers") == pytest.approx((core_s + starts_s) * 1.6e-5, rel=1e-3)
    assert core_s * 1.6e-5 == pytest.approx(4.12, rel=0.01)
    assert found.storage_month == pytest.approx(4.3e12 * 0.8 / 2**30 * 0.020)
    assert found.line("transfer") == 0
    assert "over a weekend (60 h) | $345.60 |" in cost_page.mistake_table()
