"""Every condition in both editions: difference of means, distributions, equivalence, constant predictors.

A condition is one combination of all factors of an experiment but the seed and the slot that stands for one.

- difference = mean(second) - mean(first), with Welch's 95 % interval (unequal variances) and p value.
- ks: two-sample Kolmogorov-Smirnov statistic, the largest distance between the two distributions, with its p value.
- Equivalence: two one-sided Welch tests (TOST) of |difference| < margin; p is the larger of the two. Equivalent at
  the 5 % level means that the 90 % interval of the difference lies within the margin.
- constant: runs that end as constant predictors, with Fisher's exact p value of equal shares.
- p values are corrected for the number of conditions (Benjamini-Hochberg, ``…_bh``), each kind of test a family.
- outcome: equivalent (tost_bh below 0.05), "dead in both" instead where all runs of both sides end as constant
  predictors; else different (p_bh below 0.05); else inconclusive, which is no sign of agreement: ``high - low`` says
  what could hide there.

A condition with fewer than two runs on either side has a difference but no tests.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit
from scipy.stats import fisher_exact, ks_2samp

from dualgrad.compare.editions import Edition
from dualgrad.estimators.bootstrap import spread, welch
from dualgrad.estimators.families import benjamini_hochberg
from dualgrad.statistics.facts import constant_predictors

EQUIVALENT, DEAD, DIFFERENT, INCONCLUSIVE = OUTCOMES = (
    "equivalent",
    "dead in both",
    "different",
    "inconclusive",
)
MARGIN = 0.02
ALPHA = 0.05

# The main error; and for runs with two branches, that of the collapsed one.
FIELDS = ("test_error", "collapse_final_error")

_FAMILIES = {"p_value": "p_bh", "ks_p": "ks_bh", "tost_p": "tost_bh", "constant_p": "constant_bh"}

#: Column -> (unit, meaning), in order.
COLUMNS: Mapping[str, tuple[str, str]] = {
    "series": ("", "A-Q, R-W, X or Y"),
    "experiment": ("", "experiment as published"),
    "condition": ("", "factor levels but the seed, as name=level"),
    "noise_rate": ("fraction", "label-noise rate η"),
    "lam": ("", "λ of the runs, where they have a single one"),
    "field": ("", "test_error (last epoch), or collapse_final_error of runs with two branches"),
    "n_first": ("runs", "runs with a value in the first edition"),
    "mean_first": ("fraction", "their mean"),
    "sd_first": ("fraction", "their population standard deviation"),
    "n_second": ("runs", "runs with a value in the second edition"),
    "mean_second": ("fraction", "their mean"),
    "sd_second": ("fraction", "their population standard deviation"),
    "difference": ("fraction", "mean of the second minus mean of the first"),
    "low": ("fraction", "lower end of its 95 % interval (Welch)"),
    "high": ("fraction", "upper end"),
    "p_value": ("", "Welch's t test of no difference, two-sided"),
    "p_bh": ("", "the same, corrected for the number of conditions (Benjamini-Hochberg)"),
    "ks": ("", "two-sample Kolmogorov-Smirnov statistic"),
    "ks_p": ("", "its p value"),
    "ks_bh": ("", "the same, corrected"),
    "margin": ("fraction", "margin of the equivalence test"),
    "tost_p": ("", "p value of |difference| < margin (TOST)"),
    "tost_bh": ("", "the same, corrected"),
    "equivalent": ("", "tost_p below 0.05"),
    "outcome": ("", "equivalent, dead in both, different or inconclusive, by the corrected p values"),
    "constant_first": ("runs", "constant predictors in the first edition"),
    "constant_second": ("runs", "constant predictors in the second edition"),
    "constant_p": ("", "Fisher's exact test of equal shares of them"),
    "constant_bh": ("", "the same, corrected"),
    "note": ("", "what is missing"),
}


def compare(first: Edition, second: Edition, margin: float = MARGIN) -> pd.DataFrame:
    """Return the comparison of all conditions of either edition; the first one's come first, in census order."""
    sides = [_by_condition(edition) for edition in (first, second)]
    order = {key: rank for rank, key in enumerate(dict.fromkeys([*sides[0], *sides[1]]))}
    # Experiments that only the second edition has come after, not between, those of the first.
    rows = []
    for key in order:
        one, two = (side.get(key) for side in sides)
        experiment, condition, field = key
        head = sides[0].get(key) or sides[1][key]
        row = {
            "series": head["series"],
            "experiment": experiment,
            "condition": condition,
            "noise_rate": head["noise_rate"],
            "lam": head["lam"],
            "field": field,
            "margin": margin,
        }
        for name, side in (("first", one), ("second", two)):
            values = side["values"] if side is not None else np.array([])
            row[f"n_{name}"] = len(values)
            row[f"mean_{name}"] = values.mean() if len(values) else np.nan
            row[f"sd_{name}"] = spread(values) if len(values) else np.nan
            row[f"constant_{name}"] = side["constant"] if side is not None else 0
        if one is not None and two is not None and row["n_first"] and row["n_second"]:
            row |= _tests(one["values"], two["values"], margin)
            row |= _constants(one, two)
        else:
            missing = [
                edition.name for edition, n in ((first, row["n_first"]), (second, row["n_second"])) if not n
            ]
            row["note"] = f"no value in {' and '.join(missing)}"
        rows.append(row)
    return _with_outcomes(pd.DataFrame(rows, columns=list(COLUMNS)))


