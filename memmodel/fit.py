"""Fit of coefficients to receipts: least squares on measured peaks, then raised above all of them.

Every term's size is known, so a peak is a weighted sum of sizes, and the fit finds the weights. Few
shards do not distinguish all terms, so each weight is drawn to its present value, and a term with a
small share in every sample keeps it: small shards say nothing about large ones. The other weights
are raised until no shard of the samples took more than its estimate.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from memmodel.coefficients import DEFAULTS, Coefficients
from memmodel.estimate import estimate, sizes
from memmodel.receipt_samples import ReceiptSample
from runtime.errors import UsageError

MARGIN: Final = 1.05  # above the worst sample: the next shard is another one
PULL: Final = 0.16  # of a present value: it is off by a quarter as easily as a sample by a tenth
LEAST_SHARE: Final = 0.05  # of some sample's peak, for a term to be fitted

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Residuals:
    """Estimate / measured over the shards of one tier: below 1 is too little."""

    tier: str
    shards: int
    peak_bytes: int
    least: float
    mean: float
    most: float


@dataclass(frozen=True)
class FitResult:
    """Result of a fit.

    Attributes:
        before: residuals of the coefficients that were drawn to, per tier.
        after: residuals of the fitted ones.
    """

    coefficients: Coefficients
    samples: Sequence[ReceiptSample]
    before: list[Residuals]
    after: list[Residuals]

    def about(self, runs: Sequence[str]) -> dict[str, Any]:
        """Origin of the coefficients, for their file."""
        return {"runs": list(runs), "shards": len(self.samples), "margin": MARGIN}


def fit(samples: Sequence[ReceiptSample], start: Coefficients | None = None) -> FitResult:
    """Fit coefficients to measured peaks.

    Args:
        samples: at least one.
        start: what coefficients are drawn to; the defaults if None.

    Raises:
        UsageError: `samples` is empty.
    """
    if not samples:
        raise UsageError("no receipt of these runs has a measured peak", hint="finish a run first")
    prior = start or Coefficients()
    names = list(DEFAULTS)
    matrix = np.array([[sizes(s.work).get(name, 0.0) for name in names] for s in samples])
    peaks = np.array([s.peak_bytes for s in samples], np.float64)
    present = np.array([prior[name] for name in names])
    shares = matrix * present / peaks[:, None]
    fitted = (shares >= LEAST_SHARE).any(axis=0)
    kept = matrix[:, ~fitted] @ present[~fitted]
    weights = _solve(matrix[:, fitted], peaks, kept, present[fitted])
    weights *= max(1.0, float(((MARGIN * peaks - kept) / (matrix[:, fitted] @ weights)).max()))
    chosen_names = [name for name, chosen in zip(names, fitted.tolist(), strict=True) if chosen]
    found = Coefficients({**prior.values, **dict(zip(chosen_names, weights.tolist(), strict=True))})
    return FitResult(found, samples, residuals(samples, prior), residuals(samples, found))


def residuals(samples: Sequence[ReceiptSample], coefficients: Coefficients) -> list[Residuals]:
    """Residuals of estimates against measured peaks, tier by tier."""
    tiers: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for sample in samples:
        ratio = estimate(sample.work, coefficients).total_bytes / sample.peak_bytes
        tiers[sample.tier].append((ratio, sample.peak_bytes))
    return [_residuals(tier, found) for tier, found in sorted(tiers.items())]


def _residuals(tier: str, found: Sequence[tuple[float, int]]) -> Residuals:
    ratios = [ratio for ratio, _ in found]
    return Residuals(
        tier=tier,
        shards=len(found),
        peak_bytes=max(peak for _, peak in found),
        least=min(ratios),
        mean=sum(ratios) / len(ratios),
        most=max(ratios),
    )


def _solve(matrix: Matrix, peaks: Matrix, kept: Matrix, present: Matrix) -> Matrix:
    """Solve for weights >= 0 so that `matrix @ weights + kept` is nearest to the peaks, relatively.

    Each is drawn to its present value.
    """
    pull = np.diag(np.sqrt(PULL) / np.maximum(present, 0.1))
    rows = np.vstack([matrix / peaks[:, None], pull])
    target = np.concatenate([1 - kept / peaks, pull @ present])
    free = np.ones(len(present), bool)
    weights = np.zeros(len(present))
    while free.any():
        weights[:] = 0
        weights[free] = np.linalg.lstsq(rows[:, free], target, rcond=None)[0]
        if (weights >= 0).all():
            break
        free &= weights > 0
    return weights
