"""Estimates: every term shows, the smallest tier that fits, coefficients from a file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from braid.precomputed.volume_spec import CodePath
from memmodel import coefficients as coefficients_module
from memmodel import estimate as module
from memmodel.coefficients import DEFAULTS, Coefficients, load
from memmodel.estimate import (
    DoesNotFit,
    Estimate,
    Work,
    choose,
    estimate,
    sizes,
)
from memmodel.tiers import GIB, MIB, parse_tiers
from runtime.errors import UsageError

TIERS = parse_tiers("0.5,2,4")
PLAIN = Coefficients(dict.fromkeys(DEFAULTS, 1.0))


def test_every_term_has_a_coefficient_and_every_coefficient_a_term() -> None:
    """What fit finds is what estimate uses."""
    works = [
        Work(kind, 5 * GIB, 32768, code_path)
        for kind in ("convert", "downsample")
        for code_path in CodePath
    ]
    assert {name for work in works for name in sizes(work)} == set(DEFAULTS)


def test_the_total_is_the_sum_of_coefficients_times_sizes() -> None:
    """Primes, so that no two terms can be mistaken for each other."""
    work = Work("convert", 7919 * 1009, 104_729, CodePath.VOXELS, threads=3, slices=2)
    primes = dict(zip(DEFAULTS, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37], strict=True))
    found = estimate(work, Coefficients({name: float(p) for name, p in primes.items()}))
    for name, size in sizes(work).items():
        assert found.terms[name] == pytest.approx(primes[name] * size, abs=1)
    assert found.total_bytes == sum(found.terms.values())


def test_a_converted_shard_stops_growing_at_its_windows() -> None:
    """Ten times the bytes cost nothing but indices; of remote files so much is held at once."""
    local = [sizes(Work("convert", n, 32768, remote=False)) for n in (GIB, 10 * GIB)]
    assert local[0] == local[1]
    assert local[0]["windows"] == 3 * module.LOCAL_WINDOW_BYTES
    assert sizes(Work("convert", 50 * MIB, 32768))["source"] == 50 * MIB
    held = module.SHARED_SOURCE_BYTES + module.AHEAD_SOURCE_BYTES
    assert sizes(Work("convert", 200 * MIB, 32768))["source"] == held
    large = sizes(Work("convert", 300 * MIB, 32768))
    assert large["windows"] == 3 * module.REMOTE_WINDOW_BYTES
    largest = estimate(Work("convert", 100 * GIB, 32768), Coefficients())
    in_one_pass = module.PASSED_ROWS_BYTES + 2 * module.FIRST_SOURCE_BYTES
    windows = 1.5 * 3 * module.HELD_WINDOW_BYTES
    assert largest.terms["source"] + largest.terms["windows"] >= in_one_pass + windows
    assert largest.total_bytes < 425 * MIB


def test_a_downsampled_shard_is_flat() -> None:
    """However many chunks: 400 MiB hold it; labels and threads show."""
    full = estimate(Work("downsample", 8 * GIB, 32768), Coefficients())
    assert full.total_bytes < 400 * MIB
    work = Work("downsample", 48 * GIB, 32768, labels_per_chunk=40_000)
    dense = estimate(work, Coefficients())
    assert full.total_bytes < dense.total_bytes < 400 * MIB
    more = estimate(Work("downsample", 8 * GIB, 32768, threads=4), Coefficients())
    assert more.terms["cells"] == pytest.approx(4 * full.terms["cells"])


def test_the_fallback_holds_chunks_not_shards() -> None:
    """TensorStore only encodes: its term grows with the chunk, not with their number."""
    work = Work("convert", GIB, 1024, CodePath.TENSORSTORE)
    one, four = estimate(work), estimate(replace(work, chunks=4096))
    assert four.terms["tensorstore"] == one.terms["tensorstore"]
    large = estimate(replace(work, chunk_voxels=512**3))
    assert large.terms["tensorstore"] > 3 * 512**3 * 8


def test_the_smallest_tier_that_the_watchdog_allows() -> None:
    """90 % of a tier's limit, not all of it."""
    assert choose(Estimate({"a": 400 * MIB}), TIERS[::-1]).name == "512mi"
    assert choose(Estimate({"a": 461 * MIB}), TIERS).name == "2gi"
    assert choose(Estimate({"a": int(3.6 * GIB)}), TIERS).name == "4gi"


def test_what_does_not_fit_is_refused_with_both_numbers() -> None:
    """Never the largest tier for lack of a better one."""
    with pytest.raises(DoesNotFit, match=r"needs about 5\.00 GiB.*4gi.*3\.60 GiB") as caught:
        choose(Estimate({"a": 2 * GIB, "b": 3 * GIB}), TIERS)
    assert caught.value.needed_bytes == 5 * GIB
    assert caught.value.largest_bytes == 4 * GIB


def test_coefficients_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MEMORY_COEFFICIENTS replaces the built-in ones everywhere."""
    path = tmp_path / "c.json"
    path.write_bytes(Coefficients({"base": 3.0}).dump({"runs": ["r"]}))
    assert load(str(path))["base"] == 3.0
    assert load(str(path))["cells"] == DEFAULTS["cells"]
    coefficients_module._load_once.cache_clear()
    monkeypatch.setenv("MEMORY_COEFFICIENTS", str(path))
    work = Work("downsample", GIB, 4096)
    assert estimate(work).terms["base"] == 3 * module.BASE_BYTES
    monkeypatch.delenv("MEMORY_COEFFICIENTS")
    assert estimate(work).terms["base"] == module.BASE_BYTES


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema": 1}',
        '{"schema": 1, "coefficients": {"base": "x"}}',
        '{"schema": 2, "coefficients": {}}',
        '{"schema": 1, "coefficients": {"bass": 1}}',
        '{"schema": 1, "coefficients": {"base": -1}}',
        '{"schema": 1, "coefficients": {"base": NaN}}',
    ],
)
def test_a_file_that_holds_no_coefficients_is_refused(tmp_path: Path, text: str) -> None:
    """One line, exit code 2."""
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(UsageError):
        load(str(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """With its path."""
    with pytest.raises(UsageError, match=r"none\.json: no such file"):
        load(str(tmp_path / "none.json"))


def test_the_dump_is_complete_json() -> None:
    """Every term, and where the values come from."""
    document = json.loads(PLAIN.dump({"runs": ["a"], "shards": 3}))
    assert document["coefficients"] == dict.fromkeys(DEFAULTS, 1.0)
    assert document["runs"] == ["a"]
