"""Where the boundary lies: minimum, crossings of levels, a fitted sigmoid, the steepest step of error over λ.

A curve is the mean final error (`test_error`, last epoch) over λ of runs that differ in λ and seed only. Image
tasks: the error rises beyond the boundary. Text tasks at η = 0.8: it falls, from the inverted labelling to the
right one.

Crossing of a level y: the last upward one (text: downward), by linear interpolation between neighbouring means.
The level is fixed (images 0.20, 0.30, 0.40; text 0.50), twice the curve's own minimum, or half-way between its
extremes: a fixed level does not follow the floor of the curve, which rises with η. Half of the runs: the same
crossing of one half by the share of runs that end below the level, for curves with at least ten runs at each λ.

The lowest mean is the lowest by having been chosen, so that `fall_before_minimum` and `rise_after_minimum` are a
little too large, and above 0 for a flat curve as well (chosen_lambda says by how much).

Sigmoid: a + (b - a) / (1 + exp(-(λ - m) / w)), fitted by least squares to the runs at and beyond the minimum,
both plateaus within [0, 1] and m within the grid. m at the end of the grid (`edge`) is a bound and no estimate.

Sources: FIGURES.md, Extended Data 3b (crossing of 0.30) and 4a; config/claims.yaml, conclusions 4, 5 and 15; X-Y.md#2
(X2).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from dualgrad.estimators import bootstrap
from dualgrad.estimators.curves import fit_sigmoid, last_crossing, steepest, steepest_step
from dualgrad.estimators.units import bounds_of
from dualgrad.statistics.curves import CURVE_COLUMNS, CURVE_KEYS, Curve, curves, joined_curves, key_words
from dualgrad.statistics.layout import Quantity, Sheet
from dualgrad.statistics.sources import TEXT_CURVES
from dualgrad.tables.edition import Tables
from dualgrad.tables.schema import BOOL, FLOAT64, Column

LEVELS = (0.20, 0.30, 0.40)
TEXT_LEVELS = (0.50,)
SIGMOID_RESAMPLES = 400

KEYS = (
    *CURVE_COLUMNS,
    Column("error_level", FLOAT64, "error level of a crossing", "fraction"),
    Column("lambda_from", FLOAT64, "first λ of the grid; steepest step: λ where it starts"),
    Column("lambda_to", FLOAT64, "last λ of the grid; steepest step: λ where it ends"),
    Column("edge", BOOL, "the estimate sits on the first or last λ of the grid: a bound"),
)

QUANTITIES = {
    "minimum_lambda": Quantity("lambda", "λ with the lowest mean error"),
    "minimum_error": Quantity("fraction", "the lowest mean error"),
    "fall_before_minimum": Quantity("fraction", "mean error at the first λ minus the lowest mean error"),
    "rise_after_minimum": Quantity("fraction", "mean error at the last λ minus the lowest mean error"),
    "crossing": Quantity("lambda", "λ where the mean error crosses error_level"),
    "crossing_twice_minimum": Quantity(
        "lambda", "λ where the mean error crosses twice its own minimum (each replicate's own)"
    ),
    "crossing_middle": Quantity("lambda", "λ where the mean error crosses (highest + lowest mean) / 2"),
    "half_of_runs": Quantity(
        "lambda", "λ where the share of runs that end below error_level crosses one half"
    ),
    "sigmoid_midpoint": Quantity("lambda", "m of the fitted sigmoid"),
    "sigmoid_width": Quantity("lambda", "w of the fitted sigmoid; from 12 % to 88 % of the rise takes 4 w"),
    "steepest_step": Quantity(
        "lambda", "middle of the step with the largest slope between neighbouring means"
    ),
    "steepest_slope": Quantity("fraction per lambda", "slope of that step"),
}


def compute(tables: Tables) -> pd.DataFrame:
    """Return the boundary estimates of all curves."""
    sheet = Sheet(tables.edition, KEYS, QUANTITIES)
    for curve in (*curves(tables.runs()), *joined_curves(tables)):
        if curve.too_short:
            keys = {"experiment": curve.experiment, **key_words(curve.keys, CURVE_KEYS)}
            for quantity in QUANTITIES:
                sheet.add(quantity, None, curve.units, runs=curve.runs, note=curve.too_short, **keys)
            continue
        one = _Boundary(sheet, curve)
        one.minimum()
        one.crossings()
        one.shares()
        one.sigmoid()
        one.steepest()
    return sheet.frame()


class _Boundary:
    """The estimates of one curve."""

    def __init__(self, sheet: Sheet, curve: Curve) -> None:
        self.sheet, self.curve = sheet, curve
        self.text = curve.experiment in TEXT_CURVES
        self.sign = -1 if self.text else 1
        self.n = curve.units
        self.keys = {
            "experiment": curve.experiment,
            **key_words(curve.keys, CURVE_KEYS),
            "lambda_from": curve.lam[0],
            "lambda_to": curve.lam[-1],
        }

    def add(self, quantity: str, value: float, bounds: bootstrap.Bounds | None = None, **more: Any) -> None:
        """Append one estimate of this curve."""
        self.sheet.add(quantity, value, self.n, bounds=bounds, runs=self.curve.runs, **{**self.keys, **more})

    def at_edge(self, value: float) -> bool:
        """Whether a λ is the grid's first or last."""
        return bool(np.isclose(value, self.curve.lam[[0, -1]], atol=1e-9).any())

    def minimum(self) -> None:
        """The minimum and how far the curve's ends lie above it."""
        means, lam = self.curve.means, self.curve.lam
        where = lam[means.argmin()]
        self.add(
            "minimum_lambda",
            where,
            self.curve.lowest(),
            edge=self.at_edge(where),
            note=self.curve.gaps,
        )
        self.add("minimum_error", means.min(), self.curve.interval(lambda rows: rows.min(axis=1)))
        for name, end in (("fall_before_minimum", 0), ("rise_after_minimum", -1)):
            self.add(name, means[end] - means.min(), self.curve.interval(partial(_above_minimum, end)))

    def crossings(self) -> None:
        """Crossings of fixed and of relative levels."""
        for level in TEXT_LEVELS if self.text else LEVELS:
            self._crossing("crossing", partial(_constant, level), error_level=level)
        if not self.text:
            self._crossing("crossing_twice_minimum", lambda rows: 2 * rows.min(axis=1))
        self._crossing("crossing_middle", lambda rows: (rows.min(axis=1) + rows.max(axis=1)) / 2)

    def _crossing(self, quantity: str, level: Callable[[np.ndarray], np.ndarray], **more: Any) -> None:
        def at(rows: np.ndarray) -> np.ndarray:
            return last_crossing(self.curve.lam, self.sign * rows, self.sign * level(rows))

        means = self.curve.means[None]
        more.setdefault("error_level", float(level(means)[0]))
        value = float(at(means)[0])
        bounds = self.curve.interval(at)
        self.add(quantity, value, bounds, note=self._why(value) or bootstrap.open_note(bounds), **more)

    def _why(self, value: float) -> str | None:
        if np.isfinite(value):
            return None
        side = "above" if (value < 0) != self.text else "below"
        where = "from the first λ on" if value < 0 else "up to the last λ"
        return f"no crossing: the mean error is {side} the level {where}"

    def shares(self) -> None:
        """Crossings of one half by the share of runs below a level."""
        if self.text or self.curve.sizes.min() < 10:
            return
        for level in LEVELS:
            share = self.curve.share_below(level)
            value = float(_half(self.curve.lam, share.means[None])[0])
            bounds = share.interval(partial(_half, self.curve.lam))
            note = None
            if not np.isfinite(value):
                amount = "fewer" if value < 0 else "more"
                note = f"no crossing: {amount} than half of the runs end below the level at every λ"
            self.add(
                "half_of_runs", value, bounds, error_level=level, note=note or bootstrap.open_note(bounds)
            )

    def sigmoid(self) -> None:
        """A sigmoid through the runs at and beyond the minimum (text: through all)."""
        start = 0 if self.text else int(self.curve.means.argmin())
        lam = self.curve.lam[start:]
        if len(lam) < 4:
            why = f"only {len(lam)} λ at and beyond the minimum; a sigmoid needs four"
            for quantity in ("sigmoid_midpoint", "sigmoid_width"):
                self.add(quantity, np.nan, note=why)
            return
        few = self.curve.least < bootstrap.SMALL
        draws = self.curve.means_left_out if few else self.curve.mean_draws[:SIGMOID_RESAMPLES]
        draws = draws[:, start:]
        fits = fit_sigmoid(lam, np.vstack([self.curve.means[start:], draws]), self.curve.sizes[start:])
        edge = bool(np.isclose(fits.midpoint[0], lam[[0, -1]], atol=1e-6).any())
        note = None
        if np.isnan(fits.midpoint[0]):
            note = "no sigmoid with plateaus in [0, 1] fits"
        elif edge:
            note = "the midpoint sits on the end of the grid: the rise is not over there"
        for quantity, values in (("sigmoid_midpoint", fits.midpoint), ("sigmoid_width", fits.width)):
            if few:
                bounds = bounds_of(float(values[0]), values[1:])
            else:
                possible = values[1:][~np.isnan(values[1:])]
                enough = len(possible) >= 0.9 * len(draws)
                bounds = bootstrap.percentile(possible, n=self.curve.least) if enough else None
            self.add(quantity, values[0], bounds, edge=edge, note=note)

    def steepest(self) -> None:
        """The steepest step between neighbouring λ."""
        lam = self.curve.lam
        places, slope = steepest_step(lam, self.curve.means, self.sign)
        at = int(places[0])
        place = {"lambda_from": lam[at], "lambda_to": lam[at + 1], "edge": at in (0, len(lam) - 2)}
        self.add("steepest_step", (lam[at] + lam[at + 1]) / 2, self._steepest_bounds(), **place)
        bounds = self.curve.interval(lambda rows: steepest(lam, rows, self.sign)[1])
        self.add("steepest_slope", slope[0], bounds, **place)

    def _steepest_bounds(self) -> bootstrap.Bounds | None:
        """Interval of the steepest step's middle: below eight seeds the steps that tests do not rule out."""
        lam, table = self.curve.lam, self.curve.by_seed
        if self.curve.least >= bootstrap.SMALL:
            middles, _ = steepest(lam, self.curve.mean_draws, self.sign)
            return bootstrap.percentile(middles, n=self.curve.least)
        if table is None:
            return None
        slopes = -self.sign * np.diff(table, axis=1) / np.diff(lam)
        return bootstrap.lowest_bounds((lam[:-1] + lam[1:]) / 2, tuple(slopes.T), True)


def _constant(level: float, rows: np.ndarray) -> np.ndarray:
    """The same level for each row."""
    return np.full(len(rows), level)


def _above_minimum(place: int, rows: np.ndarray) -> np.ndarray:
    """How far each row lies above its minimum at one place."""
    above: np.ndarray = rows[:, place] - rows.min(axis=1)
    return above


def _half(lam: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Where each row of shares falls below one half."""
    return last_crossing(lam, -shares, -0.5)
