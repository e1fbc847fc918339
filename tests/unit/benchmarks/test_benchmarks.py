"""The benchmark's own parts: pages, tables, and a small run. No figure is asserted."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import bench, tables
from benchmarks.exports import made_up
from benchmarks.pages import fill
from benchmarks.results import Result, Results
from tests.support.network import Network, Way

ROOT = Path(__file__).resolve().parents[3]


def some_results() -> Results:
    """One of everything, with long figures."""
    results = Results(
        "2026-01-01", {"CPU": "x" * 70}, {"Python": "3.11"}, {"runs": 3, "quick": False}
    )
    facts = {"arrow_bytes": 1.3e9, "output_bytes": 2.5e9, "reads": 4096.0}
    sizes = {"labels": 64.0, "plain_bytes": 54056.0, "gzip_bytes": 9592.0, "zlib_bytes": 9940.0}
    for on in (bench.REAL, bench.USUAL, bench.DENSE):
        results.measured.append(Result("kernels", on, "transcode", 258, [0.01], None, sizes))
        results.measured.append(Result("votes", on, "blocks", 67.6, [0.01], None))
        level = Result("levels", on, "gzip 12", 64, [0.01], None, {"bytes": 54056.0})
        results.measured.append(level)
        for who in (bench.OURS, bench.OURS_TWO, bench.IGNEOUS_BYTES, bench.TENSORSTORE_WHOLE):
            for table in ("conversion", "downsample"):
                found = Result(table, on, who, 32768, [3.0, 1.0, 2.0], 9 << 30, facts)
                results.measured.append(found)
    asked = {"share": 0.97, "ledger read": 12.0, "source read": 4096.0, "upload part": 32.5}
    for kind, size in itertools.product(("convert", "downsample"), (2000, 6000, 32768)):
        for who in ("shardlift, 150 ms", "TensorStore, reading, 150 ms"):
            on = f"{kind}, {size}"
            results.measured.append(Result("network", on, who, 9e6, [3e3], 9 << 30, asked))
    for who in (bench.OURS, bench.TENSORSTORE, bench.TENSORSTORE_WHOLE):
        results.measured.append(Result("memory", "32768", who, 32768, [2.0], 9 << 30, facts))
    return results


def test_tables_fit_a_terminal() -> None:
    """No line is wider than 80 columns, and no cell is cut off."""
    for table in tables.all_tables(some_results()):
        console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
        table.show(console)
        text = console.export_text()
        assert max(map(len, text.splitlines())) <= 80
        assert "…" not in text


def test_requests_that_carry_no_data_are_counted_apart() -> None:
    """Twelve reads of the ledger; ranges and parts of an upload are the data."""
    table = tables.network(some_results())
    assert table.rows[1] == ("shardlift, 150 ms", "97%", "3,000", "12.0", "9,216")


def test_a_network_lets_time_pass() -> None:
    """Bytes pass in pieces, all of them, and those of two connections one after another."""
    network, one, other = Network(0, 1e9, 1e9), Way(), Way()
    assert sum(network.inward(1 << 20, one)) == 1 << 20
    assert sum(network.inward(1 << 20, other)) == 1 << 20
    assert list(network.outward(0, one)) == []


def test_a_rate_is_of_the_median_run() -> None:
    """Neither the best nor the worst run counts."""
    assert Result("t", "on", "who", 100, [5.0, 1.0, 2.0], None).rate == 50


def test_results_survive_their_file(tmp_path: Path) -> None:
    """What is read back is what was written."""
    results = some_results()
    results.write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == results


def test_a_page_is_filled_between_its_markers(tmp_path: Path) -> None:
    """Generated parts are replaced, again and again; everything else stays."""
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- bench:one -->\nb\n<!-- bench:two -->\nold\n<!-- /bench -->\nc\n")
    for text in ("first", "second"):
        fill(page, {"one": text, "two": text.upper(), "absent": "never"})
    assert page.read_text() == (
        "a\n<!-- bench:one -->\nsecond\n<!-- /bench -->\nb\n"
        "<!-- bench:two -->\nSECOND\n<!-- /bench -->\nc\n"
    )


@pytest.mark.parametrize("page", ["README.md", "docs/performance.md"])
def test_pages_have_their_markers(page: str) -> None:
    """Every table of a run has a place in the documentation."""
    text = (ROOT / page).read_text()
    names = ["readme"] if page == "README.md" else ["machine", *tables.MAKERS]
    assert [name for name in names if f"<!-- bench:{name} -->" not in text] == []


def test_made_up_exports_are_one_shard(tmp_path: Path) -> None:
    """All rows belong to the one output shard that is measured."""
    export = made_up(tmp_path, "tiny", 64, pool=2)
    assert export.chunks == 64
    assert export.scale_spec().sharding.shard_bits == 0
    assert export.scale_spec().grid == (4, 4, 4)
    assert export.arrow.stat().st_size == export.arrow_bytes


@pytest.mark.slow
def test_a_quick_run(tmp_path: Path) -> None:
    """The command measures every step, prints tables and keeps the raw figures."""
    raw = tmp_path / "raw.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "kernels,downsample"]
    command += ["--json", str(raw), "--shared", str(tmp_path), "--work", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Majority vote" in done.stdout
    measured = json.loads(raw.read_text())["measured"]
    ways = {(m["table"], m["who"]) for m in measured}
    assert {("kernels", "transcode"), ("votes", "blocks"), ("downsample", bench.OURS)} <= ways
    assert all(m["amount"] > 0 and min(m["seconds"]) > 0 for m in measured)
