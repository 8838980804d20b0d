"""A boundary in λ that moves and widens with a factor: a sigmoid through all runs, with its lack of fit.

error = floor + (ceiling - floor) / (1 + exp(-(λ - m) / w)), m = m0 + shift · x, ln w = ln w0 + widening · x, with
x = log2(factor), centred; each level of the factor has a floor of its own. The ceiling is given (the error of a
constant predictor): grids that end before the rise is over do not tell it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.optimize import least_squares
from scipy.special import expit

#: Shapes of ln(width / range of λ) and places in the range from which the search starts.
STARTS = tuple((place, shape) for place in (0.4, 0.8, 1.2) for shape in (-3.0, -1.5))


@dataclass(frozen=True)
class Boundary:
    """A fit.

    Attributes:
        middle: m at the mean of x.
        shift: change of m per doubling of the factor.
        width: w at the mean of x.
        widening: change of ln w per doubling.
        floors: lowest errors, by level of the factor.
        squares: residual sum of squares.
        parameters: how many were fitted.
    """

    middle: float
    shift: float
    width: float
    widening: float
    floors: tuple[float, ...]
    squares: float
    parameters: int


def fit(
    lam: np.ndarray,
    level: np.ndarray,
    x: np.ndarray,
    error: np.ndarray,
    ceiling: float,
    near: Boundary | None = None,
) -> Boundary | None:
    """Fit the boundary by least squares over runs.

    Args:
        lam: λ of each run.
        level: number of the factor's level of each run, from 0.
        x: log2 of the factor at each level, (levels,).
        error: final error of each run.
        ceiling: error beyond the boundary.
        near: where to search, a fit of nearly the same runs; else from several starts.

    Returns:
        None where the runs do not determine it: a level without runs, fewer than four λ or a constant error.
    """
    levels = len(x)
    if len(np.unique(level)) < levels or len(error) < levels + 6:
        return None
    if len(np.unique(lam)) < 4 or np.ptp(error) == 0:
        return None
    span = float(np.ptp(lam))
    away = x - x.mean()
    several = levels > 1

    def model(parameters: np.ndarray) -> np.ndarray:
        middle, width = parameters[0], parameters[1]
        shift, widening = parameters[2:4] if several else (0.0, 0.0)
        floor = parameters[-levels:][level]
        z = (lam - middle - shift * away[level]) / np.exp(width + widening * away[level])
        curve: np.ndarray = floor + (ceiling - floor) * expit(z)
        return curve

    lowest = np.array([min(error[level == i].min(), ceiling - 1e-3) for i in range(levels)])
    slack = [0.0, 0.0] if several else []
    low = [lam.min() - span, math.log(span) - 8, *([-span, -2.0] if several else []), *np.zeros(levels)]
    high = [
        lam.max() + span,
        math.log(span) + 1,
        *([span, 2.0] if several else []),
        *np.full(levels, ceiling),
    ]
    best = None
    starts = [
        [lam.min() + place * span, math.log(span) + shape, *slack, *np.maximum(lowest, 1e-3)]
        for place, shape in STARTS
    ]
    if near is not None and math.isfinite(near.middle):
        moved = [near.shift, near.widening] if several else []
        starts = [[near.middle, math.log(near.width), *moved, *np.clip(near.floors, 1e-3, ceiling - 1e-3)]]
    for start in starts:
        start = np.clip(start, np.array(low) + 1e-9, np.array(high) - 1e-9)
        found = least_squares(lambda p: model(p) - error, start, bounds=(low, high), x_scale="jac")
        if best is None or found.cost < best.cost - 1e-12:
            best = found
    assert best is not None
    p = best.x
    shift, widening = (float(p[2]), float(p[3])) if several else (0.0, 0.0)
    floors = tuple(float(floor) for floor in p[-levels:])
    return Boundary(float(p[0]), shift, float(np.exp(p[1])), widening, floors, 2 * float(best.cost), len(p))


def moves(
    tables: list[np.ndarray],
    lam: list[np.ndarray],
    factors: np.ndarray,
    ceiling: float,
    near: Boundary | None = None,
) -> Boundary:
    """Fit the boundary to tables of errors by unit and λ, one per level of the factor; all fields NaN where it fails.

    λ before the lowest mean error of a level are left out: there the error falls.
    """
    parts = []
    for i, (table, one) in enumerate(zip(tables, lam, strict=True)):
        some = ~np.isnan(table).all(axis=0)
        table, one = table[:, some], one[some]
        rise = int(np.nanmean(table, axis=0).argmin()) if len(one) else 0
        parts.append((one[rise:], i, table[:, rise:]))
    errors = np.concatenate([table.ravel() for _, _, table in parts])
    lams = np.concatenate([np.broadcast_to(one, table.shape).ravel() for one, _, table in parts])
    level = np.concatenate([np.full(table.size, i) for _, i, table in parts])
    known = ~np.isnan(errors)
    found = fit(lams[known], level[known], np.log2(factors), errors[known], ceiling, near)
    none = math.nan
    return found or Boundary(none, none, none, none, (none,) * len(factors), none, 0)


def lack_of_fit(
    squares: float, parameters: int, cell: np.ndarray, error: np.ndarray
) -> tuple[float, float] | None:
    """Return (F, p) of lack of fit: what a model leaves between cells over what runs of one cell differ by.

    Args:
        squares: the model's residual sum of squares.
        parameters: its number of parameters.
        cell: cell (λ and factor level) of each run.
        error: what was fitted.

    Returns:
        None where no cell has two runs or any spread, or the model has as many parameters as there are cells.
    """
    _, place, counts = np.unique(cell, return_inverse=True, return_counts=True)
    means = np.bincount(place, error) / counts
    pure = float(((error - means[place]) ** 2).sum())
    free, within = len(counts) - parameters, len(error) - len(counts)
    if free < 1 or within < 1 or pure <= 0:
        return None
    ratio = max(squares - pure, 0.0) / free / (pure / within)
    return ratio, float(stats.f.sf(ratio, free, within))


def line(lam: np.ndarray, x: np.ndarray, error: np.ndarray) -> tuple[float, float, int]:
    """Return (b3, residual sum of squares, parameters) of error = b0 + b1 λ + b2 x + b3 λ x, λ and x centred."""
    a, b = lam - lam.mean(), x - x.mean()
    design = np.column_stack([np.ones_like(a), a, b, a * b])
    coefficients, *_ = np.linalg.lstsq(design, error, rcond=None)
    rest = error - design @ coefficients
    return float(coefficients[3]), float(rest @ rest), 4
