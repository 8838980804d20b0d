"""One model of error over λ across experiments: where the boundary lies, and what moves it from run to run.

Image trainings from scratch that differ in λ and seed (ResNet-18, width 1, learning rate 0.1, oracle value labels),
of all experiments that have them, one noise rate at a time, at and beyond the λ with the lowest mean error:

    error = floor + (ceiling - floor) / (1 + exp(-(λ - m - a - b - c - d) / w)) + e

with shifts a of the experiment (M1's two executions count as two), b of the seed, the same in all experiments, c of
the seed within an experiment, d of the single run; e is what is left where the curve is flat. The experiments have
four protocols (own ResNet-18 or torchvision's, scale of the inputs, incomplete batches or not, noise drawn with the
seed or with seed + 1000), which a takes up. A seed is the same where noisy labels and initial weights are: seed 3 of
A and of S1 are two. The curve by generalised least squares, the spreads by restricted maximum likelihood
(dualgrad.estimators.hierarchy), with Student's quantile over seeds: intervals from the profile likelihood, of the
single run's from the jackknife of its logarithm; p values that a shift is none from likelihood ratios (the
experiment's: Cochran's Q). No interval where none was found that covers: spreads of five seeds or fewer, that of e,
which hangs on the few runs where the curve is flat, that of a, from few experiments, and the share of the single run.

`seed_share` is b² / (b² + c² + d²), `run_share` d² over the same: how much of the shift from run to run a seed
carries through all experiments, and how much comes anew with every run. Seeds are taken that two experiments or more
have: single runs do not tell a seed from a run.

What it leaves out: single runs that die early (errors at the ceiling within the grid) count as what is left; the
ceiling is given; there are few experiments to tell the spread of a.

Sources: config/claims.yaml, conclusions about the variance and the boundary; docs/specification/contract.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dualgrad.estimators import bootstrap
from dualgrad.estimators.hierarchy import Hierarchy, fit
from dualgrad.statistics.layout import Quantity, Sheet
from dualgrad.statistics.sources import COMMON_TRAINING, SAME_SEED
from dualgrad.tables.edition import Tables
from dualgrad.tables.schema import FLOAT64, INT64, Column

PROFILE = "profile likelihood"

KEYS = (
    Column("noise_rate", FLOAT64, "label-noise rate η", "fraction"),
    Column("experiments", INT64, "experiments taken together; M1's two executions have shifts of their own"),
    Column("lambda_from", FLOAT64, "first λ that is taken"),
)

QUANTITIES = {
    "middle": Quantity("lambda", "m: where the boundary of a typical experiment and seed lies"),
    "width": Quantity("lambda", "w; from 12 % to 88 % of the rise takes 4 w"),
    "floor": Quantity("fraction", "lowest error"),
    **{
        f"{name}_sd": Quantity("lambda", f"standard deviation of the shift {what}; p value that it is none")
        for name, what in (
            ("experiment", "of the experiment (a)"),
            ("seed", "of the seed in all experiments (b)"),
            ("seed_in_experiment", "of the seed within an experiment (c)"),
            ("run", "of the single run (d)"),
        )
    },
    "rest_sd": Quantity("fraction", "standard deviation of e"),
    "seed_share": Quantity("1", "share of the shifts' variance that a seed carries through all experiments"),
    "run_share": Quantity("1", "share that comes anew with every run"),
}


def compute(tables: Tables) -> pd.DataFrame:
    """Return the model of each noise rate that two experiments or more have."""
    sheet = Sheet(tables.edition, KEYS, QUANTITIES)
    runs = common_runs(tables)
    ceiling = 1.0 - 1.0 / tables.num_classes(next(iter(COMMON_TRAINING)))
    for eta, rows in runs.groupby("noise_rate"):
        if rows["part"].nunique() > 1:
            _add(sheet, eta, rows, ceiling)
    if not len(sheet):
        sheet.add("middle", None, 0, note="no noise rate has two experiments")
    return sheet.frame()


def common_runs(tables: Tables) -> pd.DataFrame:
    """Return the runs of the same training in all experiments: `part` numbers experiments, `seed` is by SAME_SEED."""
    parts = []
    for experiment, where in COMMON_TRAINING.items():
        rows = tables.runs(experiment)
        for column, level in where.items():
            rows = rows[rows[column] == level]
        parts.append(rows[(rows["lam"] > 0) & rows["test_error"].notna()])
    runs = pd.concat(parts)
    execution = runs["experiment"] + runs["replicate"].fillna(0).astype(int).astype(str)
    seed = runs["experiment"].map(SAME_SEED).astype(str) + "/" + runs["seed"].astype(str)
    return runs.assign(part=pd.factorize(execution)[0], seed=pd.factorize(seed)[0])


def _add(sheet: Sheet, eta: Any, runs: pd.DataFrame, ceiling: float) -> None:
    uses = runs.groupby("seed")["part"].nunique()
    runs = runs[runs["seed"].isin(uses.index[uses > 1])]
    if runs.empty:
        sheet.add("middle", None, 0, note="no two experiments have a seed in common", noise_rate=eta)
        return
    means = runs.groupby("lam")["test_error"].mean()
    runs = runs[runs["lam"] >= means.idxmin()]
    n = int(runs["seed"].nunique())
    keys: dict[str, Any] = {
        "experiment": "+".join(dict.fromkeys(runs["experiment"])),
        "noise_rate": eta,
        "experiments": int(runs["experiment"].nunique()),
        "lambda_from": float(means.idxmin()),
        "runs": len(runs),
    }
    lam, error, part, seed = (
        runs[name].to_numpy(dtype=float) for name in ("lam", "test_error", "part", "seed")
    )
    try:
        found = fit(lam, error, part, seed, ceiling)
    except np.linalg.LinAlgError:  # runs that no boundary of this kind could have given
        sheet.add("middle", None, n, note="the model cannot be fitted to these runs", **keys)
        return
    if found is None:
        sheet.add("middle", None, n, note="fewer than two experiments, three seeds or four λ", **keys)
        return
    for quantity, value, bounds, p_value in quantities(found):
        sheet.add(quantity, value, n, bounds=bounds, p_value=p_value, **keys)


def quantities(found: Hierarchy) -> list[tuple[str, float, bootstrap.Bounds | None, float | None]]:
    """Return (quantity, value, interval, p value) of a fit."""
    rows: list[tuple[str, float, bootstrap.Bounds | None, float | None]] = []
    tails = [(1 - bootstrap.LEVEL) / 2, (1 + bootstrap.LEVEL) / 2]
    for name in ("middle", "width", "floor"):
        low, high = (float(end) for end in np.quantile(found.draws[name], tails))
        rows.append((name, getattr(found, name), (low, high, "asymptotic normal"), None))
    rows.append(("experiment_sd", found.experiment, None, found.p_values["experiment"]))
    for name, spread in found.spreads.items():
        how = bootstrap.JACKKNIFE if name == "run" else PROFILE
        rows.append((f"{name}_sd", spread, _bounds(found.ends.get(name), how), found.p_values[name]))
    rows.append(("rest_sd", found.rest, None, None))
    for name, (share, ends) in found.shares.items():
        rows.append((f"{name}_share", share, _bounds(ends, PROFILE), None))
    return rows


def _bounds(ends: tuple[float, float] | None, how: str) -> bootstrap.Bounds | None:
    return (*ends, how) if ends else None
