"""A null model of the variance peak: each run has a boundary of its own, and nothing else varies.

If the error of a run is the mean curve at λ minus the run's shift δ, then near each λ the variance over seeds is
the curve's slope squared times the variance of δ, plus a floor: var(λ) = a + b · slope(λ)². A peak of the variance
at the boundary then says no more than that the mean curve is steepest there. Slopes are central differences of the
means (one-sided at the ends), a and b least squares with a, b ≥ 0, λ with fewer than three runs left out.

`slope_correlation` is Pearson's r of variance and slope² over λ; `explained` the share of
the variances' own spread that the model takes; `seed_shift_sd` = √b, the spread of δ in λ; `peak_ratio` the largest
observed variance over the model's at that λ.

Few runs scatter about their model: r falls short of 1 and the ratio exceeds 1 where nothing is left to explain. So
`model_correlation` and `model_peak_ratio` give the median of 2,000 samples of the fitted model, of as many runs at
each λ, normal and independent, and between which values 95 % of them lie. An r and a ratio within are no sign of
anything else.

Sources: FIGURES.md, Figure 1b and 5b; config/claims.yaml, conclusion about the variance maximum.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from dualgrad.estimators import bootstrap
from dualgrad.estimators.correlation import pearson
from dualgrad.statistics.curves import CURVE_COLUMNS, CURVE_KEYS, Curve, curves, joined_curves, key_words
from dualgrad.statistics.layout import Quantity, Sheet
from dualgrad.tables.edition import Tables
from dualgrad.tables.schema import FLOAT64, Column

LEAST = 3
# Variances of equal errors differ by less; one example in ten thousand, in one run of fifty, makes 2e-10.
ROUNDING = 1e-20

KEYS = (
    *CURVE_COLUMNS,
    Column("lam", FLOAT64, "λ of an observed and a modelled variance"),
)

QUANTITIES = {
    "variance": Quantity("fraction^2", "observed population variance at λ"),
    "modelled_variance": Quantity("fraction^2", "a + b · slope² at λ"),
    "slope_correlation": Quantity("1", "Pearson's r of variance and squared slope over λ"),
    "explained": Quantity("1", "1 - residual over total sum of squares of the variances over λ"),
    "seed_shift_sd": Quantity("lambda", "√b: standard deviation of the seeds' shifts"),
    "peak_ratio": Quantity("1", "largest observed variance over the modelled one there"),
    "model_correlation": Quantity("1", "r in samples of the model: their median, and where 95 % of them lie"),
    "model_peak_ratio": Quantity("1", "the ratio in samples of the model: their median, and where 95 % lie"),
}
RANGE = "range of the model"


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
    if levels < 4 or np.ptp(variance) <= ROUNDING:
        why = "fewer than four λ with three runs" if levels < 4 else "the variance is the same at every λ"
        for quantity in list(QUANTITIES)[2:]:
            sheet.add(quantity, None, n, note=why, **keys)
        return
    lam, sizes = curve.lam[kept], curve.sizes[kept]
    square = np.gradient(curve.means[kept], lam) ** 2
    floor, gain = fit(square, variance)
    modelled = floor + gain * square
    for i in range(levels):
        at_level = {**keys, "lam": lam[i], "runs": int(sizes[i])}
        sheet.add("variance", variance[i], units[i], **at_level)
        sheet.add("modelled_variance", modelled[i], units[i], **at_level)
    note = f"over {levels} λ"
    sheet.add("slope_correlation", pearson(square, variance), n, note=note, **keys)
    left = float(((variance - modelled) ** 2).sum() / ((variance - variance.mean()) ** 2).sum())
    sheet.add("explained", 1.0 - left, n, note=note, **keys)
    sheet.add("seed_shift_sd", np.sqrt(gain), n, note=note, **keys)
    at = int(variance.argmax())
    ratio = variance[at] / modelled[at] if modelled[at] > 0 else None
    sheet.add("peak_ratio", ratio, n, note=note if ratio else "the model has no variance there", **keys)
    for quantity, drawn in samples(lam, curve.means[kept], modelled, sizes).items():
        low, middle, high = np.quantile(drawn, [0.025, 0.5, 0.975], method="inverted_cdf")
        sheet.add(quantity, middle, n, bounds=(low, high, RANGE), note=note, **keys)


def samples(
    lam: np.ndarray, means: np.ndarray, modelled: np.ndarray, sizes: np.ndarray
) -> dict[str, np.ndarray]:
    """Return r and the peak's ratio in samples of the model, (bootstrap.RESAMPLES,) each; all arguments are (λ,)."""
    rng = bootstrap.generator("variance null", *sizes)
    shape, freedom = (bootstrap.RESAMPLES, len(lam)), sizes - 1
    # Mean and variance of a normal sample are independent.
    drawn = means + np.sqrt(modelled / freedom) * rng.standard_normal(shape)
    variance = modelled * rng.chisquare(freedom, shape) / freedom
    square = np.gradient(drawn, lam, axis=1) ** 2
    found = np.stack(fit(square, variance), axis=-1)
    at = np.arange(len(variance)), variance.argmax(axis=1)
    apart, off = (one - one.mean(axis=1, keepdims=True) for one in (square, variance))
    return {
        "model_correlation": (apart * off).sum(axis=1)
        / np.sqrt((apart**2).sum(axis=1) * (off**2).sum(axis=1)),
        "model_peak_ratio": variance[at] / (found[:, 0] + found[:, 1] * square[at]),
    }


def fit(square: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a, b ≥ 0 of variance = a + b · square by least squares, (…,) each, of (…, λ)."""
    apart = square - square.mean(axis=-1, keepdims=True)
    spread = (apart**2).sum(axis=-1)
    gain = np.maximum((apart * variance).sum(axis=-1) / np.where(spread > 0, spread, 1), 0)
    floor = variance.mean(axis=-1) - gain * square.mean(axis=-1)
    through = (square * variance).sum(axis=-1) / np.maximum((square**2).sum(axis=-1), 1e-300)
    # Only one of the two can be below 0, and then the best is on that edge.
    return np.maximum(floor, 0), np.where(floor < 0, through, gain)
