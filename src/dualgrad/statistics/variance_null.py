"""A null model of the variance peak: each seed has a boundary of its own, and nothing else varies.

If the error of a seed is the mean curve at λ minus the seed's shift δ, then near each λ the variance over seeds is
the curve's slope squared times the variance of δ, plus a floor: var(λ) = a + b · slope(λ)². A peak of the variance
at the boundary then says no more than that the mean curve is steepest there. Slopes are central differences of the
means (one-sided at the ends), a and b least squares with a, b ≥ 0, λ with fewer than three runs left out.

`slope_correlation` is Pearson's r of variance and slope² over λ, with Fisher's z interval; `explained` the share of
the variances' own spread that the model takes; `seed_shift_sd` = √b, the spread of δ in λ; `peak_ratio` the largest
observed variance over the model's at that λ (1: nothing is left to explain).

Sources: FIGURES.md, Figure 1b and 5b; config/claims.yaml, conclusion about the variance maximum.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from dualgrad.estimators import bootstrap
from dualgrad.estimators.correlation import pearson
from dualgrad.statistics.curves import CURVE_COLUMNS, CURVE_KEYS, Curve, curves, joined_curves, key_words
from dualgrad.statistics.layout import Quantity, Sheet
from dualgrad.tables.edition import Tables
from dualgrad.tables.schema import FLOAT64, Column

LEAST = 3

KEYS = (
    *CURVE_COLUMNS,
    Column("lam", FLOAT64, "λ of an observed and a modelled variance"),
)

QUANTITIES = {
    "variance": Quantity("fraction²", "observed population variance at λ"),
    "modelled_variance": Quantity("fraction²", "a + b · slope² at λ"),
    "slope_correlation": Quantity("1", "Pearson's r of variance and squared slope over λ"),
    "explained": Quantity("1", "1 - residual over total sum of squares of the variances over λ"),
    "seed_shift_sd": Quantity("lambda", "√b: standard deviation of the seeds' shifts"),
    "peak_ratio": Quantity("1", "largest observed variance over the modelled one there"),
}


def compute(tables: Tables) -> pd.DataFrame:
    """Return observed and modelled variances of all curves, and how well the model does."""
    sheet = Sheet(tables.edition, KEYS, QUANTITIES)
    for curve in (*curves(tables.runs()), *joined_curves(tables)):
        _add(sheet, curve)
    if not len(sheet):
        sheet.add("slope_correlation", None, 0, experiment="M2", note="no curves")
    return sheet.frame()


def _add(sheet: Sheet, curve: Curve) -> None:
    keys = {"experiment": curve.experiment, **key_words(curve.keys, CURVE_KEYS), "runs": curve.runs}
    kept = curve.sizes >= LEAST
    n, levels = curve.units, int(kept.sum())
    variance = curve.variances[kept]
    units = [len(np.unique(place)) for place, keep in zip(curve.places, kept, strict=True) if keep]
    if levels < 4 or np.ptp(variance) == 0:
        why = "fewer than four λ with three runs" if levels < 4 else "the variance is the same at every λ"
        for quantity in ("slope_correlation", "explained", "seed_shift_sd", "peak_ratio"):
            sheet.add(quantity, None, n, note=why, **keys)
        return
    lam = curve.lam[kept]
    square = np.gradient(curve.means[kept], lam) ** 2
    floor, gain = fit(square, variance)
    modelled = floor + gain * square
    for i in range(levels):
        at_level = {**keys, "lam": lam[i], "runs": int(curve.sizes[kept][i])}
        sheet.add("variance", variance[i], units[i], **at_level)
        sheet.add("modelled_variance", modelled[i], units[i], **at_level)
    r = pearson(square, variance)
    note = f"over {levels} λ"
    bounds = bootstrap.correlation_bounds(r, levels) if np.isfinite(r) else None
    sheet.add("slope_correlation", r, n, bounds=bounds, note=note, **keys)
    left = float(((variance - modelled) ** 2).sum() / ((variance - variance.mean()) ** 2).sum())
    sheet.add("explained", 1.0 - left, n, note=note, **keys)
    sheet.add("seed_shift_sd", np.sqrt(gain), n, note=note, **keys)
    at = int(variance.argmax())
    ratio = variance[at] / modelled[at] if modelled[at] > 0 else None
    sheet.add("peak_ratio", ratio, n, note=note if ratio else "the model has no variance there", **keys)


def fit(square: np.ndarray, variance: np.ndarray) -> tuple[float, float]:
    """Return a, b ≥ 0 of variance = a + b · square by least squares, (λ,) each."""
    scale = np.array([1.0, max(float(square.max()), 1e-300)])
    found, _ = nnls(np.column_stack([np.ones_like(square), square]) / scale, variance)
    a, b = found / scale
    return float(a), float(b)
