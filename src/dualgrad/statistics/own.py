"""Experiments of one's own in numbers: every condition, and every curve over a numeric factor.

A condition is one combination of an experiment's factors but seed and replicate; `condition` spells it out, and
`field` is the outcome. A curve runs over a factor that has numbers at three levels or more (`over`), for each
combination of the others: where the error is lowest, what one step of the grid loses, from where on it is higher,
where it crosses half of its rise, where it spreads most. Where the same seeds were run at every level, differences
and resamples are by seed; otherwise levels are independent samples.

The lowest mean was chosen by looking, so it is a little too low; a validation split (docs/which-lambda.md) chooses on
other examples than it reports. Intervals of losses and rise are Bonferroni's over all other levels. The file exists
where `config/census` holds experiments of one's own.

Sources: dualgrad.outcomes, which `dualgrad results` prints from.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from dualgrad.estimators import bootstrap
from dualgrad.estimators.scan import Estimate
from dualgrad.estimators.units import JACKKNIFE
from dualgrad.outcomes.conditions import summarise, varying, with_factors
from dualgrad.outcomes.scans import VALIDATION, Reading, numeric_factors, readings
from dualgrad.statistics.layout import Quantity, Sheet
from dualgrad.statistics.summaries import OUTCOMES, spelt
from dualgrad.tables.edition import Tables
from dualgrad.tables.schema import BOOL, STRING, Column

KEYS = (
    Column("condition", STRING, "factor levels as name=level; of a curve, those of the other factors"),
    Column("field", STRING, "column of the table runs that is summarised"),
    Column("over", STRING, "numeric factor that a curve runs over; null: a condition"),
    Column("edge", BOOL, "the lowest mean lies at the first or last level of the grid: a bound"),
)

QUANTITIES = {
    "mean": Quantity("", "arithmetic mean over runs"),
    "sd": Quantity("", "standard deviation over runs, with n - 1"),
    "optimum": Quantity("level", "level of the factor with the lowest mean"),
    "lowest": Quantity("fraction", "the lowest mean"),
    "loss_below": Quantity("fraction", "mean one level below the optimum minus the lowest"),
    "loss_above": Quantity("fraction", "mean one level above the optimum minus the lowest"),
    "rise_from": Quantity(
        "level", "first level above the optimum from which on every mean is told apart from the lowest"
    ),
    "rise": Quantity("fraction", "mean there minus the lowest"),
    "crossing_middle": Quantity(
        "level", "where the mean, beyond the optimum, last crosses (highest beyond it + lowest) / 2 upwards"
    ),
    "widest": Quantity("level", "level with the largest variance between runs"),
    "widest_ratio": Quantity("1", "that variance over the one at the optimum; p: Brown-Forsythe"),
}

_ERRORS = ("test_error", *VALIDATION)


def compute(tables: Tables) -> pd.DataFrame:
    """Return the numbers of all experiments that *tables* hold."""
    sheet = Sheet(tables.edition, KEYS, QUANTITIES)
    runs = tables.table("runs")
    for name in tables.experiments:
        rows = with_factors(runs[runs["experiment"] == name])
        by = varying(rows, (factor for row in rows for factor in json.loads(row["factors"] or "{}")))
        for field in (*OUTCOMES, *VALIDATION):
            if any(row.get(field) is not None for row in rows):
                _conditions(sheet, name, rows, by, field)
        for over in numeric_factors(rows, by):
            for field in _ERRORS:
                if any(row.get(field) is not None for row in rows):
                    for one in readings(rows, by, over, field):
                        _curve(sheet, name, one)
    return sheet.frame()


def _conditions(sheet: Sheet, name: str, rows: list[dict[str, Any]], by: list[str], field: str) -> None:
    for one in summarise(rows, by, field):
        values = [
            row[field] for row in rows if all(row.get(key) == level for key, level in one.levels.items())
        ]
        known = np.array([value for value in values if value is not None], dtype=float)
        keys: dict[str, Any] = {"experiment": name, "condition": spelt(one.levels), "field": field}
        unit = "epochs" if field in ("lifetime", "best_epoch", "convergence_epoch") else "1"
        unit = "fraction" if field.endswith("_error") else unit
        ends = None if one.low is None or one.high is None else (one.low, one.high, "t")
        sheet.add("mean", one.mean, one.n, bounds=ends, unit=unit, **keys)
        spread = bootstrap.sd_bounds(known) if len(known) > 1 else None
        if spread is not None:  # of the population's: brought to n - 1
            scale = float(np.sqrt(len(known) / (len(known) - 1)))
            spread = spread[0] * scale, spread[1] * scale, spread[2]
        note = "one run" if one.n == 1 else None
        sheet.add("sd", one.sd, one.n, bounds=spread, unit=unit, note=note, **keys)


def _curve(sheet: Sheet, name: str, reading: Reading) -> None:
    found, n = reading.scan, min(reading.scan.n)
    keys: dict[str, Any] = {"experiment": name, "condition": spelt(reading.levels)}
    keys |= {"field": reading.of, "over": reading.over}
    difference = f"{'paired t' if found.paired else 'Welch t'}, Bonferroni"

    def add(quantity: str, one: Estimate | None, how: str, missing: str, **more: Any) -> None:
        if one is None:
            sheet.add(quantity, None, n, note=missing, **keys, **more)
            return
        ends = None
        if one.low is not None or one.high is not None:
            low, high = (-np.inf if one.low is None else one.low), (np.inf if one.high is None else one.high)
            ends = low, high, how
        sheet.add(quantity, one.value, n, bounds=ends, **keys, **more)

    few = n < bootstrap.SMALL
    resampled = bootstrap.PAIRED if found.paired else bootstrap.BOOTSTRAP
    add(
        "optimum",
        found.optimum,
        difference if few else resampled,
        "",
        edge=found.at_edge,
    )
    add("lowest", found.lowest, "t", "", edge=found.at_edge)
    add("loss_below", found.below, difference, "the optimum is the first level")
    add("loss_above", found.above, difference, "the optimum is the last level")
    none = "no level above the optimum is told apart from it up to the last"
    add("rise_from", None if found.rise is None else Estimate(found.rise), "", none)
    add("rise", found.rise_by, difference, none)
    read = JACKKNIFE if few else resampled
    add("crossing_middle", found.middle, read, "the mean does not rise beyond the optimum")
    none = "no level has two runs"
    sheet.add("widest", found.widest, n, note=none if found.widest is None else None, **keys)
    note = None
    if found.widest_ratio is None:
        note = "a variance is 0, or a level has one run"
    elif found.widest_p is None and found.widest_ratio > 1:
        note = "too few runs for the test"
    sheet.add("widest_ratio", found.widest_ratio, n, p_value=found.widest_p, note=note, **keys)
