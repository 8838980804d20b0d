"""How many epochs a run needs to get below an error level, and whether that grows towards the boundary.

Convergence epoch at level y: the first epoch (1-based) with a test error below y (strict), from evaluations
after every epoch; null for a run that never gets there. At 0.20 it is the recorded `convergence_epoch` of K.

Means are over the runs that converge; the note counts those that do not (censored at the last epoch). Slowing
is measured without them: Spearman's rank correlation of λ and convergence epoch over all runs, censored ones
ranked last; interval and p value by the jackknife over seeds, which have a run at every λ. `before_first_drop` is
the share of converging runs that do so before the learning rate falls (after epoch 50): where it is 0, the schedule
sets the epoch.

Sources: FIGURES.md, Figure 1d and Extended Data 4; config/claims.yaml, conclusion 6; I-P.md#K.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from dualgrad.estimators import bootstrap
from dualgrad.estimators.correlation import spearman
from dualgrad.estimators.units import bounds_of, of_correlation
from dualgrad.statistics.layout import Quantity, Sheet
from dualgrad.tables.edition import Tables
from dualgrad.tables.schema import FLOAT64, Column

LEVELS = (0.20, 0.30, 0.40)

KEYS = (
    Column("noise_rate", FLOAT64, "label-noise rate η", "fraction"),
    Column("lam", FLOAT64, "λ; null for what is said of all λ together"),
    Column("error_level", FLOAT64, "error level", "fraction"),
)

QUANTITIES = {
    "converged_share": Quantity("1", "share of runs that get below the level"),
    "mean_epoch": Quantity("epochs", "mean convergence epoch of the runs that get there"),
    "sd_epoch": Quantity("epochs", "its population standard deviation"),
    "min_epoch": Quantity("epochs", "earliest"),
    "max_epoch": Quantity("epochs", "latest of those that get there"),
    "before_first_drop": Quantity("1", "share of them before the learning rate first falls"),
    "rank_correlation": Quantity(
        "1", "Spearman's ρ of λ and convergence epoch, runs that never get there last"
    ),
    "slowing_ratio": Quantity(
        "1", "mean epoch at the highest λ at which all runs converge over that at the lowest λ"
    ),
}


def compute(tables: Tables) -> pd.DataFrame:
    """Return convergence epochs by noise rate, λ and level."""
    sheet = Sheet(tables.edition, KEYS, QUANTITIES)
    runs = tables.runs("K")
    path = tables.trajectories("K", stage="main")
    for level in LEVELS:
        below = path[path["test_error"] < level]
        first = below.groupby("run")["epoch"].min()
        epochs = runs["run"].map(first)
        for eta, rows in runs.assign(first=epochs).groupby("noise_rate"):
            keys = {"experiment": "K", "noise_rate": eta, "error_level": level}
            for lam, cell in rows.groupby("lam"):
                _cell(
                    sheet,
                    {**keys, "lam": lam},
                    cell["first"].to_numpy(dtype=float),
                    next(iter(tables.lr_drops("K")), None),
                )
            _slowing(sheet, keys, rows)
    return sheet.frame()


def _cell(sheet: Sheet, keys: dict, epochs: np.ndarray, first_drop: int | None) -> None:
    n = len(epochs)
    reached = epochs[~np.isnan(epochs)]
    late = n - len(reached)
    note = f"{late} of {n} runs never get below the level (censored)" if late else None
    bounds = bootstrap.exact_bounds(len(reached), n)
    sheet.add("converged_share", len(reached) / n, n, bounds=bounds, **keys)
    some = len(reached) > 0
    keys["note"] = note
    bounds = bootstrap.mean_bounds(reached) if some else None
    sheet.add("mean_epoch", reached.mean() if some else None, len(reached), bounds=bounds, **keys)
    sheet.add("sd_epoch", bootstrap.spread(reached) if some else None, len(reached), **keys)
    sheet.add("min_epoch", reached.min() if some else None, len(reached), **keys)
    sheet.add("max_epoch", reached.max() if some else None, len(reached), **keys)
    early = (reached <= first_drop).mean() if some and first_drop else None
    sheet.add("before_first_drop", early, len(reached), **keys)


def _slowing(sheet: Sheet, keys: dict, rows: pd.DataFrame) -> None:
    lam = rows["lam"].to_numpy(dtype=float)
    epochs = rows["first"].to_numpy(dtype=float)
    reached = ~np.isnan(epochs)
    last = np.where(reached, epochs, np.inf)
    n, note = len(rows), None
    units = np.unique(rows["seed"].to_numpy())
    if reached.any() and not reached.all():
        note = f"{n - reached.sum()} of {n} runs never get below the level and rank last"
    if not reached.any() or len(set(last)) < 2:
        why = (
            "no run gets below the level" if not reached.any() else "all runs need the same number of epochs"
        )
        for quantity in ("rank_correlation", "slowing_ratio"):
            sheet.add(quantity, None, len(units), note=why, runs=n, **keys)
        return
    rho = spearman(lam, last)
    seeds = rows["seed"].to_numpy()
    found = of_correlation(rho, np.array([spearman(lam[seeds != one], last[seeds != one]) for one in units]))
    bounds = None if np.isnan(found.low) else (found.low, found.high, found.how)
    more = {**keys, "note": note, "runs": n}
    sheet.add("rank_correlation", rho, len(units), bounds=bounds, p_value=found.p_value, **more)
    whole = [level for level in np.unique(lam) if reached[lam == level].all()]
    if len(whole) < 2 or whole[0] != lam.min():
        why = "all runs converge at fewer than two λ, or not at the lowest"
        sheet.add("slowing_ratio", None, len(units), note=why, runs=n, **keys)
        return
    first, final = (rows[lam == level].set_index("seed")["first"] for level in (whole[0], whole[-1]))
    both = pd.concat([first, final], axis=1).dropna().to_numpy(dtype=float)
    size = len(both)
    left = (both.sum(axis=0) - both) / max(size - 1, 1)
    sheet.add(
        "slowing_ratio",
        both[:, 1].mean() / both[:, 0].mean(),
        size,
        bounds=bounds_of(both[:, 1].mean() / both[:, 0].mean(), left[:, 1] / left[:, 0])
        if size > 1
        else None,
        runs=2 * size,
        note=f"λ = {whole[-1]:g} over λ = {whole[0]:g}",
        **keys,
    )
