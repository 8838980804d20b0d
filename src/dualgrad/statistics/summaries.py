"""Every condition in numbers: mean, spread and range over its seeds.

A condition is one combination of all factors of an experiment but the seed (and the slot that stands for one:
Tb2's ranks, Td2's traps, positions of Tg and W1); `condition` spells it out. From `runs`: every recorded
outcome. From `trajectories`, `epochs` and `geometry`: every evaluation, epoch and λ of the runs, at the same
stage, branch, segment and epoch.

mean: Σ x / n. sd: sqrt(Σ (x - mean)² / n) (population, as in the published figures). Interval of the
mean: Student's below eight runs, expanded bootstrap percentiles (1000 resamples) from there on; of the sd: jackknife
of its logarithm, none for five runs or fewer. A condition none of whose runs has a value has a row with n = 0.

Sources: the check numbers of all protocol parts (A-G.md#5, I-P.md#4, Q-R.md#4, S-T.md#12, Td-W.md#6, X-Y.md#5).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from dualgrad.estimators import bootstrap
from dualgrad.statistics.layout import NO_DATA, Quantity, columns_of
from dualgrad.tables.edition import Tables
from dualgrad.tables.schema import FLOAT64, STRING, Column, columns

RESAMPLES = 1000
CHUNK = 4096

# Factors that number the repetitions of a condition.
REPETITIONS = ("seed", "slot")
OUTCOMES = (
    *("test_error", "best_error", "best_epoch", "test_loss", "init_error", "lifetime", "threshold_lambda"),
    *("first_crossing_lambda", "final_lambda", "convergence_epoch", "avg_cos", "avg_gmix_norm", "first_cos"),
    *("first_gmix_norm", "cos_actual", "cos_struct_clean", "lr_scale", "ordered_init_error"),
    *("collapse_init_error", "ordered_final_error", "collapse_final_error", "final_gap", "improvement"),
    *("collapse_lambda", "seconds"),
)
FIELDS = {
    "runs": OUTCOMES,
    "trajectories": ("test_error", "test_loss"),
    "epochs": (
        "cos_mean",
        "loss_struct",
        "loss_value",
        "norm_struct",
        "norm_value",
        "norm_mix",
        "cos_mix_value",
    ),
    "geometry": (
        *(
            "cos_struct_value_mean",
            "cos_mix_value_mean",
            "norm_struct_mean",
            "norm_value_mean",
            "norm_mix_mean",
        ),
        *("loss_struct_mean", "loss_value_mean"),
    ),
}
PLACE = ("stage", "branch", "direction", "segment", "lam", "epoch", "stage_epoch")
FACTORS = (
    *("width_mult", "lr", "model", "method", "clean_ratio", "cos_target", "replicate", "schedule_type"),
    *("hold_type", "intervention"),
)
KEYS = (
    Column("condition", STRING, "the condition's factor levels, as name=level"),
    Column("noise_rate", FLOAT64, "label-noise rate η", "fraction"),
    Column("lam", FLOAT64, "λ of the run, or in force at that place; null where λ changes"),
    *(
        Column(
            name,
            columns("runs")[name].type if name != "replicate" else FLOAT64,
            columns("runs")[name].meaning,
        )
        for name in FACTORS
    ),
    Column("table", STRING, "table that the field comes from"),
    Column("stage", STRING, "stage (not of runs)"),
    Column("branch", STRING, "ordered or collapse, of the run or of the stage"),
    Column("direction", STRING, "up or down, where λ is swept"),
    Column("segment", FLOAT64, "0-based stretch of one λ within the stage"),
    Column("epoch", FLOAT64, "epochs done in the session", "epochs"),
    Column("stage_epoch", FLOAT64, "epochs done in the stage", "epochs"),
    Column("field", STRING, "column that is summarised"),
)

QUANTITIES = {
    "mean": Quantity("", "arithmetic mean over runs"),
    "sd": Quantity("", "population standard deviation over runs"),
    "min": Quantity("", "smallest value"),
    "max": Quantity("", "largest value"),
}


def compute(tables: Tables) -> pd.DataFrame:
    """Return the summaries of all conditions, experiments in census order."""
    runs = with_conditions(tables.runs())
    names = [column.name for column in columns_of(KEYS)]
    parts = [part for table in FIELDS for part in _table(tables, table, runs)]
    whole = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if len(whole):
        rank = {name: number for number, name in enumerate(tables.experiments)}
        whole = whole.iloc[np.argsort(whole["experiment"].map(rank).to_numpy(), kind="stable")]
    whole["edition"] = tables.edition
    return whole.reindex(columns=names).reset_index(drop=True)


def with_conditions(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with a column ``condition``: their factor levels but the seed and the slot."""
    texts = {}
    for factors in runs["factors"].unique():
        levels = json.loads(factors) if factors else {}
        texts[factors] = spelt({name: level for name, level in levels.items() if name not in REPETITIONS})
    return runs.assign(condition=runs["factors"].map(texts))


def spelt(levels: Mapping[str, Any]) -> str:
    """Return levels as ``name=level``, those that there are."""
    return " ".join(
        f"{name}={level:g}" if isinstance(level, float) else f"{name}={level}"
        for name, level in levels.items()
        if level is not None
    )


