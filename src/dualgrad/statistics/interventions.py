"""What changes when a state or a schedule is set by hand: W2's jumps, Q2's schedules, the cosines of I and L.

W2: two starting states of one seed jump to the same λ; gap = error of the collapsed start - error of the
ordered one. Three seeds at three λ are nine gaps but three independent ones: `nine` rows treat them as nine (as
printed), `seeds` rows average over λ first and use Student's interval over three seeds.

Q2: two schedules that end at the same λ, compared at equal λ, epoch and learning rate: difference = mean error
after the quench - mean error of the fixed schedule, paired by seed (Student). `separated` is 1 if every run of one
side is above every run of the other. `collapse_rule` applies T1's rule (error >= 0.40 in five epochs in a row) to the
epochs after the jump at epoch 30.

I, L: the value direction has a set cosine to the structure gradient (I) or to the clean one (L); r is Pearson's
over runs, `cosine_range` the largest minus the smallest cell mean, `monotone` 1 if the cell means never turn.

Sources: FIGURES.md, Figure 3d; config/claims.yaml, conclusions 7, 8 and 12; Td-W.md#W2; Q-R.md#Q2;
I-P.md#I, I-P.md#L.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from dualgrad.estimators import bootstrap
from dualgrad.estimators.correlation import pearson
from dualgrad.estimators.survival import stays
from dualgrad.estimators.units import of_correlation
from dualgrad.statistics.layout import Quantity, Sheet
from dualgrad.tables.edition import Tables
from dualgrad.tables.schema import FLOAT64, STRING, Column

PAIRS = (
    ("quench_to_collapse", "fixed_collapse"),
    ("quench_to_ordered", "fixed_ordered"),
)
JUMP = 30  # epochs before Q2's quench
RULE = (0.40, 5)

KEYS = (
    Column("noise_rate", FLOAT64, "label-noise rate η", "fraction"),
    Column("lam", FLOAT64, "target λ (W2), mixing weight (I, L); null: all together"),
    Column("schedule", STRING, "schedule of Q2"),
    Column("against", STRING, "schedule it is compared with"),
    Column("epoch", FLOAT64, "epoch of the errors (Q2)", "epochs"),
    Column("rows", STRING, "W2: nine (seed and λ) or seeds (averaged over λ)"),
)

QUANTITIES = {
    "gap": Quantity("fraction", "W2: mean gap after the jump"),
    "gap_sd": Quantity("fraction", "W2: its standard deviation: population for nine, n - 1 for seeds"),
    "gap_max": Quantity("fraction", "W2: largest gap"),
    "start_gap": Quantity("fraction", "W2: mean gap of the starting states"),
    "gap_change": Quantity("fraction", "W2: mean gap after the jump minus mean gap before, paired by seed"),
    "gap_kept": Quantity("1", "W2: mean gap after over mean gap before"),
    "difference": Quantity("fraction", "Q2: mean error of schedule minus mean error of against"),
    "separated": Quantity("1", "Q2: 1 if every run of one schedule is above every run of the other"),
    "recovered_share": Quantity("1", "Q2: share of the schedule's runs that end below 0.30"),
    "error_before_jump": Quantity("fraction", "Q2: mean error at epoch 30"),
    "error_after_jump": Quantity("fraction", "Q2: mean error at epoch 31"),
    "collapse_rule": Quantity("1", "Q2: share of runs for which T1's rule fires after epoch 30"),
    "cosine_effect": Quantity("fraction", "I, L: mean error at the lowest cosine minus that at the highest"),
    "cosine_range": Quantity("fraction", "I, L: largest minus smallest mean error over the cosines"),
    "cosine_correlation": Quantity("1", "I, L: Pearson's r of cosine and error over runs"),
    "monotone": Quantity("1", "I, L: 1 if the mean errors rise or fall throughout"),
}


def compute(tables: Tables) -> pd.DataFrame:
    """Return the effects of jumps, schedules and cosines."""
    sheet = Sheet(tables.edition, KEYS, QUANTITIES)
    _jumps(sheet, tables.runs("W2"))
    _schedules(sheet, tables)
    for experiment in ("I", "L"):
        _cosines(sheet, experiment, tables.runs(experiment))
    return sheet.frame()


# ------------------------------------------------------------------------------------------------- W2


def _jumps(sheet: Sheet, runs: pd.DataFrame) -> None:
    gaps = runs[runs["lam"].notna() & runs["final_gap"].notna()] if len(runs) else runs
    if gaps.empty:
        sheet.add("gap", None, 0, experiment="W2")
        return
    keys = {"experiment": "W2", "noise_rate": gaps["noise_rate"].min()}
    note = "seeds enter once per λ, as printed: no interval; see the rows of seeds"
    values = gaps["final_gap"].to_numpy(dtype=float)
    nine = {**keys, "rows": "nine"}
    seeds, nine = gaps["seed"].nunique(), {**nine, "runs": len(values)}
    sheet.add("gap", values.mean(), seeds, note=note, **nine)
    sheet.add("gap_sd", values.std(), seeds, note=note, **nine)
    sheet.add("gap_max", values.max(), seeds, **nine)
    for lam, rows in gaps.groupby("lam"):
        values = rows["final_gap"].to_numpy(dtype=float)
        at = {**keys, "lam": lam, "rows": "seeds"}
        bounds, p_value = bootstrap.t_bounds(values)
        sheet.add("gap", values.mean(), len(values), bounds=bounds, p_value=p_value, **at)
        sheet.add("gap_sd", values.std(ddof=1) if len(values) > 1 else None, len(values), **at)
        sheet.add("gap_max", values.max(), len(values), **at)
    after = gaps.groupby("seed")["final_gap"].mean()
    seeds = {**keys, "rows": "seeds"}
    bounds, p_value = bootstrap.t_bounds(after.to_numpy())
    sheet.add("gap", after.mean(), len(after), bounds=bounds, p_value=p_value, **seeds)
    sheet.add("gap_sd", after.std(ddof=1) if len(after) > 1 else None, len(after), **seeds)
    base = runs[runs["intervention"] == "base"].set_index("seed")
    before = (base["collapse_init_error"] - base["ordered_init_error"]).dropna()
    bounds, _ = bootstrap.t_bounds(before.to_numpy())
    value = before.mean() if len(before) else None
    sheet.add("start_gap", value, len(before), bounds=bounds, **seeds)
    both = after.index.intersection(before.index)
    if both.empty:
        for quantity in ("gap_change", "gap_kept"):
            sheet.add(quantity, None, 0, note="no seed has both starting states and a jump", **seeds)
        return
    change = (after[both] - before[both]).to_numpy(dtype=float)
    bounds, p_value = bootstrap.t_bounds(change, "paired t")
    sheet.add("gap_change", change.mean(), len(both), bounds=bounds, p_value=p_value, **seeds)
    at_first = before[both].mean()
    kept, why = (
        (after[both].mean() / at_first, None) if at_first else (None, "the starting states have no gap")
    )
    sheet.add("gap_kept", kept, len(both), note=why, **seeds)


# ------------------------------------------------------------------------------------------------- Q2


def _schedules(sheet: Sheet, tables: Tables) -> None:
    runs = tables.runs("Q2")
    path = tables.trajectories("Q2", stage="main")
    path = path.assign(schedule=path["run"].map(runs.set_index("run")["schedule_type"]))
    if path.empty:
        sheet.add("difference", None, 0, experiment="Q2")
        return
    last = path["epoch"].max()
    for eta, rows in path.groupby("noise_rate"):
        keys = {"experiment": "Q2", "noise_rate": eta}
        for schedule, against in PAIRS:
            for epoch in (50.0, last):
                at = rows[rows["epoch"] == epoch]
                first, second = (
                    at[at["schedule"] == name].set_index("seed")["test_error"].dropna()
                    for name in (schedule, against)
                )
                _compare(
                    sheet, {**keys, "schedule": schedule, "against": against, "epoch": epoch}, first, second
                )
        for schedule, mine in rows.groupby("schedule", sort=False):
            _after_jump(sheet, {**keys, "schedule": str(schedule)}, mine, last)


def _compare(sheet: Sheet, keys: dict, first: pd.Series, second: pd.Series) -> None:
    """Compare two schedules of the same seeds."""
    both = first.index.intersection(second.index)
    n = len(both)
    if n == 0:
        for quantity in ("difference", "separated"):
            sheet.add(quantity, None, 0, note="a schedule has no evaluation at this epoch", **keys)
        return
    keys = {**keys, "runs": 2 * n}
    apart = (first[both] - second[both]).to_numpy(dtype=float)
    bounds, p_value = bootstrap.t_bounds(apart, "paired t")
    sheet.add("difference", apart.mean(), n, bounds=bounds, p_value=p_value, **keys)
    separated = first.min() > second.max() or first.max() < second.min()
    sheet.add("separated", float(separated), n, **keys)


def _after_jump(sheet: Sheet, keys: dict, rows: pd.DataFrame, last: float) -> None:
    for quantity, epoch in (("error_before_jump", JUMP), ("error_after_jump", JUMP + 1)):
        values = rows.loc[rows["epoch"] == epoch, "test_error"].dropna().to_numpy(dtype=float)
        bounds = bootstrap.mean_bounds(values)
        sheet.add(quantity, values.mean() if len(values) else None, len(values), bounds=bounds, **keys)
    later = rows[rows["epoch"] > JUMP].sort_values(["run", "epoch"])
    fired = [rule_fires(group["test_error"].to_numpy(dtype=float)) for _, group in later.groupby("run")]
    n, hits = len(fired), sum(fired)
    sheet.add("collapse_rule", hits / n if n else None, n, bounds=bootstrap.exact_bounds(hits, n), **keys)
    ends = rows.loc[rows["epoch"] == last, "test_error"].dropna()
    hits, n = int((ends < 0.30).sum()), len(ends)
    sheet.add("recovered_share", hits / n if n else None, n, bounds=bootstrap.exact_bounds(hits, n), **keys)


def rule_fires(errors: np.ndarray) -> bool:
    """Return whether five errors in a row are at or above 0.40 (T1's collapse)."""
    level, length = RULE
    return bool(stays(errors >= level, length))


# ------------------------------------------------------------------------------------------------- I, L


def _cosines(sheet: Sheet, experiment: str, runs: pd.DataFrame) -> None:
    rows = runs.dropna(subset=["test_error", "cos_target"])
    if rows.empty:
        sheet.add("cosine_range", None, 0, experiment=experiment)
        return
    keys = {"experiment": experiment, "noise_rate": rows["noise_rate"].min()}
    n = rows["seed"].nunique()
    cells = rows.groupby(["lam", "cos_target"])["test_error"].mean()
    sheet.add("cosine_range", cells.max() - cells.min(), n, runs=len(rows), **keys)
    _correlation(sheet, keys, rows)
    for lam, mine in rows.groupby("lam"):
        at = {**keys, "lam": lam}
        n, size = mine["seed"].nunique(), len(mine)
        means = mine.groupby("cos_target")["test_error"].mean()
        first, last = (
            mine[mine["cos_target"] == cosine].set_index("seed")["test_error"]
            for cosine in (means.index.min(), means.index.max())
        )
        apart = (first - last).dropna().to_numpy(dtype=float)
        bounds, p_value = bootstrap.t_bounds(apart, "paired t")
        value = apart.mean() if len(apart) else None
        sheet.add(
            "cosine_effect", value, len(apart), bounds=bounds, p_value=p_value, runs=2 * len(apart), **at
        )
        sheet.add("cosine_range", means.max() - means.min(), n, runs=size, **at)
        _correlation(sheet, at, mine)
        steps = np.diff(means.to_numpy())
        sheet.add("monotone", float((steps > 0).all() or (steps < 0).all()), n, runs=size, **at)


def _correlation(sheet: Sheet, keys: dict, rows: pd.DataFrame) -> None:
    x, y = (rows[name].to_numpy(dtype=float) for name in ("cos_target", "test_error"))
    n = len(rows)
    if n < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        why = "fewer than three runs, or cosines or errors that do not vary"
        sheet.add("cosine_correlation", None, rows["seed"].nunique(), runs=n, note=why, **keys)
        return
    seeds = rows["seed"].to_numpy()
    units = np.unique(seeds)
    r = pearson(x, y)
    left = np.array([pearson(x[seeds != one], y[seeds != one]) for one in units])
    found = of_correlation(r, left)
    bounds = None if np.isnan(found.low) else (found.low, found.high, found.how)
    sheet.add("cosine_correlation", r, len(units), bounds=bounds, p_value=found.p_value, runs=n, **keys)
