"""Re-trained runs beside the published rows of the same conditions: final errors, and epoch by epoch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from dualgrad.census.load import Census
from dualgrad.replicate.rows import MEASURES, Row
from dualgrad.tables.read import made, read_tables

LEVEL = 0.95
KEYS = ("experiment", "condition", "dataset", "precision")
# Columns of replication.parquet -> what they mean.
FINAL = {
    "edition": "edition of the re-trained runs, or several with commas",
    "experiment": "experiment",
    "condition": "factor levels but for the seed, as JSON",
    "dataset": "data set that the runs were trained on",
    "precision": "arithmetic of the re-trained runs",
    "n_published": "published runs",
    "mean_published": "their mean final error, a fraction",
    "sd_published": "its standard deviation between runs",
    "low_published": "lowest published error",
    "high_published": "highest published error",
    "n": "whole re-trained runs",
    "mean": "their mean final error",
    "sd": "its standard deviation between runs",
    "difference": "mean re-trained minus mean published",
    "difference_low": "lower end of its 95 % interval (Welch)",
    "difference_high": "upper end",
    "inside": "whether the mean of the re-trained runs lies within the published runs' range",
    "n_pairs": "pairs of a published and a re-trained run of one seed",
    "paired": "mean difference within these pairs",
    "paired_low": "lower end of its 95 % interval (t)",
    "paired_high": "upper end",
}
# Columns of epochs.parquet.
EPOCHS = {
    **{name: FINAL[name] for name in ("edition", *KEYS)},
    "measure": "error, loss (training, noisy labels), cosine or norm (of the mixed gradient)",
    "epoch": "epochs done",
    "n_published": "published runs with this measure",
    "mean_published": "their mean",
    "low_published": "their lowest value",
    "high_published": "their highest value",
    "reference": "value of the release's notebook code on the same data, seed 0, where there is one",
    "n": "re-trained runs with this measure",
    "mean": "their mean",
    "low": "their lowest value",
    "high": "their highest value",
    "inside": "how many of them lie within the published runs' range",
}
_RELEASED = {"error": ("trajectories", "test_error"), **{k: v for k, v in MEASURES.items() if k != "error"}}


def condition_of(factors: Mapping[str, Any]) -> str:
    """Return a run's condition: its factor levels but for the seed, as JSON."""
    return json.dumps({key: level for key, level in factors.items() if key != "seed"}, sort_keys=True)