def _with_outcomes(rows: pd.DataFrame) -> pd.DataFrame:
    """Add p values corrected for the number of conditions, and what each condition comes to."""
    for name, corrected in _FAMILIES.items():
        rows[corrected] = benjamini_hochberg(rows[name])
    dead = (rows["n_first"] > 0) & (rows["constant_first"] == rows["n_first"])
    dead &= (rows["n_second"] > 0) & (rows["constant_second"] == rows["n_second"])
    outcome = np.select(
        [
            (rows["tost_bh"] < ALPHA) & dead,
            rows["tost_bh"] < ALPHA,
            rows["p_bh"] < ALPHA,
            rows["low"].notna(),
        ],
        [DEAD, EQUIVALENT, DIFFERENT, INCONCLUSIVE],
        default="",
    )
    rows["outcome"] = [word or None for word in outcome]
    return rows


def _by_condition(edition: Edition) -> dict[tuple[str, str, str], dict]:
    """Values of each condition and field, in census order."""
    runs = edition.runs()
    runs = runs.assign(constant=constant_predictors(runs))
    found = {}
    for (experiment, condition), rows in runs.groupby(["experiment", "condition"], sort=False):
        for field in FIELDS:
            values = rows[field].dropna().to_numpy(dtype=float)
            if field != "test_error" and len(values) == 0:
                continue
            found[experiment, condition, field] = {
                "series": rows["series"].iloc[0],
                "noise_rate": rows["noise_rate"].min() if rows["noise_rate"].nunique() == 1 else np.nan,
                "lam": rows["lam"].min() if rows["lam"].nunique(dropna=False) == 1 else np.nan,
                "values": np.sort(values),
                "constant": int(rows["constant"].sum()) if field == "test_error" else 0,
            }
    return found


def _tests(first: np.ndarray, second: np.ndarray, margin: float) -> dict[str, object]:
    """Difference, Kolmogorov-Smirnov and equivalence of two samples."""
    difference = float(second.mean() - first.mean())
    result: dict[str, object] = {"difference": difference}
    if min(len(first), len(second)) < 2:
        return result | {"note": "fewer than two runs on a side: no tests"}
    error, freedom = welch(first, second)
    if error == 0:  # both sides without spread: the difference is exact
        result["difference"] = difference = float(second[0] - first[0])
        inside = abs(difference) < margin
        result |= {"low": difference, "high": difference, "p_value": float(difference == 0)}
        result |= {"tost_p": 0.0 if inside else 1.0, "equivalent": inside}
    else:
        half = stdtrit(freedom, 1 - ALPHA / 2) * error
        below = stdtr(freedom, (difference - margin) / error)
        above = stdtr(freedom, -(difference + margin) / error)
        tost = float(max(below, above))
        result |= {"low": difference - half, "high": difference + half}
        result |= {"p_value": float(2 * stdtr(freedom, -abs(difference) / error))}
        result |= {"tost_p": tost, "equivalent": tost < ALPHA}
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", RuntimeWarning
        )  # no exact p value with these ties: the asymptotic one
        ks = ks_2samp(first, second, method="exact" if len(first) * len(second) <= 2500 else "asymp")
    return result | {"ks": float(ks.statistic), "ks_p": float(ks.pvalue)}


def _constants(one: dict, two: dict) -> dict[str, object]:
    """Fisher's exact test of equal shares of constant predictors; none where there are none."""
    counts = [(side["constant"], len(side["values"]) - side["constant"]) for side in (one, two)]
    if counts[0][0] + counts[1][0] == 0 or min(min(count) for count in counts) < 0:
        return {}
    return {"constant_p": float(fisher_exact(counts).pvalue)}


def by_experiment(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one line per experiment: how many conditions agree, and whether their order is kept.

    Columns: series, experiment, conditions (compared), only_first, only_second, median_absolute_difference,
    how many have each outcome (equivalent, dead in both, different,
    inconclusive), rank_correlation (Spearman, of the conditions' means; null
    for fewer than four), constant_first, constant_second.
    """
    from scipy.stats import spearmanr

    lines = []
    main = rows[rows["field"] == "test_error"]
    for (series, experiment), mine in main.groupby(["series", "experiment"], sort=False):
        both = mine.dropna(subset=["difference"])
        rank = np.nan
        if len(both) >= 4 and both["mean_first"].nunique() > 1 and both["mean_second"].nunique() > 1:
            rank = float(spearmanr(both["mean_first"], both["mean_second"]).statistic)
        lines.append(
            {
                "series": series,
                "experiment": experiment,
                "conditions": len(both),
                "only_first": int(((mine["n_first"] > 0) & (mine["n_second"] == 0)).sum()),
                "only_second": int(((mine["n_first"] == 0) & (mine["n_second"] > 0)).sum()),
                "median_absolute_difference": both["difference"].abs().median() if len(both) else np.nan,
                **{word: int((both["outcome"] == word).sum()) for word in OUTCOMES},
                "rank_correlation": rank,
                "constant_first": int(both["constant_first"].sum()),
                "constant_second": int(both["constant_second"].sum()),
            }
        )
    return pd.DataFrame(lines)
