"""Re-trained runs beside the published rows of the same conditions: final errors, by seed, and epoch by epoch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dualgrad.census.load import Census
from dualgrad.estimators.bootstrap import t_bounds
from dualgrad.estimators.spread import pitman_morgan
from dualgrad.estimators.units import of_two, of_values
from dualgrad.replicate.rows import MEASURES, Row
from dualgrad.tables.read import made, read_tables

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
    "mean_low": "lower end of its 95 % interval (t)",
    "mean_high": "upper end",
    "sd": "its standard deviation between runs",
    "inside": "how many re-trained runs lie within the published runs' range",
    "difference": "mean re-trained minus mean published",
    "difference_low": "lower end of its 95 % interval (Welch)",
    "difference_high": "upper end",
    "n_pairs": "pairs of a published and a re-trained run of one seed",
    "paired": "mean difference within these pairs",
    "paired_low": "lower end of its 95 % interval (t)",
    "paired_high": "upper end",
    "paired_p": "its p value, of no difference",
    "detectable": "smallest difference that these pairs would have shown with a power of 80 %",
}
_PAIRED = ("n_pairs", "paired", "paired_low", "paired_high", "paired_p", "detectable")
# Columns of seeds.parquet: conditions that differ in λ alone, which have the same seeds, taken together.
SEEDS = {
    **{name: FINAL[name] for name in ("edition", "experiment")},
    "condition": "factor levels but for seed and λ, as JSON",
    **{name: FINAL[name] for name in ("dataset", "precision")},
    "conditions": "conditions that are taken together",
    "n": "seeds with whole runs, published and re-trained",
    "difference": "mean over seeds of the mean over a seed's conditions: re-trained error minus published error",
    "difference_low": "lower end of its 95 % interval (t, n - 1 degrees of freedom)",
    "difference_high": "upper end",
    "equivalent_within": "smallest margin within which both are equal by two one-sided tests at 5 %",
    "detectable": "smallest difference that these seeds would have shown with a power of 80 %",
    "sd_published": "standard deviation between seeds of their mean deviation from the conditions' means, published",
    "sd": "the same, re-trained",
    "sd_p": "p value of equal standard deviations of pairs (Pitman and Morgan)",
    "lambda_from": "lowest λ of these conditions",
    "lambda_to": "highest λ",
    "n_change": "seeds with both",
    "change_published": "mean published error at the highest λ minus that at the lowest, of these seeds",
    "change_published_low": "lower end of its 95 % interval (t)",
    "change_published_high": "upper end",
    "change": "the same, re-trained",
    "change_low": "lower end of its 95 % interval (t)",
    "change_high": "upper end",
    "change_difference": "mean difference of the two, by seed",
    "change_difference_low": "lower end of its 95 % interval (t)",
    "change_difference_high": "upper end",
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
    **{name: FINAL[name] for name in _PAIRED},
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
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in longest(rows, census):
        condition = condition_of(census.runs[row.name]["factors"])
        groups.setdefault((row.experiment, condition, row.dataset, row.precision), []).append(row)
    return groups


def longest(rows: Sequence[Row], census: Census) -> list[Row]:
    """Return of each run, data set and arithmetic the row with the most epochs, in the order of the census."""
    found = {row.key: row for row in sorted(rows, key=lambda row: (row.max_epochs is None, len(row.error)))}
    place = {name: number for number, name in enumerate(census.runs)}
    return sorted(found.values(), key=lambda row: place[row.name])


def on_several_sets(rows: Sequence[Row], census: Census) -> list[tuple[int, list[Row]]]:
    """Return runs that were trained on more than one copy of what they were published on, in one arithmetic.

    Returns:
        For each the last epoch after which all of its rows were evaluated, and the rows.
    """
    alike: dict[tuple[str, str], list[Row]] = {}
    for row in longest(rows, census):
        if is_published_training(row, census):
            alike.setdefault((row.name, row.precision), []).append(row)
    common = [
        (set.intersection(*(set(row.error) for row in group)), group)
        for group in alike.values()
        if len(group) > 1
    ]
    return [(max(epochs), group) for epochs, group in common if epochs]


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
        whole = [row for row in group if row.max_epochs is None]
        mine = {row.name: float(row.test_error) for row in whole if row.test_error is not None}
        if not mine:
            continue
        theirs = {
            name: published[name]["error_final"]
            for name in members_of(census, key[0], key[1])
            if name in published and not np.isnan(published[name]["error_final"])
        }
        a, b = np.array(list(theirs.values())), np.array(list(mine.values()))
        apart, own = of_two(b, a), of_values(b)
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
                "mean_low": own.low,
                "mean_high": own.high,
                "sd": b.std(ddof=1) if len(b) > 1 else np.nan,
                "inside": int(((b >= a.min()) & (b <= a.max())).sum()) if len(a) else np.nan,
                "difference": apart.value,
                "difference_low": apart.low,
                "difference_high": apart.high,
            }
            | _pairs(mine, theirs)
        )
    return pd.DataFrame(found, columns=list(FINAL))


def _pairs(mine: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    """Return the columns of the differences between runs of one name."""
    one = of_values(np.array([mine[name] - theirs[name] for name in mine if name in theirs]))
    values = (one.n, one.value, one.low, one.high, one.p_value, one.detectable)
    return dict(zip(_PAIRED, values, strict=True))


def by_seed(rows: Sequence[Row], published: Mapping[str, Mapping[str, Any]], census: Census) -> pd.DataFrame:
    """Compare the final errors of whole runs over all λ at once (columns: :data:`SEEDS`).

    A seed has the same noise, trusted examples and initial weights at every λ, so conditions that differ in λ alone
    are no independent comparisons: the seed is the unit. A single condition has no line here.
    """
    curves: dict[tuple[str, ...], list[Row]] = {}
    for key, group in conditions(rows, census).items():
        rest = {name: level for name, level in json.loads(key[1]).items() if name != "lambda"}
        curves.setdefault((key[0], condition_of(rest), *key[2:]), []).extend(group)
    found = []
    for key, group in curves.items():
        whole = [row for row in group if row.max_epochs is None and row.test_error is not None]
        errors = [
            (factors.get("seed"), factors.get("lambda"), published[row.name]["error_final"], row.test_error)
            for row in whole
            if row.name in published
            for factors in [census.runs[row.name]["factors"]]
        ]
        table = pd.DataFrame(errors, columns=["seed", "lambda", "theirs", "mine"]).dropna()
        if table["lambda"].nunique() > 1:
            found.append(_head(key, whole) | _over_seeds(table))
    return pd.DataFrame(found, columns=list(SEEDS))


def _over_seeds(table: pd.DataFrame) -> dict[str, float]:
    sides = ["theirs", "mine"]
    seeds = (table["mine"] - table["theirs"]).groupby(table["seed"]).mean().to_numpy()
    difference = of_values(seeds)
    ends = t_bounds(seeds, level=0.9)[0]  # two one-sided tests at 5 % are the 90 % interval within the margin
    centred = table[sides] - table.groupby("lambda")[sides].transform("mean")
    apart = centred.groupby(table["seed"]).mean()
    values: dict[str, float] = {
        "conditions": table["lambda"].nunique(),
        "n": difference.n,
        "difference": difference.value,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "equivalent_within": np.nan if ends is None else max(-ends[0], ends[1]),
        "detectable": difference.detectable,
        "sd_published": apart["theirs"].std(),
        "sd": apart["mine"].std(),
        "sd_p": pitman_morgan(*(apart[side].to_numpy() for side in sides)),
        "lambda_from": table["lambda"].min(),
        "lambda_to": table["lambda"].max(),
    }
    wide = table.pivot(index="seed", columns="lambda", values=sides)
    changes = {side: wide[side][values["lambda_to"]] - wide[side][values["lambda_from"]] for side in sides}
    both = pd.DataFrame(changes).dropna()
    values["n_change"] = len(both)
    for name, change in (
        ("change_published", both["theirs"]),
        ("change", both["mine"]),
        ("change_difference", both["mine"] - both["theirs"]),
    ):
        one = of_values(change.to_numpy())
        values |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
    return values


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
        members = [name for name in members_of(census, key[0], key[1]) if name in published]
        for measure in MEASURES:
            epochs = sorted({epoch for row in group for epoch in getattr(row, measure)})
            for epoch in epochs:
                theirs = {
                    name: published[name][measure][epoch]
                    for name in members
                    if epoch in published[name][measure]
                }
                mine = {
                    row.name: getattr(row, measure)[epoch] for row in group if epoch in getattr(row, measure)
                }
                a, b = np.array(list(theirs.values())), np.array(list(mine.values()))
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
                    | _pairs(mine, theirs)
                )
    return pd.DataFrame(found, columns=list(EPOCHS))


def is_published_training(row: Row, census: Census) -> bool:
    """Return whether a run was trained on what the published one was: the published set, or another copy of it."""
    published = census.runs[row.name]["task"]["dataset"]
    trained = census.datasets.get(row.dataset)
    return row.dataset == published or (trained is not None and trained.copy_of == published)


def not_trained(rows: Sequence[Row], census: Census) -> dict[str, tuple[int, int]]:
    """Return, for each counted experiment, how many of its runs are whole here, and how many it has.

    A miniature on other data re-trains none of them.
    """
    whole = {row.name for row in rows if row.max_epochs is None and is_published_training(row, census)}
    return {
        name: (sum(run in whole for run in one["runs"]), len(one["runs"]))
        for name, one in census.experiments.items()
        if one["counted"]
    }
