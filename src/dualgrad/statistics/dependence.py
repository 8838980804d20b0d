"""Which runs are not independent: what they share of a training, a start, or a seed's noise and initial weights.

Runs of one data set, kind and rate of label noise and seed have the same noisy labels where the noise is drawn alike
(A to P with seed + 1000, but I, J and L with 1000 for all; M3b, P2 and from Q on with the seed), and the same initial
weights where their network is the same: a seed is the unit of every interval and test here, and λ, width, rate and
schedule are compared within it. Runs that go on from one trained state share more than that: the attempts on one
trap, the sweeps from one preparation. So `n` counts seeds, or starts, and `runs` counts rows.

- `shared_start`: seeds for which runs of two experiments begin with the same error (three seeds or more, and at least
  half of those that both have; by chance two runs agree once in about a hundred). Dead starts all agree and do not
  count.
- `shared_training`: the same for the last error of a run and the other's at that epoch and λ: copies.
- `concordance`: Kendall's W of seeds over λ, 0 where a seed's rank at one λ says nothing of its rank at another, 1
  where it says all; p value of Friedman's test.

Sources: docs/specification/contract.md (streams, replicates); config/claims.yaml, conclusion about the run counts;
S-T.md#4, Td-W.md#Td2.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import chi2, rankdata

from dualgrad.statistics.curves import CURVE_COLUMNS, CURVE_KEYS, Curve, curves, key_words
from dualgrad.statistics.layout import Quantity, Sheet
from dualgrad.statistics.sources import PREPARATIONS, START_STAGES
from dualgrad.tables.edition import Tables
from dualgrad.tables.schema import INT64, STRING, Column

LEAST = 3
DEAD = 0.85
START_ERRORS = ("init_error", "ordered_init_error", "collapse_init_error")

KEYS = (
    Column("with_experiment", STRING, "the other experiment"),
    *CURVE_COLUMNS,
    Column("levels", INT64, "λ of a concordance"),
)

QUANTITIES = {
    "seeds": Quantity(
        "runs", "different seeds of an experiment's runs at a noise rate: its independent units"
    ),
    "shared_start": Quantity("runs", "seeds whose runs of both experiments begin with the same errors"),
    "shared_training": Quantity(
        "runs", "seeds whose runs of both experiments have the same errors throughout"
    ),
    "concordance": Quantity("1", "Kendall's W of seeds over λ"),
}


def compute(tables: Tables) -> pd.DataFrame:
    """Return what runs share, and how far seeds keep their rank along λ."""
    sheet = Sheet(tables.edition, KEYS, QUANTITIES)
    runs = tables.runs()
    if runs.empty:
        sheet.add("seeds", None, 0, note="no runs")
        return sheet.frame()
    for (experiment, eta), rows in runs.groupby(["experiment", "noise_rate"], sort=False):
        n = int(rows["seed"].nunique())
        sheet.add("seeds", n, n, experiment=str(experiment), noise_rate=eta, runs=len(rows))
    _paths(sheet, tables, runs)
    for curve in curves(runs):
        if set(curve.keys) <= set(CURVE_KEYS):  # not by cosine or kind of value labels (I, J, L)
            _concordance(sheet, curve)
    return sheet.frame()


def _paths(sheet: Sheet, tables: Tables, runs: pd.DataFrame) -> None:
    """Append the pairs of experiments whose runs begin, or are, the same."""
    wanted = ["experiment", "run", "noise_rate", "seed", "stage", "lam", "epoch", "test_error"]
    known = runs[["experiment", "run", "series"]]
    points = tables.trajectories()[wanted].merge(known, on=["experiment", "run"])
    points["text"] = points["series"].isin(["X", "Y"])
    points["place"] = points["lam"].round(6)
    starts = (
        points[points["stage"].isin(START_STAGES)].groupby(["experiment", "run", "stage"], sort=False).tail(1)
    )
    text = runs["series"].isin(["X", "Y"])
    begun = pd.concat(
        [
            *(runs.assign(test_error=runs[name], text=text) for name in START_ERRORS),
            points[points["experiment"].isin(PREPARATIONS)].groupby(["experiment", "run"]).tail(1),
        ]
    )
    begun = begun.dropna(subset=["test_error"])
    unit = ["text", "noise_rate", "seed", "test_error"]
    later = starts.merge(points, on=[*unit, "epoch"])
    _pairs(sheet, "shared_start", runs, pd.concat([begun.merge(begun, on=unit), later]))
    ends = points.groupby(["experiment", "run"], sort=False).tail(1)
    _pairs(sheet, "shared_training", runs, ends.merge(points, on=[*unit, "epoch", "place"]))


def _pairs(sheet: Sheet, quantity: str, runs: pd.DataFrame, found: pd.DataFrame) -> None:
    """Append pairs of experiments that agree in three seeds or more, and in half of those that both have."""
    names = list(dict.fromkeys(runs["experiment"]))
    rank = np.stack([found[f"experiment_{side}"].map(names.index).to_numpy() for side in ("x", "y")])
    alive = (rank[0] != rank[1]) & (found["test_error"] < DEAD).to_numpy()  # the dead agree with all the dead
    pairs = pd.DataFrame(
        {
            "first": rank.min(axis=0)[alive],
            "second": rank.max(axis=0)[alive],
            "noise_rate": found["noise_rate"].to_numpy()[alive],
            "seed": found["seed"].to_numpy()[alive],
        }
    )
    units = runs.groupby(["experiment", "noise_rate"])["seed"].unique()
    for (first, second, eta), rows in pairs.groupby(["first", "second", "noise_rate"]):
        one, other = names[first], names[second]
        both = set(units[one, eta]) & set(units[other, eta])
        hits = rows["seed"].nunique()
        if hits >= LEAST and 2 * hits >= len(both):
            size = int((runs["experiment"].isin([one, other]) & runs["seed"].isin(both)).sum())
            more = {"experiment": one, "with_experiment": other, "noise_rate": eta, "runs": size}
            sheet.add(quantity, hits, len(both), **more)


def _concordance(sheet: Sheet, curve: Curve) -> None:
    keys = {"experiment": curve.experiment, **key_words(curve.keys, CURVE_KEYS), "runs": curve.runs}
    known = [pd.Series(group, index=seeds) for group, seeds in zip(curve.groups, curve.seeds, strict=True)]
    if any(one.index.has_duplicates for one in known):
        return  # factors without a column: not one curve
    if not known:
        sheet.add("concordance", None, 0, note="no run has a final error", **keys)
        return
    table = pd.concat(known, axis=1).dropna().to_numpy(dtype=float)
    keys["levels"] = table.shape[1]
    n = len(table)
    if n < LEAST:
        sheet.add("concordance", None, n, note="fewer than three seeds have every λ", **keys)
        return
    found = kendall(table)
    why = "all seeds are equal at every λ"
    sheet.add(
        "concordance", found and found[0], n, p_value=found and found[1], note=None if found else why, **keys
    )


def kendall(table: np.ndarray) -> tuple[float, float] | None:
    """Return (W, p of Friedman's test) of units (rows) ranked at each level (columns), corrected for ties.

    None where no level tells the units apart.
    """
    n, levels = table.shape
    ranks = np.apply_along_axis(rankdata, 0, table)
    squares = float(((ranks.sum(axis=1) - levels * (n + 1) / 2) ** 2).sum())
    ties = sum(
        float((counts**3 - counts).sum()) for counts in (np.unique(c, return_counts=True)[1] for c in ranks.T)
    )
    most = levels**2 * (n**3 - n) - levels * ties
    if most <= 0:
        return None
    w = 12 * squares / most
    return w, float(chi2.sf(levels * (n - 1) * w, n - 1))
