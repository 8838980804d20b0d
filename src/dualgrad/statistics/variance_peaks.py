"""Where the spread between seeds is largest along λ, and whether that is a peak or the end of the grid.

Variance at each λ: population variance (ddof 0) of the final errors. A maximum on the first or last λ (`edge`)
shows no peak: the grid ends while the variance still grows. A maximum that is interior only because the runs at
the next λ are constant predictors (all at the same error) is capped, not resolved; the note says so.

`interior_share` is the share of bootstrap replicates (whole seeds are drawn) whose largest variance is at neither
end of the grid. `fall_after_peak` compares with the next λ; it was chosen by looking and gets no interval. Intervals
of a variance: the jackknife of its logarithm, none for five seeds or fewer; of the largest one at Bonferroni's level.

Sources: FIGURES.md, Figure 1b and Extended Data 5b; config/claims.yaml, conclusion 4; I-P.md#4a (the pooled cells).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from dualgrad.estimators import bootstrap
from dualgrad.statistics.curves import CURVE_COLUMNS, CURVE_KEYS, Curve, curves, joined_curves, key_words
from dualgrad.statistics.layout import Quantity, Sheet
from dualgrad.tables.edition import Tables
from dualgrad.tables.schema import BOOL, FLOAT64, INT64, STRING, Column

KEYS = (
    *CURVE_COLUMNS,
    Column("lam", FLOAT64, "λ of a variance"),
    Column("constant_runs", INT64, "runs at that λ that end as constant predictors"),
    Column("edge", BOOL, "the largest variance is at the first or last λ of the grid"),
    Column("position", STRING, "interior, first or last λ of the grid"),
)

QUANTITIES = {
    "variance": Quantity("fraction^2", "population variance of the final error at one λ"),
    "peak_lambda": Quantity("lambda", "λ with the largest variance"),
    "peak_variance": Quantity("fraction^2", "the largest variance"),
    "interior_share": Quantity("1", "share of bootstrap replicates whose largest variance is interior"),
    "fall_after_peak": Quantity(
        "fraction^2", "largest variance minus the variance at the next λ; null at the last λ"
    ),
}


def compute(tables: Tables) -> pd.DataFrame:
    """Return the variances along all curves and their maxima."""
    sheet = Sheet(tables.edition, KEYS, QUANTITIES)
    for curve in (*curves(tables.runs()), *joined_curves(tables)):
        _add(sheet, curve)
    return sheet.frame()


def _add(sheet: Sheet, curve: Curve) -> None:
    keys = {"experiment": curve.experiment, **key_words(curve.keys, CURVE_KEYS)}
    if curve.too_short:
        for quantity in QUANTITIES:
            sheet.add(quantity, None, curve.units, runs=curve.runs, note=curve.too_short, **keys)
        return
    draws = curve.variance_draws
    for at, lam in enumerate(curve.lam):
        n = len(np.unique(curve.places[at]))
        place = {"lam": lam, "constant_runs": curve.constant[at], "runs": curve.sizes[at]}
        sheet.add("variance", curve.variances[at], n, bounds=curve.variance_bounds(at), **keys, **place)
    n, last = curve.units, len(curve.lam) - 1
    keys["runs"] = curve.runs
    if curve.variances.max() == 0:
        for quantity in ("peak_lambda", "peak_variance", "interior_share", "fall_after_peak"):
            sheet.add(quantity, np.nan, n, note="no spread at any λ", **keys)
        return
    at = int(curve.variances.argmax())
    position = "first" if at == 0 else "last" if at == last else "interior"
    keys |= {"edge": position != "interior", "position": position, "constant_runs": curve.constant[at]}
    peaks = draws.argmax(axis=1)
    sheet.add(
        "peak_lambda",
        curve.lam[at],
        n,
        bounds=bootstrap.percentile(curve.lam[peaks], n=curve.least)
        if curve.least >= bootstrap.SMALL
        else None,
        note="; ".join(note for note in (_note(curve, at, last), curve.gaps) if note) or None,
        **keys,
        lam=curve.lam[at],
    )
    place = keys | {"lam": curve.lam[at]}
    sheet.add("peak_variance", curve.variances[at], n, bounds=curve.peak_bounds(), **place)
    sheet.add("interior_share", float(np.mean((peaks > 0) & (peaks < last))), n, **place)
    if at == last:
        sheet.add("fall_after_peak", np.nan, n, note="the grid ends at the largest variance", **place)
    else:
        sheet.add("fall_after_peak", curve.variances[at] - curve.variances[at + 1], n, **place)


def _note(curve: Curve, at: int, last: int) -> str | None:
    if at in (0, last):
        return "no peak: the largest variance is at the end of the grid"
    dead, size = curve.constant[at + 1], curve.sizes[at + 1]
    if 2 * dead > size:
        return f"capped: at the next λ {dead} of {size} runs are constant predictors"
    return None
