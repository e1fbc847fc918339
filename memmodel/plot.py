"""Plot of a fit: estimated against measured memory, one colour per tier."""

from pathlib import Path
from typing import Any

from memmodel.coefficients import Coefficients
from memmodel.estimate import estimate
from memmodel.fit import FitResult
from memmodel.tiers import MIB
from runtime.errors import UsageError


def plot_fit(fit: FitResult, before: Coefficients, path: Path) -> None:
    """Write a PNG with the estimates before and after the fit.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 (of the plot extra)
    except ImportError:
        raise UsageError(
            "--plot needs matplotlib",
            hint="python -m pip install matplotlib; shardlift's extra `plot` brings it, too",
        ) from None
    figure = Figure(figsize=(10, 5), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    _draw(left, "before", fit, before)
    _draw(right, "fitted", fit, fit.coefficients)
    figure.savefig(path, dpi=120)


def _draw(axes: Any, title: str, fit: FitResult, coefficients: Coefficients) -> None:  # noqa: ANN401 (matplotlib's)
    for tier in sorted({sample.tier for sample in fit.samples}):
        mine = [sample for sample in fit.samples if sample.tier == tier]
        measured = [sample.peak_bytes / MIB for sample in mine]
        estimated = [estimate(sample.work, coefficients).total_bytes / MIB for sample in mine]
        axes.scatter(measured, estimated, s=12, label=tier)
    edge = max(sample.peak_bytes for sample in fit.samples) / MIB
    axes.plot([0, edge], [0, edge], color="grey", linewidth=1, label="exact")
    axes.plot([0, edge], [64, 1.5 * edge + 64], color="grey", linestyle=":", label="1.5 x + 64")
    axes.set(title=title, xlabel="measured peak, MiB", ylabel="estimate, MiB")
    axes.legend()
