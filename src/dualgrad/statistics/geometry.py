"""Cosines of structure and value gradient, along sweeps, over training, and by what a run ends as.

- W1 (fresh value gradient, lr 0.001): mean over runs of the logged means at each λ, by branch; difference H - L
  for all runs (as printed; the branches' seeds differ) and for the seeds that both branches have.
- Td1 (fresh, logged every 20 steps): mean over runs of the runs' means over epochs `epoch_from` to `epoch_to`,
  for runs that end trapped (error >= 0.85) and the others. `mix_cosine`: cosine of mixed and fresh value
  gradient by the age of the cached value gradient in steps (step mod 16): what is logged depends on it.
  `mix_norm_residual`: largest |recorded norm - sqrt((1-λ)² + λ² + 2 λ (1-λ) c)| where the value gradient is
  fresh, so that c is the cosine in use.
- Q4, Y1A (cached value gradient in Q4, fresh in Y1A): mean over runs of the epoch's mean cosine; `sign_change`
  is the first epoch from which the mean cosine is positive after being negative.
- M2, M3 (cached, mean over training): mean over runs at each λ, and where it crosses zero.

Rows of Q4 without a noise rate put both together (published Extended Data 6b).

Sources: FIGURES.md, Figure 4b, 4c, 5f, Extended Data 6b; config/claims.yaml; Td-W.md#Td1, Td-W.md#W1;
Q-R.md#Q4.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from dualgrad.estimators import bootstrap
from dualgrad.estimators.curves import last_crossing
from dualgrad.estimators.units import bounds_of
from dualgrad.statistics.facts import trap_level
from dualgrad.statistics.layout import Quantity, Sheet
from dualgrad.tables.edition import Tables
from dualgrad.tables.schema import FLOAT64, STRING, Column

PERIOD = 16  # steps between refreshes of the cached value gradient (Td1)

KEYS = (
    Column("noise_rate", FLOAT64, "label-noise rate η; null: both", "fraction"),
    Column("lam", FLOAT64, "λ"),
    Column("branch", STRING, "ordered or collapse (W1)"),
    Column("group", STRING, "phase label (Q4), trapped or untrapped (Td1), seeds compared (W1)"),
    Column("epoch_from", FLOAT64, "first epoch (1-based) of the mean", "epochs"),
    Column("epoch_to", FLOAT64, "last epoch of the mean", "epochs"),
    Column("cache_age", FLOAT64, "age of the cached value gradient", "steps"),
)

QUANTITIES = {
    "cosine": Quantity("cosine", "mean over runs of the mean cosine of structure and value gradient"),
    "cosine_difference": Quantity("cosine", "W1: H branch minus L branch"),
    "mix_cosine": Quantity(
        "cosine", "Td1: mean over runs of the mean cosine of mixed and fresh value gradient"
    ),
    "mix_norm_residual": Quantity(
        "1", "Td1: largest deviation of the mixed gradient's norm from its formula"
    ),
    "sign_change": Quantity("epochs", "first epoch with a positive mean cosine after a negative one"),
    "lowest_epoch": Quantity("epochs", "epoch with the lowest mean cosine"),
    "zero_crossing": Quantity("lambda", "M2, M3: λ where the mean cosine crosses zero upwards"),
}


def compute(tables: Tables) -> pd.DataFrame:
    """Return cosines of all experiments that log them for this."""
    sheet = Sheet(tables.edition, KEYS, QUANTITIES)
    _branches(sheet, tables)
    _trapped(sheet, tables)
    _phases(sheet, tables)
    _text(sheet, tables)
    for experiment in ("M2", "M3"):
        _along_lambda(sheet, experiment, tables.runs(experiment))
    return sheet.frame()


def _mean(sheet: Sheet, quantity: str, values: np.ndarray, keys: dict) -> None:
    """Append the mean over runs of one value per run."""
    values = values[~np.isnan(values)]
    bounds = bootstrap.mean_bounds(values)
    sheet.add(quantity, values.mean() if len(values) else None, len(values), bounds=bounds, **keys)


# ------------------------------------------------------------------------------------------------- W1


def _branches(sheet: Sheet, tables: Tables) -> None:
    rows = tables.geometry("W1")
    if rows.empty:
        sheet.add("cosine", None, 0, experiment="W1")
        return
    keys = {"experiment": "W1", "noise_rate": rows["noise_rate"].min()}
    table = {
        branch: rows[rows["branch"] == branch].pivot_table(
            index="seed", columns="lam", values="cos_struct_value_mean"
        )
        for branch in ("ordered", "collapse")
    }
    for branch, cosines in table.items():
        for lam in cosines.columns:
            at = {**keys, "lam": lam, "branch": branch}
            _mean(sheet, "cosine", cosines[lam].to_numpy(dtype=float), at)
    low, high = table["ordered"], table["collapse"]
    common = sorted(set(low.index) & set(high.index))
    for lam in sorted(set(low.columns) & set(high.columns)):
        at = {**keys, "lam": lam}
        first, second = (side[lam].dropna().to_numpy(dtype=float) for side in (high, low))
        bounds = bootstrap.difference_bounds(first, second)
        n = min(len(first), len(second))
        value = first.mean() - second.mean() if n else None
        sheet.add("cosine_difference", value, n, bounds=bounds, group="all seeds", **at)
        paired = (high.loc[common, lam] - low.loc[common, lam]).dropna().to_numpy(dtype=float)
        bounds = bootstrap.t_bounds(paired, "paired t")[0]
        note = None if len(paired) else "the branches have no seed in common"
        value = paired.mean() if len(paired) else None
        sheet.add("cosine_difference", value, len(paired), bounds=bounds, group="same seeds", note=note, **at)


# ------------------------------------------------------------------------------------------------- Td1


def _trapped(sheet: Sheet, tables: Tables) -> None:
    steps, runs = tables.steps("Td1"), tables.runs("Td1")
    if steps.empty:
        sheet.add("cosine", None, 0, experiment="Td1", note="no logged steps")
        return
    ends = runs.set_index("run")["test_error"] >= trap_level(tables.num_classes("Td1"))
    group = steps["run"].map(ends).map({True: "trapped", False: "untrapped"})
    steps = steps.assign(group=group, age=steps["step"] % PERIOD)
    last = int(steps["epoch"].max()) + 1
    keys = {"experiment": "Td1", "noise_rate": steps["noise_rate"].min(), "lam": steps["lam"].min()}
    for name in ("trapped", "untrapped"):
        mine = steps[steps["group"] == name]
        for start, stop in ((1, last), (31, 50), (last, last)):
            window = mine[(mine["epoch"] + 1).between(start, stop)]
            values = window.groupby("run")["cos_struct_value"].mean().to_numpy(dtype=float)
            at = {**keys, "group": name, "epoch_from": start, "epoch_to": stop}
            _mean(sheet, "cosine", values, at)
    for age, rows in steps.groupby("age"):
        values = rows.groupby("run")["cos_mix_value"].mean().to_numpy(dtype=float)
        _mean(sheet, "mix_cosine", values, {**keys, "cache_age": age})
    fresh = steps[steps["age"] == 0]
    lam, cosine = fresh["lam"], fresh["cos_struct_value"]
    expected = np.sqrt((1 - lam) ** 2 + lam**2 + 2 * lam * (1 - lam) * cosine)
    residual = (fresh["norm_mix"] - expected).abs()
    sheet.add(
        "mix_norm_residual",
        residual.max(),
        fresh["run"].nunique(),
        note=f"over {len(fresh)} logged steps",
        cache_age=0,
        **keys,
    )


# ------------------------------------------------------------------------------------------------- Q4, Y1A


def _phases(sheet: Sheet, tables: Tables) -> None:
    rows, runs = tables.epochs("Q4"), tables.runs("Q4")
    if rows.empty:
        sheet.add("cosine", None, 0, experiment="Q4")
        return
    rows = rows.assign(group=rows["run"].map(runs.set_index("run")["phase_label"]))
    last = rows["epoch"].max()
    for group, mine in rows.groupby("group", sort=False):
        for eta, part in [(None, mine), *mine.groupby("noise_rate")]:
            keys = {"experiment": "Q4", "noise_rate": eta, "group": str(group)}
            if eta is not None:
                keys["lam"] = part["lam"].min()
            for epoch in (1.0, 33.0, last):
                values = part.loc[part["epoch"] == epoch, "cos_mean"].to_numpy(dtype=float)
                _mean(sheet, "cosine", values, {**keys, "epoch_from": epoch, "epoch_to": epoch})
            values = part.groupby("run")["cos_mean"].mean().to_numpy(dtype=float)
            _mean(sheet, "cosine", values, {**keys, "epoch_from": 1, "epoch_to": last})
            _turns(sheet, keys, part)


def _text(sheet: Sheet, tables: Tables) -> None:
    rows = tables.epochs("Y1A")
    if rows.empty:
        sheet.add("cosine", None, 0, experiment="Y1A")
        return
    keys = {"experiment": "Y1A", "noise_rate": rows["noise_rate"].min(), "lam": rows["lam"].min()}
    for epoch, part in rows.groupby("epoch"):
        _mean(
            sheet,
            "cosine",
            part["cos_mean"].to_numpy(dtype=float),
            {**keys, "epoch_from": epoch, "epoch_to": epoch},
        )
    _turns(sheet, keys, rows)


def _turns(sheet: Sheet, keys: dict, rows: pd.DataFrame) -> None:
    """Append where the mean cosine is lowest and where it becomes positive."""
    mean = rows.groupby("epoch")["cos_mean"].mean().dropna()
    n = rows["run"].nunique()
    if mean.empty:
        for quantity in ("lowest_epoch", "sign_change"):
            sheet.add(quantity, None, n, **keys)
        return
    sheet.add("lowest_epoch", mean.idxmin(), n, **keys)
    turns = (mean > 0) & (mean.shift() <= 0)
    at = mean.index[turns.to_numpy()]
    note = None if len(at) else "the mean cosine never turns from negative to positive"
    sheet.add("sign_change", at[0] if len(at) else None, n, note=note, **keys)


# ------------------------------------------------------------------------------------------------- M2, M3


def _along_lambda(sheet: Sheet, experiment: str, runs: pd.DataFrame) -> None:
    rows = runs.dropna(subset=["avg_cos"])
    if rows["lam"].nunique() < 2:
        sheet.add("cosine", None, len(rows), experiment=experiment)
        return
    keys = {"experiment": experiment, "noise_rate": rows["noise_rate"].min()}
    for level, part in rows.groupby("lam"):
        _mean(sheet, "cosine", part["avg_cos"].to_numpy(dtype=float), {**keys, "lam": level})
    table = rows.pivot_table(index="seed", columns="lam", values="avg_cos")
    grid = table.columns.to_numpy(dtype=float)
    value = last_crossing(grid, table.mean().to_numpy()[None], 0.0)[0]
    without = np.stack([table.drop(index=seed).mean().to_numpy() for seed in table.index])
    bounds = bounds_of(float(value), last_crossing(grid, without, 0.0)) if len(table) > 1 else None
    note = None
    if not np.isfinite(value):
        note = f"the mean cosine stays {'negative' if value > 0 else 'positive'} over the grid"
    sheet.add("zero_crossing", value, len(table), bounds=bounds, runs=len(rows), note=note, **keys)
