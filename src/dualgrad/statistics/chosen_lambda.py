"""What choosing λ on the test set adds: the gain at the best λ, against an honest choice.

The published gain takes, at each noise rate, the λ with the lowest mean test error, and quotes that mean (at η =
0.4): the same errors choose and report. An honest choice leaves a seed out, chooses λ on the other seeds and reports
the left-out one; the mean over seeds is `honest_error`. `optimism` is honest minus chosen: what choosing on the
reported errors adds. The test set itself still chooses (there are no validation errors in the released rows); the
target `controls` trains with a validation split. Seeds that have every λ are taken,
three or more of them.

Sources: A-G.md#A; FIGURES.md, Figure 1b.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from dualgrad.estimators import bootstrap
from dualgrad.statistics.curves import CURVE_COLUMNS, CURVE_KEYS, SPLIT
from dualgrad.statistics.layout import Quantity, Sheet
from dualgrad.tables.edition import Tables

KEYS = (*CURVE_COLUMNS,)

QUANTITIES = {
    "chosen_lambda": Quantity("lambda", "λ with the lowest mean error over all seeds"),
    "chosen_error": Quantity("fraction", "mean error there, as published"),
    "honest_error": Quantity("fraction", "mean over seeds of the error at the λ that the other seeds choose"),
    "optimism": Quantity("fraction", "honest_error minus chosen_error"),
    "choices": Quantity("1", "number of different λ that the leave-one-out choices name"),
}


def compute(tables: Tables) -> pd.DataFrame:
    """Return chosen and honest errors of all curves."""
    sheet = Sheet(tables.edition, KEYS, QUANTITIES)
    runs = tables.runs()
    runs = runs[runs["lam"] > 0].dropna(subset=["test_error"])
    for experiment, rows in runs.groupby("experiment", sort=False):
        split = [name for name in SPLIT if rows[name].notna().any()]
        for levels, group in rows.groupby(split, sort=False, dropna=False):
            known = dict(zip(split, levels, strict=True))
            keys = {name: known[name] for name in CURVE_KEYS if _given(known.get(name))}
            if group["lam"].nunique() >= 3:
                _add(sheet, {"experiment": str(experiment), **keys}, group)
    if not len(sheet):
        sheet.add("chosen_error", None, 0, experiment="A", note="no curves")
    return sheet.frame()


def _given(value: object) -> bool:
    return value is not None and value == value


def _add(sheet: Sheet, keys: dict, rows: pd.DataFrame) -> None:
    if rows.duplicated(["lam", "seed"]).any():
        return  # factors without a column: not one curve
    table = rows.pivot(index="seed", columns="lam", values="test_error").dropna()
    n = len(table)
    if n < 3:
        why = f"{n} seeds have all λ; leaving one out needs three"
        for quantity in QUANTITIES:
            sheet.add(quantity, None, n, note=why, **keys)
        return
    errors, lam = table.to_numpy(dtype=float), table.columns.to_numpy(dtype=float)
    chosen, honest, places = leave_one_out(errors)
    sheet.add("chosen_lambda", lam[chosen], n, **keys)
    at = errors[:, chosen]
    sheet.add("chosen_error", at.mean(), n, bounds=bootstrap.mean_bounds(at), **keys)
    sheet.add("honest_error", honest.mean(), n, bounds=bootstrap.mean_bounds(honest), **keys)
    sheet.add("optimism", honest.mean() - at.mean(), n, **keys)
    sheet.add("choices", len(set(places.tolist())), n, **keys)


def leave_one_out(errors: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Return the column of the lowest mean, each row's error where the other rows are lowest, and those columns.

    Args:
        errors: (seeds, λ).
    """
    total = errors.sum(axis=0)
    places = (total - errors).argmin(axis=1)
    return int(total.argmin()), errors[np.arange(len(errors)), places], places
