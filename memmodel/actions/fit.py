"""Coefficients fitted to the receipts of runs, and written."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from delivery.ledger.run import Run
from memmodel import fit as fitting
from memmodel import output
from memmodel.coefficients import Coefficients, load
from memmodel.documents import FitDocument
from memmodel.plot import plot_fit
from memmodel.receipt_samples import read_samples
from runtime import cli, settings
from runtime.storage.files import translate_write_errors


def fit_coefficients(
    runs: Sequence[Run], out: Path, plot: Path | None, coefficients: str | None, *, as_json: bool
) -> None:
    """Write coefficients that are fitted to the measured peaks of finished shards.

    Args:
        runs: where the shards were made.
        out: file of the coefficients.
        plot: picture of estimates and peaks; None: none.
        coefficients: file of those before; None: the built-in ones.
        as_json: print a JSON document.
    """
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
