"""How the boundary moves with the learning rate (Q3), one noise rate at a time.

For each learning rate: where the mean final error crosses 0.20, and twice the curve's own minimum; the smallest
λ whose mean best error exceeds 0.20 (the published notebook's rule); the share of constant predictors at each
λ, exact. `effect` compares the highest with the lowest rate at each λ (difference of means, runs drawn on each
side). `interaction` is b3 of error = b0 + b1 λ + b2 log2 lr + b3 λ log2 lr over runs, with HC3 standard errors
(statsmodels).

Sources: FIGURES.md, Extended Data 6a; config/claims.yaml, conclusion 15; Q-R.md#Q3, Q-R.md#4.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from dualgrad.estimators import bootstrap
from dualgrad.estimators.curves import last_crossing
from dualgrad.estimators.interaction import interaction
from dualgrad.statistics.curves import Curve, curves
from dualgrad.statistics.layout import Quantity, Sheet
from dualgrad.tables.edition import Tables
from dualgrad.tables.schema import FLOAT64, Column

LEVEL = 0.20

KEYS = (
    Column("noise_rate", FLOAT64, "label-noise rate η", "fraction"),
    Column("lr", FLOAT64, "initial learning rate; null: over all rates"),
    Column("lam", FLOAT64, "λ of a share or an effect"),
    Column("error_level", FLOAT64, "error level of a crossing; null: twice the minimum", "fraction"),
)

QUANTITIES = {
    "crossing": Quantity("lambda", "λ where the mean error crosses the level"),
    "first_above": Quantity("lambda", "smallest λ whose mean best error exceeds 0.20"),
    "mean_error": Quantity("fraction", "mean final error"),
    "constant_share": Quantity("1", "share of runs that end as constant predictors"),
    "effect": Quantity("fraction", "mean error at the highest learning rate minus that at the lowest"),
    "crossing_shift": Quantity("lambda", "crossing at the highest learning rate minus that at the lowest"),
    "interaction": Quantity(
        "fraction per lambda", "b3, the change of the slope in λ per doubling of the rate"
    ),
}


def compute(tables: Tables) -> pd.DataFrame:
    """Return crossings, shares and effects by learning rate."""
    sheet = Sheet(tables.edition, KEYS, QUANTITIES)
    runs = tables.runs("Q3")
    if runs.empty:
        sheet.add("crossing", None, 0, experiment="Q3")
    for eta, rows in runs.groupby("noise_rate"):
        keys = {"experiment": "Q3", "noise_rate": eta}
        mine = sorted(curves(rows), key=lambda curve: curve.keys["lr"])
        for curve in mine:
            _rate(sheet, {**keys, "lr": curve.keys["lr"]}, curve, rows)
        whole = [curve for curve in mine if not curve.too_short]
        _effects(sheet, keys, whole)
        known = rows.dropna(subset=["test_error"])
        columns = [known[name].to_numpy(dtype=float) for name in ("lam", "lr", "test_error")]
        fit = interaction(*columns)
        if fit is None:
            sheet.add("interaction", None, len(known), note="too few λ, learning rates or runs", **keys)
        else:
            sheet.add("interaction", fit[0], len(known), bounds=fit[1], p_value=fit[2], **keys)
    return sheet.frame()


def _levels(rows: np.ndarray, level: float | None) -> np.ndarray:
    return 2 * rows.min(axis=1) if level is None else np.full(len(rows), level)


def _rate(sheet: Sheet, keys: dict, curve: Curve, runs: pd.DataFrame) -> None:
    n = int(curve.sizes.sum())
    if curve.too_short:
        sheet.add("crossing", None, n, note=curve.too_short, **keys)
        return
    for level in (LEVEL, None):
        value = last_crossing(curve.lam, curve.means[None], _levels(curve.means[None], level))[0]
        draws = last_crossing(curve.lam, curve.mean_draws, _levels(curve.mean_draws, level))
        bounds = bootstrap.percentile(draws, n=curve.least)
        note = bootstrap.open_note(bounds)
        if not np.isfinite(value):
            note = "no crossing: the mean error " + (
                "is above the level from the first λ on"
                if value < 0
                else "stays below the level up to the last λ"
            )
        sheet.add("crossing", value, n, bounds=bounds, note=note, error_level=level, **keys)
    best = runs[np.isclose(runs["lr"], keys["lr"])].groupby("lam")["best_error"].mean()
    above = best[best > LEVEL].index
    none = None if len(above) else "the mean best error exceeds 0.20 at no λ"
    sheet.add("first_above", above.min() if len(above) else None, n, note=none, error_level=LEVEL, **keys)
    for lam, group, constant in zip(curve.lam, curve.groups, curve.constant, strict=True):
        at = {**keys, "lam": lam}
        size = len(group)
        bounds = bootstrap.mean_bounds(group)
        sheet.add("mean_error", group.mean(), size, bounds=bounds, **at)
        bounds = bootstrap.exact_bounds(constant, size)
        sheet.add("constant_share", constant / size, size, bounds=bounds, **at)


def _effects(sheet: Sheet, keys: dict, whole: list[Curve]) -> None:
    if len(whole) < 2:
        sheet.add("effect", None, 0, note="fewer than two learning rates", **keys)
        return
    low, high = whole[0], whole[-1]
    for lam in sorted(set(low.lam) & set(high.lam)):
        pair = [curve.groups[int(np.abs(curve.lam - lam).argmin())] for curve in (high, low)]
        bounds = bootstrap.difference_bounds(*pair)
        value = pair[0].mean() - pair[1].mean()
        sheet.add("effect", value, min(map(len, pair)), bounds=bounds, **keys, lam=lam)
    for level in (LEVEL, None):
        ends = [last_crossing(c.lam, c.means[None], _levels(c.means[None], level))[0] for c in (high, low)]
        draws = [last_crossing(c.lam, c.mean_draws, _levels(c.mean_draws, level)) for c in (high, low)]
        with np.errstate(invalid="ignore"):
            value, replicates = ends[0] - ends[1], draws[0] - draws[1]
        n = int(low.sizes.sum() + high.sizes.sum())
        note = None
        if not np.isfinite(value):
            note = "one of the two does not cross within the grid"
            if np.isposinf(ends[1]) and np.isfinite(ends[0]):
                bound = ends[0] - low.lam[-1]
                note = f"the lowest rate does not cross up to λ = {low.lam[-1]:g}: the shift is below {bound:.3f}"
        bounds = bootstrap.percentile(replicates, n=min(low.least, high.least))
        sheet.add("crossing_shift", value, n, bounds=bounds, note=note, error_level=level, **keys)
