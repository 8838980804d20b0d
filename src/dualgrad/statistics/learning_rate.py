"""How the boundary moves with the learning rate (Q3), one noise rate at a time.

For each learning rate: where the mean final error crosses 0.20, and twice the curve's own minimum; the smallest
λ whose mean best error exceeds 0.20 (the published notebook's rule); the share of constant predictors at each
λ, exact. `effect` compares the highest with the lowest rate at each λ, paired by seed. The shift and the width of a
whole sigmoid: boundary_model.

Sources: FIGURES.md, Extended Data 6a; config/claims.yaml, conclusion 15; Q-R.md#Q3, Q-R.md#4.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from dualgrad.estimators import bootstrap
from dualgrad.estimators.curves import last_crossing
from dualgrad.estimators.units import bounds_of
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
    return sheet.frame()


def _rate(sheet: Sheet, keys: dict, curve: Curve, runs: pd.DataFrame) -> None:
    n = curve.units
    over_all = {**keys, "runs": curve.runs}
    if curve.too_short:
        sheet.add("crossing", None, n, note=curve.too_short, **over_all)
        return
    for level in (LEVEL, None):
        value = last_crossing(curve.lam, curve.means[None], level)[0]
        bounds = curve.interval(partial(last_crossing, curve.lam, level=level))
        note = bootstrap.open_note(bounds)
        if not np.isfinite(value):
            note = "no crossing: the mean error " + (
                "is above the level from the first λ on"
                if value < 0
                else "stays below the level up to the last λ"
            )
        sheet.add("crossing", value, n, bounds=bounds, note=note, error_level=level, **over_all)
    best = runs[np.isclose(runs["lr"], keys["lr"])].groupby("lam")["best_error"].mean()
    above = best[best > LEVEL].index
    none = None if len(above) else "the mean best error exceeds 0.20 at no λ"
    sheet.add("first_above", above.min() if len(above) else None, n, note=none, error_level=LEVEL, **over_all)
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
        first, second = (
            pd.Series(curve.groups[at], index=curve.seeds[at])
            for curve in (high, low)
            for at in [int(np.abs(curve.lam - lam).argmin())]
        )
        apart = (first - second).dropna().to_numpy(dtype=float)
        bounds, p_value = bootstrap.t_bounds(apart, "paired t")
        value = apart.mean() if len(apart) else None
        sheet.add(
            "effect", value, len(apart), bounds=bounds, p_value=p_value, runs=2 * len(apart), **keys, lam=lam
        )
    for level in (LEVEL, None):
        ends = [last_crossing(c.lam, c.means[None], level)[0] for c in (high, low)]
        with np.errstate(invalid="ignore"):
            value = ends[0] - ends[1]
            bounds = _shift_bounds(value, low, high, level)
        n, runs = min(low.units, high.units), low.runs + high.runs
        note = None
        if not np.isfinite(value):
            note = "one of the two does not cross within the grid"
            if np.isposinf(ends[1]) and np.isfinite(ends[0]):
                bound = ends[0] - low.lam[-1]
                note = f"the lowest rate does not cross up to λ = {low.lam[-1]:g}: the shift is below {bound:.3f}"
        sheet.add("crossing_shift", value, n, bounds=bounds, note=note, error_level=level, runs=runs, **keys)


def _shift_bounds(value: float, low: Curve, high: Curve, level: float | None) -> bootstrap.Bounds | None:
    """Interval of the difference of two crossings; the curves have the same seeds."""
    one, other = (np.unique(np.concatenate(curve.seeds)) for curve in (low, high))
    same = np.array_equal(one, other)
    if min(low.least, high.least) < bootstrap.SMALL and same:
        left = [last_crossing(c.lam, c.means_left_out, level) for c in (high, low)]
        return bounds_of(value, left[0] - left[1])
    draws = [last_crossing(c.lam, c.mean_draws, level) for c in (high, low)]
    return bootstrap.percentile(draws[0] - draws[1], n=min(low.least, high.least))
