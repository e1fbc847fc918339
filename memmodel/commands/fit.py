"""`memmodel fit`: coefficients fitted to the receipts of runs."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from memmodel import fit as fitting
from memmodel import output
from memmodel.coefficients import Coefficients, load
from memmodel.commands import options
from memmodel.documents import FitDocument
from memmodel.plot import plot_fit
from memmodel.receipt_samples import read_samples
from runtime import cli, common_options, settings
from runtime.storage.files import translate_write_errors

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
    coefficients: options.CoefficientsOption = None,
    as_json: common_options.JsonOption = False,
) -> None:
    """Fit coefficients to the measured peaks of finished shards; write them for enqueue to use.

    Example: python -m memmodel fit --dest out --plot fit.png
    """
    names: list[str | None] = [*run] if run else [None]
    runs = [options.find(one, state, dest) for one in names]
    samples = [sample for one in runs for sample in read_samples(one)]
    before = Coefficients() if coefficients is None else load(coefficients)
    found = fitting.fit(samples, before)
    with translate_write_errors(out):
        out.write_bytes(found.coefficients.dump(found.about([one.uri for one in runs])))
    if plot is not None:
        plot_fit(found, before, plot)
    if as_json:
        facts = {
            "out": str(out),
            "coefficients": dict(found.coefficients.values),
            "before": [asdict(one) for one in found.before],
            "after": [asdict(one) for one in found.after],
        }
        cli.print_document(FitDocument.model_validate(facts))
        return
    output.print_residuals(found)
    cli.print_line(f"wrote {out}; use it with {settings.MEMORY_COEFFICIENTS}={out}")
