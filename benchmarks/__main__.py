"""`python -m benchmarks`: measure, print tables, and with --write update the documentation."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.bench import COMPARISONS, Bench
from benchmarks.child import ROOT
from benchmarks.machine import machine, today, versions
from benchmarks.pages import write_pages
from benchmarks.plot import write_plot
from benchmarks.results import Results
from benchmarks.tables import show_all

_RUNS = 5


def main(
    only: Annotated[
        str, typer.Option(help=f"comparisons, comma-separated: {', '.join(COMPARISONS)}")
    ] = ",".join(COMPARISONS),
    quick: Annotated[bool, typer.Option("--quick", help="small data, one run: a minute")] = False,
    large: Annotated[
        bool, typer.Option("--large", help="also 1 GB of Arrow, and others at 4,096 chunks")
    ] = False,
    write: Annotated[
        bool, typer.Option("--write", help="update docs, README, plot and results.json")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="keep raw results in this file")
    ] = None,
    shared: Annotated[
        Path, typer.Option(help="folder with the real shard (data/mcns-edge) and specs")
    ] = ROOT.parent / "shared",
    work: Annotated[
        Path | None, typer.Option(help="folder for temporary data (3 GB; removed at the end)")
    ] = None,
) -> None:
    """Measure shardlift, TensorStore and igneous in one run, on this machine."""
    chosen = only.split(",")
    if unknown := set(chosen) - set(COMPARISONS):
        raise typer.BadParameter(f"no such comparison: {', '.join(sorted(unknown))}")
    if write and set(chosen) != set(COMPARISONS):
        raise typer.BadParameter("--write wants all comparisons, measured in one run")
    runs = 1 if quick else _RUNS
    settings = {"only": chosen, "quick": quick, "large": large, "runs": runs}
    results = Results(today(), machine(), versions(), settings)
    with tempfile.TemporaryDirectory(prefix="shardlift-bench-", dir=work) as folder:
        bench = Bench(Path(folder), shared, results, runs, quick, large)
        for name in chosen:
            COMPARISONS[name](bench)
    show_all(results)
    if json_file:
        results.write(json_file)
    if write:
        write_documents(results)


def write_documents(results: Results) -> None:
    """Update the committed results, pages and plot."""
    results.write(ROOT / "benchmarks" / "results.json")
    write_pages(results, ROOT / "docs" / "performance.md", ROOT / "README.md")
    write_plot(results, ROOT / "docs" / "images" / "memory.svg")


if __name__ == "__main__":
    typer.run(main)
