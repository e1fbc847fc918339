"""Coefficients from receipts, label summaries, and the commands that show them."""

import json
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from braid.precomputed.volume_spec import CodePath
from delivery.ledger.run import Run
from memmodel.coefficients import DEFAULTS, Coefficients, load
from memmodel.estimate import Work, estimate
from memmodel.fit import MARGIN, fit, residuals
from memmodel.labels import summarise
from memmodel.receipt_samples import ReceiptSample, read_samples
from memmodel.throughput import START_S, estimated_seconds
from memmodel.tiers import GIB, MIB
from runtime.errors import UsageError
from tests.support.commands import CommandResult, run_in_process
from tests.support.three_shard_run import three_shard_run, write_receipt

ROOT = Path(__file__).resolve().parents[3]
PNG = b"\x89PNG"


def works(count: int) -> list[Work]:
    """Shards of all sizes."""
    rng = np.random.default_rng(4)
    return [
        Work(
            "convert" if i % 2 else "downsample",
            int(2 ** rng.uniform(14, 31)),
            int(2 ** rng.uniform(0, 15)),
            remote=bool(rng.integers(0, 2)),
            threads=int(rng.integers(1, 4)),
        )
        for i in range(count)
    ]


def samples(truth: Coefficients, count: int = 60, noise: float = 0.0) -> list[ReceiptSample]:
    """Shards whose peaks follow the truth, more or less."""
    rng = np.random.default_rng(5)
    return [
        ReceiptSample(
            key=f"s0/{i}",
            tier="2gi" if i % 3 else "4gi",
            work=work,
            peak_bytes=int(estimate(work, truth).total_bytes * (1 + noise * rng.normal())),
            estimated_bytes=None,
        )
        for i, work in enumerate(works(count))
    ]


def test_the_truth_is_found() -> None:
    """From peaks that follow some coefficients, these; but for the margin."""
    truth = Coefficients({"base": 0.8, "source": 1.6, "blocks": 3.0, "cells": 3.0})
    found = fit(samples(truth, count=200)).coefficients
    for name in ("base", "source", "blocks", "cells"):
        assert found[name] / MARGIN == pytest.approx(truth[name], rel=0.15)


def test_no_sample_takes_more_than_its_fitted_estimate() -> None:
    """Safe first: with noise, the worst sample still fits, with the margin."""
    noisy = samples(Coefficients({"cells": 4.0, "source": 2.0}), noise=0.1)
    found = fit(noisy)
    assert min(row.least for row in found.before) < 1
    assert min(row.least for row in found.after) >= 1
    assert min(row.least for row in found.after) < 1.2
    assert sum(row.shards for row in found.after) == len(noisy)


def test_one_sample_is_enough() -> None:
    """Terms that one shard does not distinguish stay near what they were."""
    [one] = samples(Coefficients({"base": 1.5}), count=1)
    found = fit([one])
    [row] = residuals([one], found.coefficients)
    assert 1 <= row.least < 1.2


def test_small_shards_say_nothing_about_large_ones() -> None:
    """A term that hardly shows keeps its coefficient, though zero would fit a little better."""
    work = Work("downsample", 100_000, 8)
    small = [ReceiptSample("s0/0", "2gi", work, 90 * MIB, None)] * 50
    found = fit(small).coefficients
    assert found["cells"] == DEFAULTS["cells"]
    assert found["base"] < DEFAULTS["base"]
    large = Work("downsample", GIB, 32768)
    before, after = estimate(large, Coefficients()).terms, estimate(large, found).terms
    assert all(after[name] == before[name] for name in ("windows", "cells", "index"))


def test_fitting_again_raises_nothing() -> None:
    """A margin on a margin would grow from fit to fit."""
    noisy = samples(Coefficients({"source": 1.5}), count=100, noise=0.05)
    once = fit(noisy).coefficients
    again = fit(noisy, once).coefficients
    for sample in noisy:
        before, after = (estimate(sample.work, c).total_bytes for c in (once, again))
        assert after == pytest.approx(before, rel=0.1)
    assert max(row.mean for row in residuals(noisy, again)) < 1.3


