"""`memmodel fit`: coefficients fitted to the receipts of runs."""

from pathlib import Path
from typing import Annotated

import typer

from memmodel.commands.options import CoefficientsOption
from runtime import common_options

RunsOption = Annotated[
    list[str] | None,
    typer.Option("--run", metavar="ID|URI", help="A run; may be given often. Default: the newest."),
]
OutOption = Annotated[
    Path, typer.Option("--out", metavar="FILE", help="Where to write the coefficients.")
]
PlotOption = Annotated[
    Path | None, typer.Option("--plot", metavar="PNG", help="Draw estimates against the peaks.")
]


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command()(fit)


def fit(
    *,
    run: RunsOption = None,
    state: common_options.StateOption = None,
    dest: common_options.OptionalDestOption = None,
    out: OutOption = Path("memory-coefficients.json"),
    plot: PlotOption = None,
    coefficients: CoefficientsOption = None,
    as_json: common_options.JsonOption = False,
) -> None:
    """Fit coefficients to the measured peaks of finished shards; write them for enqueue to use.

    Example: python -m memmodel fit --dest out --plot fit.png
    """
    from memmodel.actions.fit import fit_coefficients
    from memmodel.run_lookup import find

    names: list[str | None] = [*run] if run else [None]
    runs = [find(one, state, dest) for one in names]
    fit_coefficients(runs, out, plot, coefficients, as_json=as_json)
