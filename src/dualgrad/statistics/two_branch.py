"""Gaps between a branch started from a low-error state and one started from a collapsed state, at equal λ.

gap(λ) = mean error of the high branch (H, collapse start) - mean error of the low branch (L, ordered start).
Which seeds enter changes it, so every gap comes in up to three selections:

- `all`: every run of the sweeps, as drawn in the published figures.
- `matched`: the same seeds on both branches (Ta, Tb1: those that all six sweeps have).
- `untrapped`: matched, without seeds whose H branch is at the error of a constant predictor at every λ.

Intervals: where both branches have the same seeds, whole seeds are drawn (paired bootstrap), else each branch's
runs on their own (bootstrap). `max_gap` is the largest gap of the mean curves; its interval takes each
replicate's largest. V2's branches of one loop seed have different noisy labels (seeds s and s + 100) and are
paired by loop seed.

Sources: FIGURES.md, Figure 2b, 2c, 4d and Extended Data 1; config/claims.yaml, conclusion 9; S-T.md#6 to #8;
Td-W.md#V1, Td-W.md#V4 and W1. (W2's jumps: interventions.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dualgrad.estimators import bootstrap
from dualgrad.statistics.facts import trap_level
from dualgrad.statistics.layout import Quantity, Sheet
from dualgrad.statistics.sources import TWO_BRANCH
from dualgrad.tables.edition import Tables, level_of
from dualgrad.tables.schema import FLOAT64, INT64, STRING, Column

REFERENCE = 0.50  # λ at which the published gaps are quoted

KEYS = (
    Column("noise_rate", FLOAT64, "label-noise rate η", "fraction"),
    Column("clean_ratio", FLOAT64, "trusted share of the training set (V2)", "fraction"),
    Column("hold_epochs", FLOAT64, "epochs per λ", "epochs"),
    Column("selection", STRING, "all, matched or untrapped seeds"),
    Column("seeds", STRING, "seeds of the L and of the H branch, / between them where they differ"),
    Column("lam", FLOAT64, "λ of a gap; of the largest or smallest gap"),
    Column("seed", INT64, "seed of a seed_gap"),
)

QUANTITIES = {
    "gap": Quantity("fraction", "mean error of H minus mean error of L at one λ"),
    "seed_gap": Quantity("fraction", f"one matched seed's H minus L at the λ nearest to {REFERENCE:g}"),
    "max_gap": Quantity("fraction", "largest gap over λ"),
    "min_gap": Quantity("fraction", "smallest gap over λ"),
    "mean_gap": Quantity("fraction", "mean gap over λ"),
    "trapped_seeds": Quantity("runs", "H runs at the error of a constant predictor at every λ"),
}


def compute(tables: Tables) -> pd.DataFrame:
    """Return the gaps of all two-branch experiments."""
    sheet = Sheet(tables.edition, KEYS, QUANTITIES)
    sweeps = {hold: _sweep_pair(tables, *names) for hold, names in TWO_BRANCH.items()}
    present = [set(branch.index) for pair in sweeps.values() for branch in pair.values()]
    common = set.intersection(*present)
    for hold, (low, high) in TWO_BRANCH.items():
        runs = tables.runs(low, high)
        name = low if low == high else f"{low}+{high}"
        keys = {
            "experiment": name,
            "noise_rate": _one(runs, "noise_rate"),
            "hold_epochs": _one(runs, "hold_epochs") or hold,
        }
        _add(sheet, keys, sweeps[hold], trap_level(tables.num_classes(low)), common)
    for experiment in ("V1", "V3", "V4", "Tb2", "W1"):
        pair = _sweep_pair(tables, "W1", "W1") if experiment == "W1" else _branch_pair(tables, experiment)
        runs = tables.runs(experiment)
        keys = {
            "experiment": experiment,
            "noise_rate": _one(runs, "noise_rate"),
            "hold_epochs": _one(runs, "hold_epochs"),
        }
        _add(sheet, keys, pair, trap_level(tables.num_classes(experiment)))
    runs = tables.runs("V2")
    for ratio, rows in runs.groupby("clean_ratio"):
        keys = {
            "experiment": "V2",
            "noise_rate": _one(rows, "noise_rate"),
            "clean_ratio": ratio,
            "hold_epochs": _one(rows, "hold_epochs"),
        }
        _add(sheet, keys, _loop_seed_pair(tables, rows), trap_level(tables.num_classes("V2")))
    if runs.empty:
        _add(
            sheet,
            {"experiment": "V2"},
            {"L": pd.DataFrame(), "H": pd.DataFrame()},
            trap_level(tables.num_classes("V2")),
        )
    return sheet.frame()


def _one(runs: pd.DataFrame, column: str) -> float | None:
    values = runs[column].dropna()
    return float(values.iloc[0]) if len(values) else None


def _pivot(rows: pd.DataFrame, index: str = "seed") -> pd.DataFrame:
    return rows.pivot_table(index=index, columns="lam", values="test_error").sort_index(axis=1)


def _sweep_pair(tables: Tables, low: str, high: str) -> dict[str, pd.DataFrame]:
    """Errors by seed and λ of the L and the H sweep."""
    pair = {}
    for branch, experiment, name in (("L", low, "ordered"), ("H", high, "collapse")):
        rows = tables.trajectories(experiment, stage="sweep")
        pair[branch] = _pivot(rows[rows["branch"] == name])
    return pair


def _branch_pair(tables: Tables, experiment: str) -> dict[str, pd.DataFrame]:
    """Errors by seed and λ of the two sweeps of runs that hold both branches."""
    return {
        branch: _pivot(tables.trajectories(experiment, stage=f"{name}_sweep"))
        for branch, name in (("L", "ordered"), ("H", "collapse"))
    }


def _loop_seed_pair(tables: Tables, runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """V2's errors by loop seed and λ."""
    rows = tables.trajectories("V2", stage="sweep")
    rows = rows[rows["run"].isin(runs["run"])]
    loop_seeds = dict(zip(runs["run"], level_of(runs, "seed"), strict=True))
    rows = rows.assign(loop_seed=rows["run"].map(loop_seeds))
    return {
        branch: _pivot(rows[rows["branch"] == name], "loop_seed")
        for branch, name in (("L", "ordered"), ("H", "collapse"))
    }


