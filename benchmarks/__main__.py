"""`python -m benchmarks`: measure, print tables, and with --write update the documentation."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.bench import COMPARISONS, Bench
from benchmarks.child import ROOT
from benchmarks.machine import machine, today, versions
from benchmarks.network import CASES, named
from benchmarks.pages import write_pages, write_parts
from benchmarks.plot import write_plot
from benchmarks.results import Results
from benchmarks.tables import show_all

NETWORK = "network"
_RUNS = 5


def main(
    only: Annotated[
        str, typer.Option(help=f"comparisons, comma-separated: {', '.join(COMPARISONS)}")
    ] = ",".join(COMPARISONS),
    quick: Annotated[bool, typer.Option("--quick", help="small data, one run: a minute")] = False,
    large: Annotated[
        bool, typer.Option("--large", help="also 1 GB of Arrow, and others at 4,096 chunks")
    ] = False,
    cases: Annotated[
        str | None, typer.Option(help="of the network, as convert-2000,downsample-6000")
    ] = None,
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
    if write and set(chosen) != set(COMPARISONS) and chosen != [NETWORK]:
        raise typer.BadParameter(
            f"--write wants all comparisons, measured in one run, or --only {NETWORK}"
        )
    if write and cases is not None:
        raise typer.BadParameter("--write wants all cases of the network")
    if cases is not None:
        _check_cases(cases)
    runs = 1 if quick else _RUNS
    settings = {"only": chosen, "quick": quick, "large": large, "runs": runs}
    results = Results(today(), machine(), versions(), settings)
    with tempfile.TemporaryDirectory(prefix="shardlift-bench-", dir=work) as folder:
        bench = Bench(Path(folder), shared, results, runs, quick, large, cases)
        for name in chosen:
            COMPARISONS[name](bench)
    show_all(results)
    if json_file:
        results.write(json_file)
    if write and chosen == [NETWORK]:
        write_network(results)
    elif write:
        write_documents(results)


def _check_cases(names: str) -> None:
    try:
        named(names)
    except KeyError as error:
        known = ", ".join(f"{case.kind}-{case.chunks}" for case in CASES)
        raise typer.BadParameter(f"no case {error}; there are {known}") from None


def write_documents(results: Results) -> None:
    """Update the committed results, pages and plot."""
    results.write(ROOT / "benchmarks" / "results.json")
    write_pages(results, ROOT / "docs" / "performance.md", ROOT / "README.md")
    write_plot(results, ROOT / "docs" / "images" / "memory.svg")


def write_network(results: Results) -> None:
    """Update what tells of workers over a network alone: it is compared with nothing else."""
    kept = Results.read(ROOT / "benchmarks" / "results.json")
    others = [one for one in kept.measured if one.table != NETWORK]
    replace(kept, measured=[*others, *results.measured]).write(ROOT / "benchmarks" / "results.json")
    write_parts(results, ROOT / "docs" / "performance.md", ("network", "requests"))


if __name__ == "__main__":
    typer.run(main)