def test_nothing_to_fit_is_said() -> None:
    """A run that has not begun has no peaks."""
    with pytest.raises(UsageError, match="no receipt"):
        fit([])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Two converted shards and the one made from both."""
    made = three_shard_run(tmp_path)
    for key, peak, labels in (("s0/0", 150, 40), ("s0/1", 170, 400)):
        write_receipt(made, key, peak_bytes=peak * MIB, labels=labels, chunks=8, bytes_out=9000)
    done = {"kind": "downsample", "threads": 2, "route": "palette", "chunks": 8}
    write_receipt(made, "s1/0", peak_bytes=160 * MIB, **done)
    return made


def test_samples_know_the_work(run: Run) -> None:
    """Kind, chunks of the box, threads, labels of the inputs."""
    found = {sample.key: sample for sample in read_samples(run)}
    assert found["s0/1"].peak_bytes == 170 * MIB
    assert found["s0/1"].work.kind == "convert"
    last = found["s1/0"].work
    assert (last.kind, last.chunks, last.threads) == ("downsample", 8, 2)
    assert last.labels_per_chunk == pytest.approx(440 / 16)


def test_labels_below_a_scale(run: Run) -> None:
    """Means by shard, the densest first, and the tier that the target asks for."""
    found = summarise(run, 1)
    assert (found.shards, found.known, found.inputs, found.chunks) == (1, 1, 2, 16)
    assert found.densest == [("s0/1", 50.0), ("s0/0", 5.0)]
    assert found.expected == pytest.approx(8 * 27.5)
    assert found.tiers == {"512mi": 1}
    with pytest.raises(UsageError, match="does not downsample a scale 2"):
        summarise(run, 2)


def command(*arguments: str) -> CommandResult:
    """`python -m memmodel`."""
    return run_in_process("memmodel", *arguments, folder=Path.cwd())


def test_a_picture_needs_an_extra(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint names one that exists."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    plot = ("--plot", str(tmp_path / "c.png"))
    done = command("fit", "--run", run.uri, "--out", str(tmp_path / "c.json"), *plot)
    assert done.returncode == 2
    extra = re.search(r"extra `(\w+)`", done.stderr)
    assert extra
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert any("matplotlib" in one for one in extras["optional-dependencies"][extra[1]])


def test_fit_as_a_command(run: Run, tmp_path: Path) -> None:
    """Residuals per tier, a picture, and a file that estimates can use."""
    out, plot = tmp_path / "c.json", tmp_path / "c.png"
    done = command("fit", "--run", run.uri, "--out", str(out), "--plot", str(plot))
    assert done.returncode == 0, done.stderr
    assert "before, 512mi" in done.stdout
    assert "fitted, 512mi" in done.stdout
    assert plot.read_bytes().startswith(PNG)
    assert json.loads(out.read_text())["runs"] == [run.uri]
    found = load(str(out))
    for sample in read_samples(run):
        assert estimate(sample.work, found).total_bytes >= sample.peak_bytes


def test_labels_as_a_command(run: Run) -> None:
    """For people and as JSON; the newest run of a state root by default."""
    done = command("labels", "--state", run.state_url, "--target-scale", "1")
    assert done.returncode == 0, done.stderr
    assert "s0/1 (50.0)" in done.stdout
    read = command("labels", "--run", run.uri, "--target-scale", "1", "--json")
    assert json.loads(read.stdout)["expected"] == pytest.approx(220)
    missing = command("labels", "--run", run.uri, "--target-scale", "5")
    assert missing.returncode == 2
    assert missing.stderr.startswith("error: ")


def test_estimate_as_a_command(tmp_path: Path, run: Run) -> None:
    """Terms of a shard made from files; exit 1 and the numbers if no tier holds it."""
    spec, source = tmp_path / "spec.json", tmp_path / "0_0_0.arrow"
    spec.write_text(json.dumps(run.info.volume))
    source.write_bytes(bytes(2 << 20))
    done = command("estimate", str(source), "--spec", str(spec))
    assert done.returncode == 0, done.stderr
    assert "base" in done.stdout
    assert "tier 2gi" in done.stdout
    tight = command("estimate", str(source), "--spec", str(spec), "--tiers", "0.125", "--json")
    assert tight.returncode == 1
    answer = json.loads(tight.stdout)
    assert answer["tier"] is None
    assert "128mi" in answer["why"]
    assert answer["total_bytes"] == sum(answer["terms"].values())
    mixed = command("estimate", "a.arrow", "b.shard", "--spec", str(spec))
    assert mixed.returncode == 2


def test_seconds_follow_what_is_read() -> None:
    """Bytes bound the chunks, and so does the box; slower paths take longer."""
    full = estimated_seconds(Work("convert", 135 * MIB, 32768))
    assert 5 < full < 60
    assert estimated_seconds(Work("convert", 10 * GIB, 1)) < START_S + 1
    assert estimated_seconds(Work("convert", 135 * MIB, 32768, CodePath.TENSORSTORE)) > 5 * full
