"""How many runs stay in a state after λ has jumped, with exact intervals.

T1a and T13: trained at λ = 0.35, then observed at the target λ; the event is a collapse (error >= 0.40 five
epochs in a row). Only runs whose start passed the gate (error <= 0.30) are at risk; `failed_starts` counts the
others. A run that diverges in the epoch of the jump was never observed and is not at risk either; one that diverges
later counts in `survival_at_horizon` and the hazard for as long as it was seen, and not in the share. With no event
in n runs the exact 95 % interval still reaches down to (0.025)^(1/n). The hazard is events per epoch at risk, its
interval the exact Poisson one, χ²-quantiles over twice the exposure.
`survival_at_horizon` is Kaplan-Meier's.

The jump and the fall of the learning rate to a tenth come in the same epoch: `error_before` and `error_after`
are the mean errors on either side. `from_scratch_*`: runs of S1 trained at the same λ from the start.

X4 (text): the share of runs with an error above 0.50 (strict) after each epoch.

Sources: FIGURES.md, Figure 3a and Extended Data 8; config/claims.yaml, conclusion 7; S-T.md#3; X-Y.md#X4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import gammaincinv

from dualgrad.estimators import bootstrap
from dualgrad.estimators.correlation import spearman
from dualgrad.estimators.survival import kaplan_meier, settled
from dualgrad.estimators.units import of_correlation
from dualgrad.statistics.layout import Quantity, Sheet
from dualgrad.tables.edition import Tables
from dualgrad.tables.schema import FLOAT64, Column

CHANCE = 0.50

KEYS = (
    Column("noise_rate", FLOAT64, "label-noise rate η", "fraction"),
    Column("lam", FLOAT64, "λ of the observation"),
    Column("epoch", FLOAT64, "epoch of a share; horizon of a survival", "epochs"),
)

QUANTITIES = {
    "survival_share": Quantity(
        "1", "share of runs that reach the horizon without event; diverged ones left out"
    ),
    "survivors": Quantity("runs", "their number"),
    "survival_at_horizon": Quantity("1", "Kaplan-Meier survival at the horizon"),
    "hazard": Quantity("1/epoch", "events per epoch at risk"),
    "failed_starts": Quantity("runs", "runs whose start did not pass the gate; not at risk"),
    "error_before": Quantity("fraction", "mean error at the end of the start, runs at risk"),
    "error_after": Quantity("fraction", "mean error one epoch after the jump"),
    "error_last": Quantity("fraction", "mean error at the last evaluation"),
    "largest_error": Quantity("fraction", "largest error of any run at risk after the jump"),
    "from_scratch_low": Quantity("1", "share of S1 runs at this λ that end at or below 0.20"),
    "from_scratch_high": Quantity("1", "share of S1 runs at this λ that end at or above 0.40"),
    "above_chance_share": Quantity("1", "share of runs with an error above 0.50 after this epoch"),
    "ever_below_chance": Quantity("1", "share of runs with an error below 0.50 after some epoch"),
    "drift": Quantity("1", "Spearman's ρ of epoch and the runs' mean error; interval: jackknife over runs"),
}


def compute(tables: Tables) -> pd.DataFrame:
    """Return survival and shares."""
    sheet = Sheet(tables.edition, KEYS, QUANTITIES)
    for experiment in ("T1a", "T13"):
        _jump(sheet, experiment, tables)
    _text(sheet, tables)
    return sheet.frame()


def _jump(sheet: Sheet, experiment: str, tables: Tables) -> None:
    runs = tables.runs(experiment)
    keys: dict[str, Any] = {"experiment": experiment}
    if runs.empty:
        sheet.add("survival_share", None, 0, **keys)
        return
    keys |= {"noise_rate": runs["noise_rate"].min(), "lam": runs["target_lambda"].min()}
    passed = runs["init_success"].eq(True)
    # A run that diverged in the epoch of the jump has a life of 0 epochs: nobody saw whether it survives.
    risk = runs[passed & (runs["lifetime"] > 0)]
    n = len(risk)
    sheet.add("failed_starts", int((~passed).sum()), len(runs), **keys)
    if n == 0:
        why = "no run was seen after the jump" if passed.any() else "no start passed the gate"
        for quantity in ("survival_share", "survivors", "survival_at_horizon", "hazard"):
            sheet.add(quantity, None, 0, note=why, **keys)
    else:
        life = risk["lifetime"].to_numpy(dtype=float)
        event = risk["event"].eq(True).to_numpy()
        horizon, events = float(life.max()), int(event.sum())
        at: dict[str, Any] = {**keys, "epoch": horizon}
        known = int(settled(life, event).sum())
        bounds = bootstrap.exact_bounds(known - events, known)
        sheet.add("survival_share", (known - events) / known, known, bounds=bounds, **at)
        sheet.add("survivors", known - events, known, **at)
        sheet.add(
            "survival_at_horizon",
            float(kaplan_meier(life, event).share[-1]),
            n,
            bounds=None if events or known < n else bounds,
            **at,
        )
        exposure = float(life.sum())
        sheet.add("hazard", events / exposure, n, bounds=_poisson(events, exposure), **at)
    path = tables.trajectories(experiment, stage="observe")
    path = path[path["run"].isin(risk["run"])]
    after = path[path["stage_epoch"] > 0]
    last = after.groupby("run")["stage_epoch"].transform("max")
    picks = {
        "error_before": path[path["stage_epoch"] == 0],
        "error_after": after[after["stage_epoch"] == 1],
        "error_last": after[after["stage_epoch"] == last],
    }
    for quantity, rows in picks.items():
        values = rows["test_error"].dropna().to_numpy(dtype=float)
        bounds = bootstrap.mean_bounds(values)
        sheet.add(quantity, values.mean() if len(values) else None, len(values), bounds=bounds, **keys)
    sheet.add("largest_error", after["test_error"].max() if len(after) else None, n, **keys)
    scratch = tables.runs("S1")
    scratch = scratch[np.isclose(scratch["lam"], keys["lam"])]["test_error"].dropna()
    for quantity, hit in (("from_scratch_low", scratch <= 0.20), ("from_scratch_high", scratch >= 0.40)):
        hits, size = int(hit.sum()), len(scratch)
        share = hits / size if size else None
        sheet.add(quantity, share, size, bounds=bootstrap.exact_bounds(hits, size), **keys)


def _poisson(events: int, exposure: float) -> bootstrap.Bounds:
    """Exact interval of a rate: χ² quantiles, here as gamma quantiles, over the exposure."""
    low = gammaincinv(events, 0.025) / exposure if events else 0.0
    return float(low), float(gammaincinv(events + 1, 0.975) / exposure), "exact Poisson"


def _text(sheet: Sheet, tables: Tables) -> None:
    path = tables.trajectories("X4", stage="main")
    if path.empty:
        sheet.add("above_chance_share", None, 0, experiment="X4")
        return
    for lam, rows in path.groupby("lam"):
        keys: dict[str, Any] = {"experiment": "X4", "noise_rate": rows["noise_rate"].min(), "lam": lam}
        table = rows.pivot_table(index="run", columns="epoch", values="test_error")
        errors, epochs, n = table.to_numpy(dtype=float), table.columns.to_numpy(dtype=float), len(table)
        for at, epoch in enumerate(epochs):
            hits = int((errors[:, at] > CHANCE).sum())
            bounds = bootstrap.exact_bounds(hits, n)
            sheet.add("above_chance_share", hits / n, n, bounds=bounds, epoch=epoch, **keys)
        hits = int((errors < CHANCE).any(axis=1).sum())
        sheet.add("ever_below_chance", hits / n, n, bounds=bootstrap.exact_bounds(hits, n), **keys)
        left = (errors.sum(axis=0) - errors) / max(n - 1, 1)
        # Means that are equal must not differ by their rounding: they are ties.
        means = np.round(np.vstack([errors.mean(axis=0), left]), 12)
        rho = np.array([spearman(epochs, one) for one in means])
        found = of_correlation(rho[0], rho[1:])
        bounds = None if np.isnan(found.low) else (found.low, found.high, found.how)
        sheet.add("drift", rho[0], n, bounds=bounds, p_value=found.p_value, **keys)
