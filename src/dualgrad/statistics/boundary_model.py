"""How far the boundary moves, and how much it widens, with the width of the network (Q1) and the learning rate (Q3).

All runs of one noise rate, at and beyond the minimum of their curve, are fitted at once by least squares:

    error = floor + (ceiling - floor) / (1 + exp(-(λ - m) / w)),  m = m0 + shift · x,  ln w = ln w0 + widening · x

with x = log2 of the factor, centred, a floor for each of its levels, and the ceiling at the error of a constant
predictor, 1 - 1/C, because most grids end before the rise is over. Intervals and p values: the jackknife over seeds,
one seed left out in all curves at a time.

`lack_of_fit` is F = (what the model leaves between cells, per degree of freedom) / (what runs of one cell differ by);
its p value takes errors as equally spread, which they are not: they spread most at the boundary. `line_lack_of_fit`
is the same of a straight line with an interaction, b0 + b1 λ + b2 x + b3 λ x: a line through a sigmoid does not fit,
so b3 (`line_interaction`) says little. Read the shift where the sigmoid fits badly as a description and no more. A
level whose middle lies beyond the λ that were run says which way the boundary goes, not how far: the note says so.

Sources: FIGURES.md, Extended Data 5 and 6a; config/claims.yaml, conclusions about width and learning rate; Q-R.md#Q1,
Q-R.md#Q3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from dualgrad.estimators import units
from dualgrad.estimators.boundary import Boundary, lack_of_fit, line, moves
from dualgrad.estimators.units import Estimate
from dualgrad.statistics.layout import Quantity, Sheet
from dualgrad.tables.edition import Tables
from dualgrad.tables.schema import FLOAT64, STRING, Column

FACTORS = {"Q1": "width_mult", "Q3": "lr"}

KEYS = (
    Column("noise_rate", FLOAT64, "label-noise rate η", "fraction"),
    Column("factor", STRING, "what doubles: width_mult or lr"),
    Column("factor_level", FLOAT64, "level of the factor; null: all of them"),
)

QUANTITIES = {
    "shift": Quantity("lambda", "change of the boundary m per doubling of the factor"),
    "widening": Quantity("1", "change of ln w per doubling of the factor; below 0: it sharpens"),
    "middle": Quantity("lambda", "m at this level; at the mean of log2(factor) where no level is given"),
    "width": Quantity("lambda", "w there; from 12 % to 88 % of the rise takes 4 w"),
    "floor": Quantity("fraction", "lowest error at this level"),
    "lack_of_fit": Quantity("1", "F of what the sigmoid leaves between cells, over the spread within them"),
    "line_lack_of_fit": Quantity("1", "the same of a line with an interaction"),
    "line_interaction": Quantity("fraction per lambda", "b3 of that line"),
}


def compute(tables: Tables) -> pd.DataFrame:
    """Return shift, widening and fit by experiment and noise rate."""
    sheet = Sheet(tables.edition, KEYS, QUANTITIES)
    for experiment, factor in FACTORS.items():
        runs = tables.runs(experiment).dropna(subset=["test_error", factor])
        if runs.empty:
            sheet.add("shift", None, 0, experiment=experiment, factor=factor, note="no runs")
        ceiling = 1.0 - 1.0 / tables.num_classes(experiment)
        for eta, rows in runs.groupby("noise_rate"):
            keys = {"experiment": experiment, "noise_rate": eta, "factor": factor}
            _add(sheet, keys, rows, factor, ceiling)
    return sheet.frame()


def _add(sheet: Sheet, keys: dict, runs: pd.DataFrame, factor: str, ceiling: float) -> None:
    levels = np.sort(runs[factor].unique())
    seeds = np.sort(runs["seed"].unique())
    pivots = [
        rows.pivot_table(index="seed", columns="lam", values="test_error").reindex(seeds)
        for level in levels
        for rows in [runs[runs[factor] == level]]
    ]
    lam = [table.columns.to_numpy(dtype=float) for table in pivots]
    tables = [table.to_numpy(dtype=float) for table in pivots]
    n: int = len(seeds)
    more: dict[str, Any] = {"runs": len(runs), **keys}
    if len(levels) < 2 or min(map(len, lam)) < 3:
        sheet.add("shift", None, n, note="fewer than two levels of the factor, or than three λ", **more)
        return
    whole = moves(tables, lam, levels, ceiling)
    left = [
        moves([table[row] for table in tables], lam, levels, ceiling, whole) for row in ~np.eye(n, dtype=bool)
    ]
    if math.isnan(whole.middle):
        sheet.add("shift", None, n, note="the runs do not determine a boundary", **more)
        return
    away = np.log2(levels) - np.log2(levels).mean()

    def add(quantity: str, of: Callable[[Boundary], float], note: str | None = None, **place: Any) -> None:
        """Append what is read off the fit, with the jackknife's interval."""
        found = _jackknife(of, whole, left)
        bound = quantity == "floor" and found.value < 1e-6
        none = "at its bound of 0: the grid begins beyond the floor" if bound else None
        bounds = None if none or math.isnan(found.low) else (found.low, found.high, found.how)
        p_value = found.p_value if quantity in ("shift", "widening") else None
        sheet.add(
            quantity, found.value, n, bounds=bounds, p_value=p_value, note=none or note, **place, **more
        )

    beyond = [not one[0] <= _middle(x, whole) <= one[-1] for x, one in zip(away, lam, strict=True)]
    outside = [f"{level:g}" for level, out in zip(levels, beyond, strict=True) if out]
    extrapolated = (
        f"extrapolated: at {factor} {', '.join(outside)} the middle lies beyond the λ that were run"
    )
    add("shift", lambda fit: fit.shift, extrapolated if outside else None)
    add("widening", lambda fit: fit.widening, extrapolated if outside else None)
    add("middle", lambda fit: fit.middle)
    add("width", lambda fit: fit.width)
    for i, level in enumerate(levels):
        note = f"beyond the λ that were run, {lam[i][0]:g} to {lam[i][-1]:g}" if beyond[i] else None
        add("middle", partial(_middle, away[i]), note, factor_level=level)
        add("width", partial(_width, away[i]), factor_level=level)
        add("floor", partial(_floor, i), factor_level=level)
    _fits(sheet, more, n, tables, lam, levels, whole)


