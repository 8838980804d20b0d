"""How boundary, slope and spread change with the width of the network (Q1), one noise rate at a time.

For each width: where the mean error crosses a level between neighbouring λ, the slope of that step, and the
largest variance over λ. The level is the published reading's (0.20 at η = 0.4, 0.35 at η = 0.8) and twice the
curve's own minimum. Over widths: the change per doubling is the least-squares slope on log2(width); the three curves
have the same seeds, so its interval is the jackknife's, one seed left out in all of them at a time. The shift and the
width of a whole sigmoid: boundary_model.

Sources: FIGURES.md, Extended Data 5; config/claims.yaml, conclusion 5; Q-R.md#Q1, Q-R.md#4.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from dualgrad.estimators import bootstrap
from dualgrad.estimators.curves import last_crossing, per_doubling
from dualgrad.estimators.units import bounds_of
from dualgrad.statistics.curves import Curve, curves
from dualgrad.statistics.layout import Quantity, Sheet
from dualgrad.tables.edition import Tables
from dualgrad.tables.schema import BOOL, FLOAT64, Column

LEVELS = {0.4: 0.20, 0.8: 0.35}

KEYS = (
    Column("noise_rate", FLOAT64, "label-noise rate η", "fraction"),
    Column("width_mult", FLOAT64, "width multiplier; null: over all widths"),
    Column("error_level", FLOAT64, "error level of a crossing; null: twice the minimum", "fraction"),
    Column("edge", BOOL, "the largest variance is at the first or last λ of the grid"),
)

QUANTITIES = {
    "crossing": Quantity("lambda", "λ where the mean error crosses the level"),
    "slope_at_crossing": Quantity("fraction per lambda", "slope of the step that crosses"),
    "peak_variance": Quantity("fraction^2", "largest population variance over λ"),
    "crossing_per_doubling": Quantity("lambda", "change of the crossing per doubling of the width"),
    "slope_per_doubling": Quantity("fraction per lambda", "change of the slope there per doubling"),
    "log_variance_per_doubling": Quantity("1", "change of ln(largest variance) per doubling"),
}


def compute(tables: Tables) -> pd.DataFrame:
    """Return boundary, slope and spread by width."""
    sheet = Sheet(tables.edition, KEYS, QUANTITIES)
    runs = tables.runs("Q1")
    if runs.empty:
        sheet.add("crossing", None, 0, experiment="Q1")
    for eta, rows in runs.groupby("noise_rate"):
        keys = {"experiment": "Q1", "noise_rate": eta}
        mine = sorted(curves(rows), key=lambda curve: curve.keys["width_mult"])
        whole = [curve for curve in mine if not curve.too_short]
        for curve in mine:
            if curve.too_short:
                at = {**keys, "width_mult": curve.keys["width_mult"]}
                sheet.add("crossing", None, curve.units, runs=curve.runs, note=curve.too_short, **at)
        _variances(sheet, keys, whole)
        _crossings(sheet, keys, whole, LEVELS.get(round(float(eta), 3)))
        _crossings(sheet, keys, whole, None)
    return sheet.frame()


def _variances(sheet: Sheet, keys: dict, whole: list[Curve]) -> None:
    for curve in whole:
        at = int(curve.variances.argmax())
        edge = at in (0, len(curve.lam) - 1)
        sheet.add(
            "peak_variance",
            curve.variances.max(),
            curve.units,
            bounds=curve.peak_bounds(),
            runs=curve.runs,
            width_mult=curve.keys["width_mult"],
            edge=edge,
            note="at the end of the grid: no peak" if edge else None,
            **keys,
        )
    values = _log(np.array([curve.variances.max() for curve in whole]))
    left = [_log(curve.variances_left_out.max(axis=1)) for curve in whole]
    _doubling(sheet, "log_variance_per_doubling", keys, whole, values, left)


def _log(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(values)


def _crossings(sheet: Sheet, keys: dict, whole: list[Curve], level: float | None) -> None:
    at = {**keys, "error_level": level}
    found: dict[str, tuple[list[float], list[np.ndarray]]] = {
        "crossing": ([], []),
        "slope_at_crossing": ([], []),
    }
    for curve in whole:
        values = crossing_and_slope(curve.lam, curve.means[None], level)
        left = crossing_and_slope(curve.lam, curve.means_left_out, level)
        for number, (quantity, value, without) in enumerate(zip(found, values, left, strict=True)):
            bounds = curve.interval(partial(_read, curve.lam, level, number))
            few = None if bounds else "some resamples do not cross: no interval"
            note = (
                None if np.isfinite(value[0]) else "the mean error does not cross the level within the grid"
            )
            sheet.add(
                quantity,
                value[0],
                curve.units,
                bounds=bounds,
                runs=curve.runs,
                note=note or few or bootstrap.open_note(bounds),
                width_mult=curve.keys["width_mult"],
                **at,
            )
            found[quantity][0].append(float(value[0]))
            found[quantity][1].append(without)
    for quantity, name in (
        ("crossing", "crossing_per_doubling"),
        ("slope_at_crossing", "slope_per_doubling"),
    ):
        _doubling(sheet, name, at, whole, np.array(found[quantity][0]), found[quantity][1])


def crossing_and_slope(
    lam: np.ndarray, rows: np.ndarray, level: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return where curves cross a level (None: twice their minimum) and the slope of the crossing step, (rows,) each.

    ``lam`` is (λ,), ascending; ``rows`` is (rows, λ). No crossing: ±∞ and NaN.
    """
    crossing = last_crossing(lam, rows, level)
    at = np.clip(np.searchsorted(lam, crossing, side="left"), 1, len(lam) - 1)
    index = np.arange(len(rows))
    slope = (rows[index, at] - rows[index, at - 1]) / (lam[at] - lam[at - 1])
    return crossing, np.where(np.isfinite(crossing), slope, np.nan)


def _read(lam: np.ndarray, level: float | None, number: int, rows: np.ndarray) -> np.ndarray:
    """Crossing (number 0) or slope there (1) of each row of means."""
    return crossing_and_slope(lam, rows, level)[number]


def _doubling(
    sheet: Sheet, quantity: str, keys: dict, whole: list[Curve], values: np.ndarray, left: list[np.ndarray]
) -> None:
    """Append the change per doubling; ``left``: values with one seed left out, (units,) of each width."""
    n = min((curve.units for curve in whole), default=0)
    keys = {**keys, "runs": sum(curve.runs for curve in whole)}
    if len(whole) < 2 or not np.isfinite(values).all():
        why = "fewer than two widths" if len(whole) < 2 else "one of the widths has no value"
        sheet.add(quantity, None, n, note=why, **keys)
        return
    widths = np.array([curve.keys["width_mult"] for curve in whole])
    value = float(per_doubling(widths, values[None])[0])
    bounds, note = None, "the widths have different seeds: no interval"
    if len({tuple(np.unique(np.concatenate(curve.seeds))) for curve in whole}) == 1:
        with np.errstate(invalid="ignore"):  # a crossing may be infinite: not reached within the grid
            bounds = bounds_of(value, per_doubling(widths, np.stack(left, axis=1)))
        note = "there is no value without one of the seeds: no interval"
    sheet.add(quantity, value, n, bounds=bounds, note=None if bounds else note, **keys)