def published_rows(released: Path, experiments: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the published runs by name: final error and measures by epoch, from the ingested edition's tables.

    Raises:
        TableError: a table is damaged or of another version.
    """
    there = made(released, experiments, ("runs", "trajectories", "epochs"))
    if not there:
        return {}
    runs = read_tables(released, there, "runs")
    found: dict[str, dict[str, Any]] = {
        f"{one.experiment}/{one.run}": {"error_final": _number(one.test_error)}
        | {measure: {} for measure in MEASURES}
        for one in runs.itertuples()
    }
    for measure, (table, column) in _RELEASED.items():
        rows = read_tables(released, there, table)
        first = rows.groupby(["experiment", "run"])["stage"].transform("first")
        rows = rows[(rows["stage"] == first) & (rows["epoch"] > 0) & rows[column].notna()]
        for experiment, run, epoch, value in zip(
            rows["experiment"], rows["run"], rows["epoch"], rows[column], strict=True
        ):
            found[f"{experiment}/{run}"][measure][int(epoch)] = float(value)
    return found


def _number(value: Any) -> float:
    return float("nan") if value is None or pd.isna(value) else float(value)


def conditions(rows: Sequence[Row], census: Census) -> dict[tuple[str, ...], list[Row]]:
    """Group re-trained runs by :data:`KEYS`, in the order of the census.

    First epochs are those of the whole run, so runs of several editions stand together. A run of which several have
    records counts once, with the most epochs.
    """
    longest: dict[tuple[str, str, str], Row] = {}
    for row in sorted(rows, key=lambda row: (row.max_epochs is None, len(row.error))):
        longest[row.name, row.dataset, row.precision] = row
    place = {name: number for number, name in enumerate(census.runs)}
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in sorted(longest.values(), key=lambda row: place[row.name]):
        condition = condition_of(census.runs[row.name]["factors"])
        groups.setdefault((row.experiment, condition, row.dataset, row.precision), []).append(row)
    return groups


def _head(key: Sequence[str], rows: Sequence[Row]) -> dict[str, str]:
    return {"edition": ", ".join(sorted({row.edition for row in rows})), **dict(zip(KEYS, key, strict=True))}


def members_of(census: Census, experiment: str, condition: str) -> list[str]:
    """Return the names of the published runs of a condition."""
    names = census.experiments[experiment]["runs"]
    return [name for name in names if condition_of(census.runs[name]["factors"]) == condition]


def final(rows: Sequence[Row], published: Mapping[str, Mapping[str, Any]], census: Census) -> pd.DataFrame:
    """Compare the final errors of whole runs, condition by condition (columns: :data:`FINAL`)."""
    found = []
    for key, group in conditions(rows, census).items():
        whole = [row for row in group if row.max_epochs is None and row.test_error is not None]
        mine = {row.name: row.test_error for row in whole}
        if not mine:
            continue
        theirs = {
            name: published[name]["error_final"]
            for name in members_of(census, key[0], key[1])
            if name in published and not np.isnan(published[name]["error_final"])
        }
        a, b = np.array(list(theirs.values())), np.array(list(mine.values()))
        difference = (b.mean() - a.mean()) if len(a) else np.nan
        low, high = welch(a, b)
        pairs = np.array([mine[name] - theirs[name] for name in mine if name in theirs])
        paired_low, paired_high = one_sample(pairs)
        found.append(
            _head(key, whole)
            | {
                "n_published": len(a),
                "mean_published": a.mean() if len(a) else np.nan,
                "sd_published": a.std(ddof=1) if len(a) > 1 else np.nan,
                "low_published": a.min() if len(a) else np.nan,
                "high_published": a.max() if len(a) else np.nan,
                "n": len(b),
                "mean": b.mean(),
                "sd": b.std(ddof=1) if len(b) > 1 else np.nan,
                "difference": difference,
                "difference_low": low,
                "difference_high": high,
                "inside": bool(a.min() <= b.mean() <= a.max()) if len(a) else None,
                "n_pairs": len(pairs),
                "paired": pairs.mean() if len(pairs) else np.nan,
                "paired_low": paired_low,
                "paired_high": paired_high,
            }
        )
    return pd.DataFrame(found, columns=list(FINAL))


def welch(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Return Welch's 95 % interval of mean(b) - mean(a); NaN where a side has fewer than two values or no spread."""
    if min(len(a), len(b)) < 2 or a.std() + b.std() == 0:
        return np.nan, np.nan
    interval = stats.ttest_ind(b, a, equal_var=False).confidence_interval(LEVEL)
    return float(interval.low), float(interval.high)


def one_sample(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % t interval of a mean; NaN for fewer than two values or no spread."""
    if len(values) < 2 or values.std() == 0:
        return np.nan, np.nan
    interval = stats.ttest_1samp(values, 0.0).confidence_interval(LEVEL)
    return float(interval.low), float(interval.high)


def by_epoch(
    rows: Sequence[Row],
    published: Mapping[str, Mapping[str, Any]],
    census: Census,
    references: Mapping[tuple[str, str, str, int], float],
) -> pd.DataFrame:
    """Compare measures epoch by epoch, where both have them (columns: :data:`EPOCHS`).

    Args:
        rows: re-trained runs.
        published: as :func:`published_rows` returns them.
        census: the census as published.
        references: (data set, EXPERIMENT/RUN, measure, epoch) -> value of other code on the same data.
    """
    found = []
    for key, group in conditions(rows, census).items():
        theirs = [published[name] for name in members_of(census, key[0], key[1]) if name in published]
        for measure in MEASURES:
            epochs = sorted({epoch for row in group for epoch in getattr(row, measure)})
            for epoch in epochs:
                a = np.array([one[measure][epoch] for one in theirs if epoch in one[measure]])
                b = np.array(
                    [getattr(row, measure)[epoch] for row in group if epoch in getattr(row, measure)]
                )
                if not len(a):
                    continue
                known = [references.get((row.dataset, row.name, measure, epoch)) for row in group]
                found.append(
                    _head(key, group)
                    | {
                        "measure": measure,
                        "epoch": epoch,
                        "n_published": len(a),
                        "mean_published": a.mean(),
                        "low_published": a.min(),
                        "high_published": a.max(),
                        "reference": next((one for one in known if one is not None), np.nan),
                        "n": len(b),
                        "mean": b.mean(),
                        "low": b.min(),
                        "high": b.max(),
                        "inside": int(((b >= a.min()) & (b <= a.max())).sum()),
                    }
                )
    return pd.DataFrame(found, columns=list(EPOCHS))


def not_trained(rows: Sequence[Row], census: Census) -> dict[str, tuple[int, int]]:
    """Return, for each counted experiment, how many of its runs are whole here, and how many it has."""
    whole = {row.name for row in rows if row.max_epochs is None}
    return {
        name: (sum(run in whole for run in one["runs"]), len(one["runs"]))
        for name, one in census.experiments.items()
        if one["counted"]
    }