def _add(
    sheet: Sheet,
    keys: dict,
    pair: dict[str, pd.DataFrame],
    trap: float,
    common: set[float] | None = None,
) -> None:
    """Append the gaps of one experiment for all selections; ``common``: seeds that count as matched."""
    low, high = pair["L"], pair["H"]
    if common is None:
        common = set(low.index) & set(high.index)
    trapped = {seed for seed, row in high.iterrows() if len(row.dropna()) and (row.dropna() >= trap).all()}
    count = len(trapped) if len(high) else None
    shown = _seed_words(trapped) if trapped else None
    sheet.add(
        "trapped_seeds", count, len(high), seeds=shown, note=None if len(high) else "no H branch", **keys
    )
    selections: list[tuple[str, set, set]] = [("all", set(low.index), set(high.index))]
    selections.append(("matched", common & set(low.index), common & set(high.index)))
    free = (common & set(low.index) & set(high.index)) - trapped
    selections.append(("untrapped", free, free))
    for name, seeds_low, seeds_high in selections:
        words = _seed_words(seeds_low)
        if seeds_low != seeds_high:
            words += " / " + _seed_words(seeds_high)
        more = {**keys, "selection": name, "seeds": words}
        if not seeds_low or not seeds_high:
            note = f"no seed on the {'H' if len(low) else 'L'} branch"
            if len(low) and len(high):
                note = "no seed that all of these sweeps have"
            if name == "untrapped" and common & set(low.index) & set(high.index):
                note = "every matched seed is trapped on the H branch"
            for quantity in ("gap", "max_gap", "min_gap", "mean_gap"):
                sheet.add(quantity, None, 0, note=note, **more)
            continue
        _gaps(sheet, more, low.loc[sorted(seeds_low)], high.loc[sorted(seeds_high)])


def _seed_words(seeds: set[float]) -> str:
    return " ".join(f"{seed:.0f}" for seed in sorted(seeds))


def _gaps(sheet: Sheet, keys: dict, low: pd.DataFrame, high: pd.DataFrame) -> None:
    """Append gaps over λ, their extremes, and each seed's gap where seeds are paired."""
    lam = np.array(sorted(set(low.dropna(axis=1).columns) & set(high.dropna(axis=1).columns)))
    n = min(len(low), len(high))
    if len(lam) == 0:
        for quantity in ("gap", "max_gap", "min_gap", "mean_gap"):
            sheet.add(quantity, None, n, note="no λ has all evaluations on both branches", **keys)
        return
    below, above = low[lam].to_numpy(dtype=float), high[lam].to_numpy(dtype=float)
    mean = above.mean(axis=0) - below.mean(axis=0)
    paired = list(low.index) == list(high.index)

    def add(quantity: str, value: float, bounds: bootstrap.Bounds | None, **more: Any) -> None:
        sheet.add(quantity, value, n, bounds=bounds, **keys, **more)

    def apart(first: np.ndarray, second: np.ndarray) -> bootstrap.Bounds | None:
        if paired:
            return bootstrap.t_bounds(first - second, "paired t")[0]
        return bootstrap.welch_bounds(first, second)

    def extreme(largest: bool) -> bootstrap.Bounds | None:
        if paired:
            return bootstrap.extreme_bounds(above - below, largest=largest)
        return bootstrap.extreme_bounds(above, below, largest=largest)

    for i, level in enumerate(lam):
        add("gap", mean[i], apart(above[:, i], below[:, i]), lam=level)
    if keys["selection"] == "matched" and paired:
        at = int(np.abs(lam - REFERENCE).argmin())
        for seed, gap in zip(low.index, above[:, at] - below[:, at], strict=True):
            sheet.add("seed_gap", gap, 1, **keys, lam=lam[at], seed=seed)
    add("max_gap", mean.max(), extreme(True), lam=lam[mean.argmax()])
    add("min_gap", mean.min(), extreme(False), lam=lam[mean.argmin()])
    add("mean_gap", mean.mean(), apart(above.mean(axis=1), below.mean(axis=1)))