def _middle(away: float, fit: Boundary) -> float:
    return fit.middle + fit.shift * away


def _width(away: float, fit: Boundary) -> float:
    return fit.width * math.exp(fit.widening * away)


def _floor(level: int, fit: Boundary) -> float:
    return fit.floors[level]


def _jackknife(of: Callable[[Boundary], float], whole: Boundary, left: list[Boundary]) -> Estimate:
    return units.of_left_out(of(whole), np.array([of(one) for one in left]))


def _fits(
    sheet: Sheet,
    keys: dict,
    n: int,
    tables: list[np.ndarray],
    lam: list[np.ndarray],
    levels: np.ndarray,
    whole: Boundary,
) -> None:
    """Append the lack of fit of the sigmoid and of a line, over the same runs."""
    cells: list[np.ndarray] = []
    errors: list[np.ndarray] = []
    places: list[np.ndarray] = []
    lams: list[np.ndarray] = []
    for i, (table, one) in enumerate(zip(tables, lam, strict=True)):
        some = ~np.isnan(table).all(axis=0)
        table, one = table[:, some], one[some]
        rise = int(np.nanmean(table, axis=0).argmin())
        for at in range(rise, len(one)):
            mine = table[~np.isnan(table[:, at]), at]
            errors.append(mine)
            cells.append(np.full(len(mine), len(cells)))
            places.append(np.full(len(mine), np.log2(levels[i])))
            lams.append(np.full(len(mine), one[at]))
    error, cell = np.concatenate(errors), np.concatenate(cells)
    slope, squares, parameters = line(np.concatenate(lams), np.concatenate(places), error)
    for quantity, found in (
        ("lack_of_fit", lack_of_fit(whole.squares, whole.parameters, cell, error)),
        ("line_lack_of_fit", lack_of_fit(squares, parameters, cell, error)),
    ):
        why = "no cell has two runs, or as many parameters as cells"
        value, p_value = found or (None, None)
        sheet.add(quantity, value, n, p_value=p_value, note=None if found else why, **keys)
    sheet.add("line_interaction", slope, n, note="a line through a sigmoid: see line_lack_of_fit", **keys)
