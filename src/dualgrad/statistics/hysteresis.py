"""Gaps and areas of λ loops: the same training on its way up and on its way down.

gap(λ) = mean over seeds of (error on the way up - error on the way down), at the λ that both ways visit: positive
where the way up has the higher error, as in R1a, R1b and R2b on average and not in R2a. All intervals pair the two
ways by seed: Student's over the seeds' own gaps, areas and means (p value: gap = 0); the absolute area is no mean
over seeds and gets the jackknife's, one seed left out at a time.

area = Σ (gap_i + gap_{i+1})/2 · (λ_{i+1} - λ_i); area_absolute takes the absolute value of each trapezoid.

A loop starts untrained and ends after many epochs, and the learning rate falls on the way, so the two ways
differ in age and in learning rate at the same λ. `epoch_up` and `epoch_down` say where each stood, `same_rate`
whether the learning rate was the same; `…_same_rate` quantities use only those λ. (R1, R2: drops after epochs
50 and 75 of the loop; X3: constant.)

Sources: FIGURES.md, Figure 2a, 2c, 5c; config/claims.yaml, conclusions 8 and 14; Q-R.md#4 (areas; signed
there as down - up).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dualgrad.estimators import bootstrap
from dualgrad.estimators.units import bounds_of
from dualgrad.statistics.facts import lr_factor
from dualgrad.statistics.layout import Quantity, Sheet
from dualgrad.tables.edition import Tables
from dualgrad.tables.schema import BOOL, FLOAT64, Column

KEYS = (
    Column("noise_rate", FLOAT64, "label-noise rate η", "fraction"),
    Column("hold_epochs", FLOAT64, "epochs per λ", "epochs"),
    Column("lam", FLOAT64, "λ of a gap; of the largest or smallest gap"),
    Column("epoch_up", FLOAT64, "epochs done on the way up at that λ", "epochs"),
    Column("epoch_down", FLOAT64, "epochs done on the way down at that λ", "epochs"),
    Column("same_rate", BOOL, "the learning rate was the same on both ways"),
)

QUANTITIES = {
    "gap": Quantity("fraction", "mean over seeds of error up minus error down at one λ; p_value: paired t"),
    "max_gap": Quantity("fraction", "largest gap over λ"),
    "min_gap": Quantity("fraction", "smallest (most negative) gap over λ"),
    "max_absolute_gap": Quantity("fraction", "largest absolute gap over λ, positive"),
    "mean_gap": Quantity("fraction", "mean gap over the common λ"),
    "area": Quantity("fraction lambda", "signed area between the ways, up minus down"),
    "area_absolute": Quantity("fraction lambda", "area with every trapezoid positive"),
    "max_gap_same_rate": Quantity("fraction", "largest gap where both ways have the same learning rate"),
    "min_gap_same_rate": Quantity("fraction", "smallest gap there"),
    "mean_gap_same_rate": Quantity("fraction", "mean gap there"),
}


def compute(tables: Tables) -> pd.DataFrame:
    """Return gaps and areas of all loops."""
    sheet = Sheet(tables.edition, KEYS, QUANTITIES)
    for experiment in tables.experiments:
        _loop(sheet, experiment, tables)
    return sheet.frame()


def _loop(sheet: Sheet, experiment: str, tables: Tables) -> None:
    rows = tables.trajectories(experiment, stage="loop").copy()
    runs = tables.runs(experiment)
    keys: dict[str, Any] = {
        "experiment": experiment,
        "noise_rate": runs["noise_rate"].min() if len(runs) else None,
        "hold_epochs": runs["hold_epochs"].min() if len(runs) else None,
    }
    rows["lam"] = rows["lam"].round(6)
    ways = {
        way: rows[rows["direction"] == way].pivot_table(index="seed", columns="lam", values="test_error")
        for way in ("up", "down")
    }
    epochs = {way: rows[rows["direction"] == way].groupby("lam")["epoch"].mean() for way in ("up", "down")}
    lam = np.array(sorted(set(ways["up"].columns) & set(ways["down"].columns)))
    seeds = sorted(set(ways["up"].index) & set(ways["down"].index))
    if len(lam) == 0 or not seeds:
        for quantity in QUANTITIES:
            sheet.add(quantity, None, len(seeds), note="no λ has evaluations on both ways", **keys)
        return
    gaps = (ways["up"].loc[seeds, lam] - ways["down"].loc[seeds, lam]).to_numpy(dtype=float)
    whole = ~np.isnan(gaps).any(axis=1)  # seeds with both ways complete
    up, down = (epochs[way][lam].to_numpy(dtype=float) for way in ("up", "down"))
    drops = tables.lr_drops(experiment)
    same = lr_factor(drops, up) == lr_factor(drops, down)
    places: list[dict[str, Any]] = [
        {"lam": lam[i], "epoch_up": up[i], "epoch_down": down[i], "same_rate": bool(same[i])}
        for i in range(len(lam))
    ]
    for i, place in enumerate(places):
        mine = gaps[~np.isnan(gaps[:, i]), i]
        bounds, p_value = bootstrap.t_bounds(mine, "paired t")
        value = mine.mean() if len(mine) else None
        sheet.add("gap", value, len(mine), bounds=bounds, p_value=p_value, **keys, **place)
    if not whole.any():
        for quantity in list(QUANTITIES)[1:]:
            sheet.add(quantity, None, 0, note="no seed has both ways complete", **keys)
        return
    _over_lambda(sheet, keys, gaps[whole], lam, same, places)


def _over_lambda(
    sheet: Sheet, keys: dict, gaps: np.ndarray, lam: np.ndarray, same: np.ndarray, places: list
) -> None:
    n = len(gaps)
    mean = gaps.mean(axis=0)

    def add(quantity: str, value: float, bounds: bootstrap.Bounds | None, place: dict | None = None) -> None:
        sheet.add(quantity, value, n, bounds=bounds, **keys, **(place or {}))

    add("max_gap", mean.max(), bootstrap.extreme_bounds(gaps), places[int(mean.argmax())])
    add("min_gap", mean.min(), bootstrap.extreme_bounds(gaps, largest=False), places[int(mean.argmin())])
    size = np.abs(mean)
    add("max_absolute_gap", size.max(), _largest_size(gaps), places[int(size.argmax())])
    add("mean_gap", mean.mean(), bootstrap.t_bounds(gaps.mean(axis=1), "paired t")[0])
    add("area", area(mean[None], lam, False)[0], bootstrap.t_bounds(area(gaps, lam, False), "paired t")[0])
    whole = float(area(mean[None], lam, True)[0])
    left = area((gaps.sum(axis=0) - gaps) / (n - 1), lam, True) if n > 1 else np.empty(0)
    add("area_absolute", whole, bounds_of(whole, left))
    names = ("max_gap_same_rate", "min_gap_same_rate", "mean_gap_same_rate")
    if not same.any():
        for quantity in names:
            sheet.add(quantity, None, n, note="the learning rate differs at every common λ", **keys)
        return
    kept = [place for place, equal in zip(places, same, strict=True) if equal]
    mean, gaps = mean[same], gaps[:, same]
    add(names[0], mean.max(), bootstrap.extreme_bounds(gaps), kept[int(mean.argmax())])
    add(names[1], mean.min(), bootstrap.extreme_bounds(gaps, largest=False), kept[int(mean.argmin())])
    add(names[2], mean.mean(), bootstrap.t_bounds(gaps.mean(axis=1), "paired t")[0])


def _largest_size(gaps: np.ndarray) -> bootstrap.Bounds | None:
    """Interval of the largest |mean gap|: from the simultaneous intervals of the largest and the smallest gap."""
    most, least = bootstrap.extreme_bounds(gaps), bootstrap.extreme_bounds(gaps, largest=False)
    if most is None or least is None:
        return None
    return max(most[0], -least[1], 0.0), max(most[1], -least[0]), most[2]


def area(gaps: np.ndarray, lam: np.ndarray, absolute: bool) -> np.ndarray:
    """Return the area under gaps, (replicates, λ), by trapezoids; each one's absolute value if asked."""
    pieces = (gaps[:, :-1] + gaps[:, 1:]) / 2 * np.diff(lam)
    return (np.abs(pieces) if absolute else pieces).sum(axis=1)