def _table(tables: Tables, table: str, runs: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield one table's summaries, field by field, for all experiments together."""
    place: tuple[str, ...] = ()
    if table == "runs":
        rows = runs
        shown = ["experiment", "condition", "noise_rate", "lam", *FACTORS, "branch"]
    else:
        keys, whole = ["experiment", "run"], tables.table(table)
        place = tuple(name for name in PLACE if name in whole)
        rows = whole[[*keys, "noise_rate", *place, *FIELDS[table]]].merge(
            runs[[*keys, "condition", *FACTORS]], on=keys, how="inner"
        )
        shown = ["experiment", "condition", "noise_rate", *FACTORS, *place]
    if rows.empty:
        return
    number = (
        rows.groupby(["experiment", "condition", "noise_rate", *place], dropna=False, sort=False)
        .ngroup()
        .to_numpy()
    )
    heads = rows.iloc[np.unique(number, return_index=True)[1]][shown].reset_index(drop=True)
    if table == "runs":
        same = rows.groupby(number)["lam"].nunique(dropna=False).to_numpy() == 1
        heads["lam"] = heads["lam"].where(same)
    heads = heads.assign(table=table)
    for field in FIELDS[table]:
        values = rows[field].to_numpy(dtype=float)
        used = set(rows["experiment"][~np.isnan(values)])
        if table == "runs" and field == "test_error":
            used = set(heads["experiment"])
        if used:
            kept = np.flatnonzero(heads["experiment"].isin(used))
            yield _field(heads, kept, field, _groups(values, number, len(heads)), columns(table)[field].unit)


def _field(
    heads: pd.DataFrame, kept: np.ndarray, field: str, groups: list[np.ndarray], unit: str
) -> pd.DataFrame:
    """One field's four quantities for the kept groups; a condition's rows stand together."""
    results = _summarise([groups[i] for i in kept])
    count = len(QUANTITIES)
    rows = heads.iloc[np.repeat(kept, count)].assign(field=field)
    rows["quantity"] = np.tile(list(QUANTITIES), len(kept))
    rows["value"] = np.stack([results[name] for name in QUANTITIES], axis=1).ravel()
    rows["unit"] = "lambda" if field in _LAMBDAS else unit or "1"
    none = np.full(len(kept), np.nan)
    for end in ("low", "high"):
        rows[end] = np.stack([results.get(f"{name}_{end}", none) for name in QUANTITIES], axis=1).ravel()
    bounded = ~np.isnan(rows["low"].to_numpy())
    rows["level"] = np.where(bounded, bootstrap.LEVEL, np.nan)
    rows["n"] = np.repeat(results["n"], count)
    means = np.where(rows["n"] < bootstrap.SMALL, "t", bootstrap.BOOTSTRAP)
    methods = np.where(rows["quantity"] == "mean", means, bootstrap.JACKKNIFE)
    rows["interval"] = [str(method) if one else None for method, one in zip(methods, bounded, strict=True)]
    rows["p_value"] = rows["p_holm"] = np.nan
    rows["runs"] = rows["n"]
    rows["note"] = [None if n else NO_DATA for n in rows["n"]]
    return rows


_LAMBDAS = ("threshold_lambda", "first_crossing_lambda", "final_lambda", "collapse_lambda")


def _groups(values: np.ndarray, number: np.ndarray, count: int) -> list[np.ndarray]:
    """Known values of each group, ascending (so that the order of rows does not matter)."""
    known = ~np.isnan(values)
    values, number = values[known], number[known]
    order = np.lexsort((values, number))
    ends = np.cumsum(np.bincount(number, minlength=count))
    return np.split(values[order], ends[:-1])


def _summarise(groups: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Mean, sd, min, max, n and intervals of all groups; groups of equal size are one matrix product."""
    sizes = np.array([len(group) for group in groups])
    names = ("mean", "sd", "min", "max", "mean_low", "mean_high", "sd_low", "sd_high")
    result = {name: np.full(len(groups), np.nan) for name in names}
    for n in np.unique(sizes[sizes > 0]):
        places = np.flatnonzero(sizes == n)
        shares = bootstrap.weights(bootstrap.generator("summaries", n), int(n), RESAMPLES) if n > 1 else None
        for start in range(0, len(places), CHUNK):
            at = places[start : start + CHUNK]
            data = np.stack([groups[i] for i in at])
            mean = data.mean(axis=1)
            apart = data - mean[:, None]
            equal = data[:, 0] == data[:, -1]
            result["mean"][at] = np.where(equal, data[:, 0], mean)
            result["sd"][at] = np.where(equal, 0.0, np.sqrt((apart**2).mean(axis=1)))
            result["min"][at], result["max"][at] = data[:, 0], data[:, -1]
            if shares is None:
                continue
            if n < bootstrap.SMALL:
                half = stdtrit(n - 1, (1 + bootstrap.LEVEL) / 2) * data.std(axis=1, ddof=1) / np.sqrt(n)
                low, high = mean - half, mean + half
            else:
                low, high = _ends(apart @ shares.T + mean[:, None], int(n))
            result["mean_low"][at] = np.where(equal, data[:, 0], low)
            result["mean_high"][at] = np.where(equal, data[:, 0], high)
            if n > bootstrap.LEAST_FOR_SPREAD:
                with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                    low, high = bootstrap.sd_ends(data)
                result["sd_low"][at] = np.where(equal, np.nan, low)
                result["sd_high"][at] = np.where(equal, np.nan, high)
    result["n"] = sizes
    return result


def _ends(draws: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The outer order statistics of each row, as :func:`bootstrap.percentile` of n runs takes them."""
    tail = bootstrap.tail_of(n)
    count = draws.shape[1]
    low, high = int(np.ceil(tail * count)) - 1, int(np.ceil((1 - tail) * count)) - 1
    ordered = np.partition(draws, (low, high), axis=1)
    return ordered[:, low], ordered[:, high]
