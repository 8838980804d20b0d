"""What the census is about, phenomenon by phenomenon: does an edition show it, in which direction, how surely.

A phenomenon is one number with an interval and a direction that would confirm it. In one edition it is

- shown: the whole 95 % interval lies on the expected side of the reference (0 unless the phenomenon says otherwise),
- direction only: the value does, the interval does not (or there is none),
- not shown: the value does not, and the interval does not exclude that it might,
- opposite: the whole interval lies on the other side,
- no data: it cannot be measured.

Two editions are then compared by these words, not by the size of the numbers: a miniature has its own scale. Most
numbers come from the statistics and are described there; the few that are only needed here say how they are made.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dualgrad.compare.editions import Edition
from dualgrad.estimators import bootstrap
from dualgrad.estimators.curves import last_crossing
from dualgrad.statistics.curves import Curve, curve_of

SHOWN, DIRECTION, NOT_SHOWN, OPPOSITE, NO_DATA = "shown", "direction only", "not shown", "opposite", "no data"


@dataclass(frozen=True)
class Evidence:
    """One number of one edition; NaN: none. Infinite ends are open.

    ``word`` is the verdict where no interval decides.
    """

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    note: str | None = None
    word: str | None = None


@dataclass(frozen=True)
class Phenomenon:
    """Something that the published census says happens.

    Attributes:
        name: short identifier.
        group: heading that it is listed under.
        says: the statement, in plain words.
        measure: the number that decides it, and where it is from.
        unit: its unit.
        evidence: measures it in an edition.
        sign: 1 if values above the reference confirm it, -1 if values below do.
        reference: what the value is compared with.
        caveat: what the number cannot carry, whichever edition it comes from.
    """

    name: str
    group: str
    says: str
    measure: str
    unit: str
    evidence: Callable[[Edition], Evidence]
    sign: int = 1
    reference: float = 0.0
    caveat: str = ""


def verdict(phenomenon: Phenomenon, evidence: Evidence) -> str:
    """Return which of the five words applies."""
    if math.isnan(evidence.value):
        return NO_DATA
    if evidence.word:
        return evidence.word
    sign = phenomenon.sign
    value, *ends = (sign * (x - phenomenon.reference) for x in (evidence.value, evidence.low, evidence.high))
    if not any(math.isnan(end) for end in ends):
        if min(ends) > 0:
            return SHOWN
        if max(ends) < 0:
            return OPPOSITE
    return DIRECTION if value > 0 else NOT_SHOWN


def together(first: str, second: str, names: tuple[str, str]) -> str:
    """Return what two editions' verdicts come to."""
    if NO_DATA in (first, second):
        missing = [name for name, word in zip(names, (first, second), strict=True) if word == NO_DATA]
        return f"no data in {' and '.join(missing)}"
    if first == SHOWN:
        return {
            SHOWN: "reproduced",
            DIRECTION: "direction only",
            NOT_SHOWN: "not reproduced",
            OPPOSITE: "opposite",
        }[second]
    if second == SHOWN:
        return f"only in {names[1]}"
    if first == second == OPPOSITE:
        return "opposite in both"
    if first == DIRECTION:
        return "direction in both" if second == DIRECTION else "not reproduced"
    if second == DIRECTION:
        return f"shown in neither; direction in {names[1]}"
    return "shown in neither"


def compare(first: Edition, second: Edition) -> pd.DataFrame:
    """Return all phenomena in both editions."""
    rows = []
    names = (first.name, second.name)
    for one in PHENOMENA:
        found = [one.evidence(edition) for edition in (first, second)]
        words = verdict(one, found[0]), verdict(one, found[1])
        row: dict[str, Any] = {
            "name": one.name,
            "group": one.group,
            "says": one.says,
            "measure": one.measure,
            "unit": one.unit,
            "expected": f"{'above' if one.sign > 0 else 'below'} {one.reference:g}",
            "caveat": one.caveat or None,
        }
        for side, evidence, word in zip(("first", "second"), found, words, strict=True):
            row |= {
                f"value_{side}": evidence.value,
                f"low_{side}": evidence.low if math.isfinite(evidence.low) else math.nan,
                f"high_{side}": evidence.high if math.isfinite(evidence.high) else math.nan,
                f"n_{side}": evidence.n,
                f"note_{side}": evidence.note,
                f"verdict_{side}": word,
            }
        row["result"] = together(*words, names)
        rows.append(row)
    return pd.DataFrame(rows)


# ------------------------------------------------------------------------------------------- where numbers come from


def estimate(
    statistic: str, experiment: str, quantity: str, **where: object
) -> Callable[[Edition], Evidence]:
    """Return a measure that looks one estimate up in a statistic."""

    members = experiment.split("+")

    def get(edition: Edition) -> Evidence:
        missing = [name for name in members if "-Y" not in name and name not in edition.experiments]
        if missing:
            return Evidence(note=f"{' and '.join(missing)}: not made")
        rows = edition.statistic(statistic)
        rows = rows[(rows["experiment"] == experiment) & (rows["quantity"] == quantity)]
        for name, level in where.items():
            column = rows[name]
            if level is None:
                rows = rows[column.isna().to_numpy()]
            elif isinstance(level, str):
                rows = rows[(column == level).to_numpy()]
            else:
                rows = rows[((pd.to_numeric(column) - level).abs() < 1e-6).to_numpy()]
        if len(rows) == 0:
            return Evidence(note=f"{experiment}: no such rows")
        return as_evidence(rows.iloc[0])

    return get


def as_evidence(row: pd.Series) -> Evidence:
    """Return a statistic's row as evidence; ends that are missing though there is an interval are open."""
    low, high = (math.nan if pd.isna(row[end]) else float(row[end]) for end in ("low", "high"))
    if isinstance(row["interval"], str):
        low = -math.inf if math.isnan(low) else low
        high = math.inf if math.isnan(high) else high
    value = math.nan if pd.isna(row["value"]) else float(row["value"])
    note = row["note"] if isinstance(row["note"], str) else None
    return Evidence(value, low, high, int(row["n"]), note)


def first_known(*measures: Callable[[Edition], Evidence]) -> Callable[[Edition], Evidence]:
    """Return a measure that takes the first of several that has a value."""

    def get(edition: Edition) -> Evidence:
        found = [Evidence()]
        for measure in measures:
            found.append(measure(edition))
            if not math.isnan(found[-1].value):
                return found[-1]
        return found[1]

    return get


def _draws(values: np.ndarray, *name: object) -> np.ndarray:
    return bootstrap.means(values, bootstrap.weights(bootstrap.generator("compare", *name), len(values)))


def _from(value: float, draws: np.ndarray, n: int, note: str | None = None) -> Evidence:
    bounds = bootstrap.percentile(draws, n=n)
    low, high = bounds[:2] if bounds else (math.nan, math.nan)
    return Evidence(value if math.isfinite(value) else math.nan, low, high, n, note)


def cell(edition: Edition, experiment: str, field: str = "test_error", **where: object) -> np.ndarray:
    """Return the values of one condition's runs."""
    if experiment not in edition.experiments:
        return np.array([])
    rows = edition.runs(experiment)
    for name, level in where.items():
        column = rows[name]
        keep = (column == level) if isinstance(level, str) else ((column.astype(float) - level).abs() < 1e-6)
        rows = rows[keep.to_numpy(dtype=bool)]
    return rows[field].dropna().to_numpy(dtype=float)


def means_apart(
    one: tuple[str, dict], two: tuple[str, dict], field: str = "test_error"
) -> Callable[[Edition], Evidence]:
    """Return a measure: mean of one condition minus mean of another, runs drawn on each side."""

    def get(edition: Edition) -> Evidence:
        first, second = (cell(edition, name, field, **where) for name, where in (one, two))
        n = min(len(first), len(second))
        if n == 0:
            missing = {one[0], two[0]} - set(edition.experiments)
            why = "not made" if missing else "no runs"
            return Evidence(note=f"{' and '.join(sorted(missing or {one[0], two[0]}))}: {why}")
        difference = float(first.mean() - second.mean())
        bounds = bootstrap.difference_bounds(first, second)
        return Evidence(difference, *(bounds[:2] if bounds else (math.nan, math.nan)), n)

    return get


def _curve(edition: Edition, name: str, members: dict[str, dict]) -> Curve | None:
    pieces = []
    for experiment, where in members.items():
        if experiment not in edition.experiments:
            return None
        rows = edition.runs(experiment)
        for column, level in where.items():
            rows = rows[((rows[column].astype(float) - level).abs() < 1e-6).to_numpy()]
        pieces.append(rows)
    curve = curve_of(name, {}, pd.concat(pieces))
    return None if curve.too_short else curve


def shift_with_noise(
    low_noise: dict[str, dict], high_noise: dict[str, dict], level: float | None
) -> Callable[[Edition], Evidence]:
    """Return a measure: crossing at the higher noise rate minus that at the lower (level None: twice the minimum)."""

    def get(edition: Edition) -> Evidence:
        made = (_curve(edition, f"compare {i}", members) for i, members in enumerate((high_noise, low_noise)))
        pair = [curve for curve in made if curve is not None]
        if len(pair) < 2:
            return Evidence(note="one of the two curves has not been made")
        values: list[np.ndarray] = []
        draws: list[np.ndarray] = []
        for curve in pair:
            for rows, kept in ((curve.means[None], values), (curve.mean_draws, draws)):
                levels = 2 * rows.min(axis=1) if level is None else level
                kept.append(last_crossing(curve.lam, rows, levels))
        n = int(sum(curve.sizes.sum() for curve in pair))
        with np.errstate(invalid="ignore"):
            value, replicates = values[0][0] - values[1][0], draws[0] - draws[1]
        if not math.isfinite(value):
            return Evidence(n=n, note="one of the two curves does not cross the level within its grid")
        return _from(value, replicates, n)

    return get


def spread_grows(experiment: str, eta: float) -> Callable[[Edition], Evidence]:
    """Return a measure: ln(variance at the last λ / variance at the first λ)."""

    def get(edition: Edition) -> Evidence:
        curve = _curve(edition, "spread", {experiment: {"noise_rate": eta}})
        if curve is None or min(curve.variances[0], curve.variances[-1]) == 0:
            return Evidence(note=f"{experiment}: not made, or no spread at an end of the grid")
        with np.errstate(divide="ignore", invalid="ignore"):
            draws = np.log(curve.variance_draws[:, -1] / curve.variance_draws[:, 0])
        value = float(np.log(curve.variances[-1] / curve.variances[0]))
        return _from(value, draws, int(curve.sizes.sum()))

    return get


def interior_peak(experiment: str, **where: object) -> Callable[[Edition], Evidence]:
    """Return a measure: share of replicates with the largest variance inside the grid.

    Shown from 0.95 on, opposite (the maximum is at an end) up to 0.05, in between by its side of one half. A maximum
    that is capped, because runs at the next λ are constant predictors, does not count as a peak.
    """
    share = estimate("variance_peaks", experiment, "interior_share", **where)
    place = estimate("variance_peaks", experiment, "peak_lambda", **where)

    def get(edition: Edition) -> Evidence:
        found, peak = share(edition), place(edition)
        if math.isnan(found.value):
            return Evidence(note=peak.note or found.note)
        note = f"largest at λ = {peak.value:g}" + (f"; {peak.note}" if peak.note else "")
        if peak.note and peak.note.startswith("capped"):
            return Evidence(found.value, n=found.n, note=note, word=NOT_SHOWN)
        word = SHOWN if found.value >= 0.95 else OPPOSITE if found.value <= 0.05 else None
        return Evidence(found.value, n=found.n, note=note, word=word)

    return get


def two_modes(edition: Edition) -> Evidence:
    """p value of the dip test at the census's largest cell; below 0.05 rejects a single mode."""
    rows = edition.statistic("bimodality")
    rows = rows[(rows["experiment"] == "S2") & (rows["quantity"] == "dip") & rows["epoch"].isna()]
    rows = rows[~rows["pooled"].astype(bool) & np.isclose(rows["noise_rate"].astype(float), 0.4)]
    rows = rows[np.isclose(rows["lam"].astype(float), 0.50)]
    if len(rows) == 0 or pd.isna(rows["p_value"].iloc[0]):
        return Evidence(note="S2 at λ = 0.50 not made, or all errors equal")
    row = rows.iloc[0]
    p_value = float(row["p_value"])
    word = SHOWN if p_value < 0.05 else NOT_SHOWN
    return Evidence(p_value, n=int(row["n"]), note=f"dip D = {row['value']:.4f}", word=word)


def gap_shrinks(edition: Edition) -> Evidence:
    """Matched gap at λ = 0.50 at one epoch per λ minus that at ten, paired by seed (Student)."""
    rows = edition.statistic("two_branch")
    rows = rows[(rows["quantity"] == "seed_gap") & (rows["selection"] == "matched")]
    short = rows[rows["experiment"] == "Ta1-1+Ta2-1"].set_index("seed")["value"]
    long = rows[rows["experiment"] == "Tb1"].set_index("seed")["value"]
    both = (short - long).dropna().to_numpy(dtype=float)
    if len(both) == 0:
        return Evidence(note="no seed in both sweeps")
    bounds, _ = bootstrap.t_bounds(both)
    return Evidence(float(both.mean()), *(bounds[:2] if bounds else (math.nan, math.nan)), len(both))


def trap_exists(edition: Edition) -> Evidence:
    """Share of the runs trained at λ = 0.60, η = 0.4 (Ta-prep-C, Td1) that end at or above 0.85, exact."""
    errors = np.concatenate([cell(edition, name) for name in ("Ta-prep-C", "Td1")])
    hits = int((errors >= 0.85).sum())
    bounds = bootstrap.exact_bounds(hits, len(errors))
    if bounds is None:
        return Evidence(note="Ta-prep-C, Td1: no runs")
    return Evidence(hits / len(errors), *bounds[:2], len(errors), f"{hits} of {len(errors)}")


def cosine_rises(edition: Edition) -> Evidence:
    """M2: mean average cosine at the last λ minus that at the first."""
    if "M2" not in edition.experiments:
        return Evidence(note="M2: not made")
    rows = edition.runs("M2").dropna(subset=["avg_cos"])
    if rows["lam"].nunique() < 2:
        return Evidence(note="M2: no recorded cosines")
    ends = [
        rows.loc[rows["lam"] == lam, "avg_cos"].to_numpy(dtype=float)
        for lam in (rows["lam"].max(), rows["lam"].min())
    ]
    bounds = bootstrap.difference_bounds(*ends)
    value = float(ends[0].mean() - ends[1].mean())
    return Evidence(value, *(bounds[:2] if bounds else (math.nan, math.nan)), min(map(len, ends)))


def corrosion(edition: Edition) -> Evidence:
    """Y1A: mean cosine of the last epoch minus that of the first, paired by run."""
    if "Y1A" not in edition.experiments:
        return Evidence(note="Y1A: not made")
    table = edition.epochs("Y1A").pivot_table(index="run", columns="epoch", values="cos_mean")
    if table.shape[1] < 2:
        return Evidence(note="Y1A: no recorded cosines")
    values = (table.iloc[:, -1] - table.iloc[:, 0]).dropna().to_numpy(dtype=float)
    bounds, _ = bootstrap.t_bounds(values)
    return Evidence(float(values.mean()), *(bounds[:2] if bounds else (math.nan, math.nan)), len(values))


def path_at_equal_age(experiment: str) -> Callable[[Edition], Evidence]:
    """Return a measure: a path effect at the last recovery epoch, against Y1A at the same epoch."""

    def get(edition: Edition) -> Evidence:
        rows = edition.statistic("nlp_decomposition")
        rows = rows[(rows["experiment"] == f"{experiment}-Y1A") & (rows["matched"] == "total epochs")]
        rows = rows[rows["epoch"].notna()]
        if len(rows) == 0:
            return Evidence(note=f"{experiment}: not made")
        return as_evidence(rows.loc[rows["epoch"].astype(float).idxmax()])

    return get


def rate_effect(lam: float) -> Callable[[Edition], Evidence]:
    """Return a measure: mean error at the highest learning rate minus that at the lowest (Q3, η = 0.4)."""
    return estimate("learning_rate", "Q3", "effect", noise_rate=0.4, lam=lam)


# ------------------------------------------------------------------------------------------- the phenomena

_LOW: dict[str, dict[str, float]] = {"A": {"noise_rate": 0.4}, "M2": {}}
_HIGH: dict[str, dict[str, float]] = {"M3b": {}, "M3": {}}
_CE = ("C", {"noise_rate": 0.4, "method": "CE"})
_SMALL_RATE = "the sweeps run at a hundredth of the training rate"

PHENOMENA: tuple[Phenomenon, ...] = (
    # ---- regimes along λ
    Phenomenon(
        "improves-on-ce",
        "Regimes along λ",
        "Mixing in the clean gradient beats plain training on noisy labels.",
        "A at λ = 0.35 minus C's cross-entropy, η = 0.4, final error",
        "fraction",
        means_apart(("A", {"noise_rate": 0.4, "lam": 0.35}), _CE),
        sign=-1,
        caveat="raw gradients against unit-norm ones, at one learning rate",
    ),
    Phenomenon(
        "falls-before-minimum",
        "Regimes along λ",
        "The error has an interior minimum along λ: it first falls.",
        "A, η = 0.4: mean error at the first λ minus the lowest",
        "fraction",
        estimate("boundaries", "A", "fall_before_minimum", noise_rate=0.4),
    ),
    Phenomenon(
        "rises-after-minimum",
        "Regimes along λ",
        "Beyond that minimum the error rises again.",
        "A, η = 0.4: mean error at the last λ minus the lowest",
        "fraction",
        estimate("boundaries", "A", "rise_after_minimum", noise_rate=0.4),
    ),
    Phenomenon(
        "collapses-high-noise",
        "Regimes along λ",
        "At η = 0.8 training collapses within the grid.",
        "A, η = 0.8: mean error at the last λ minus the lowest",
        "fraction",
        estimate("boundaries", "A", "rise_after_minimum", noise_rate=0.8),
    ),
    Phenomenon(
        "boundary-left-fixed",
        "Regimes along λ",
        "More label noise moves the boundary to smaller λ (fixed level).",
        "N1, N2: λ where the mean error crosses 0.30, η = 0.8 minus η = 0.4",
        "lambda",
        shift_with_noise({"N1": {"noise_rate": 0.4}}, {"N2": {"noise_rate": 0.8}}, 0.30),
        sign=-1,
        caveat="a fixed level does not follow the floor of the curve, which rises with noise",
    ),
    Phenomenon(
        "boundary-left-relative",
        "Regimes along λ",
        "More label noise moves the boundary to smaller λ (twice the curve's own minimum).",
        "A and M2, M3b and M3: λ where the mean error doubles its minimum, η = 0.8 minus η = 0.4",
        "lambda",
        shift_with_noise(_LOW, _HIGH, None),
        sign=-1,
    ),
    Phenomenon(
        "spread-grows",
        "Regimes along λ",
        "The spread between seeds grows towards the boundary.",
        "M2: ln of the variance at λ = 0.50 over that at 0.38",
        "1",
        spread_grows("M2", 0.4),
    ),
    Phenomenon(
        "variance-peak",
        "Regimes along λ",
        "The variance peaks at the boundary (a maximum inside the grid).",
        "M2: share of resamples with the largest variance inside the grid (0.95 shows it)",
        "1",
        interior_peak("M2"),
        reference=0.5,
        caveat="where runs at the next λ are constant predictors the peak is capped and does not count",
    ),
    Phenomenon(
        "two-modes",
        "Regimes along λ",
        "At the boundary the final errors are bimodal.",
        "S2, λ = 0.50, η = 0.4: p value of the dip test, against 0.05",
        "1",
        two_modes,
        sign=-1,
        reference=0.05,
    ),
    Phenomenon(
        "slowing",
        "Regimes along λ",
        "Training slows down towards the boundary.",
        "K, η = 0.4: rank correlation of λ and the first epoch below 0.40",
        "1",
        estimate("convergence", "K", "rank_correlation", noise_rate=0.4, error_level=0.40),
    ),
    # ---- what moves the boundary
    Phenomenon(
        "width-moves-boundary",
        "What moves the boundary",
        "Wider networks collapse at larger λ.",
        "Q1, η = 0.4: change of the crossing (0.20; else twice the minimum) per doubling of the width",
        "lambda",
        first_known(
            estimate("finite_size", "Q1", "crossing_per_doubling", noise_rate=0.4, error_level=0.20),
            estimate("finite_size", "Q1", "crossing_per_doubling", noise_rate=0.4, error_level=None),
        ),
    ),
    Phenomenon(
        "width-sharpens",
        "What moves the boundary",
        "The transition sharpens with width (a larger spread between seeds).",
        "Q1, η = 0.4: change of ln(largest variance) per doubling of the width",
        "1",
        estimate("finite_size", "Q1", "log_variance_per_doubling", noise_rate=0.4),
    ),
    Phenomenon(
        "rate-hurts-beyond",
        "What moves the boundary",
        "A higher learning rate collapses where a lower one trains well.",
        "Q3, η = 0.4, λ = 0.50: mean error at lr 0.2 minus that at lr 0.05",
        "fraction",
        rate_effect(0.50),
    ),
    Phenomenon(
        "rate-interacts",
        "What moves the boundary",
        "Learning rate and λ interact: the error rises faster with λ at a higher rate.",
        "Q3, η = 0.4: coefficient of λ · log2(lr), least squares",
        "fraction per lambda",
        estimate("learning_rate", "Q3", "interaction", noise_rate=0.4),
    ),
    # ---- branches and memory
    *(
        Phenomenon(
            f"two-branch-{hold}",
            "Branches and memory",
            f"A collapsed start stays above an ordered one ({hold} epoch{'s' * (hold > 1)} per λ).",
            f"{name}: error of H minus L at λ = 0.50, seeds matched",
            "fraction",
            estimate("two_branch", name, "gap", selection="matched", lam=0.50),
            caveat=_SMALL_RATE,
        )
        for hold, name in ((1, "Ta1-1+Ta2-1"), (3, "Ta1-3+Ta2-3"), (10, "Tb1"))
    ),
    Phenomenon(
        "two-branch-untrapped",
        "Branches and memory",
        "That gap is there without the seeds whose collapsed start is a constant predictor, too.",
        "Ta1-3, Ta2-3: error of H minus L at λ = 0.50, untrapped seeds",
        "fraction",
        estimate("two_branch", "Ta1-3+Ta2-3", "gap", selection="untrapped", lam=0.50),
        caveat=_SMALL_RATE,
    ),
    Phenomenon(
        "gap-shrinks",
        "Branches and memory",
        "The two-branch gap shrinks when each λ is held longer.",
        "matched gap at λ = 0.50 at 1 epoch per λ minus that at 10 epochs, paired by seed",
        "fraction",
        gap_shrinks,
        caveat="three seeds; the largest gap over λ does not shrink when seeds are matched",
    ),
    *(
        Phenomenon(
            f"universal-{name}",
            "Branches and memory",
            f"The two-branch gap is there for {what}.",
            f"{name}: error of H minus L at λ = 0.50, untrapped seeds",
            "fraction",
            estimate("two_branch", name, "gap", selection="untrapped", lam=0.50),
            caveat=_SMALL_RATE,
        )
        for name, what in (("V1", "asymmetric noise"), ("V3", "a deeper network"), ("V4", "100 classes"))
    ),
    Phenomenon(
        "loop-area",
        "Branches and memory",
        "A fast λ loop encloses an area: its way up has the higher error.",
        "R1a: signed area, up minus down",
        "fraction lambda",
        estimate("hysteresis", "R1a", "area"),
        caveat="the way up is young and at the high learning rate, the way down old and at the low one",
    ),
    Phenomenon(
        "loop-same-rate",
        "Branches and memory",
        "The way up of that loop has the higher error where both ways have the same learning rate, too.",
        "R1a: mean gap over those λ",
        "fraction",
        estimate("hysteresis", "R1a", "mean_gap_same_rate"),
        caveat="the two ways still differ in age",
    ),
    Phenomenon(
        "protects",
        "Branches and memory",
        "Ordered training protects against a later jump of λ into the collapse region.",
        "Q2, η = 0.4, epoch 100: error after the quench minus error at that λ throughout",
        "fraction",
        estimate(
            "interventions", "Q2", "difference", noise_rate=0.4, schedule="quench_to_collapse", epoch=100
        ),
        sign=-1,
    ),
    Phenomenon(
        "damages",
        "Branches and memory",
        "Collapsed training is not undone by a later jump to a good λ.",
        "Q2, η = 0.4, epoch 100: error after the quench minus error at that λ throughout",
        "fraction",
        estimate(
            "interventions", "Q2", "difference", noise_rate=0.4, schedule="quench_to_ordered", epoch=100
        ),
    ),
    Phenomenon(
        "gap-persists",
        "Branches and memory",
        "Two starts keep their distance after a jump to the same λ.",
        "W2: mean gap after 30 epochs, over seeds",
        "fraction",
        estimate("interventions", "W2", "gap", rows="seeds", lam=None),
        caveat="three seeds; the jumps run at a hundredth of the training rate",
    ),
    # ---- metastability and traps
    Phenomenon(
        "survives",
        "Metastability and traps",
        "A low-error state outlives a jump to λ = 0.54.",
        "T13: share of runs at risk that reach the horizon, against one half (exact)",
        "1",
        estimate("survival", "T13", "survival_share"),
        reference=0.5,
        caveat="λ jumps in the epoch in which the learning rate falls to a tenth",
    ),
    Phenomenon(
        "survives-046",
        "Metastability and traps",
        "A low-error state outlives a jump to λ = 0.46.",
        "T1a: share of runs at risk that reach the horizon, against one half (exact)",
        "1",
        estimate("survival", "T1a", "survival_share"),
        reference=0.5,
        caveat="from scratch all runs end low at this λ too",
    ),
    Phenomenon(
        "no-recovery",
        "Metastability and traps",
        "A collapsed network does not recover as λ is lowered.",
        "R3b, η = 0.4, short hold: share of runs with the event, against one half (exact)",
        "1",
        estimate("spinodals", "R3b", "event_share", noise_rate=0.4, hold_type="short"),
        sign=-1,
        reference=0.5,
    ),
    Phenomenon(
        "trap-exists",
        "Metastability and traps",
        "Some runs beyond the boundary end as constant predictors.",
        "Ta-prep-C, Td1 (λ = 0.60, η = 0.4): share of runs that end at or above 0.85, exact",
        "1",
        trap_exists,
    ),
    Phenomenon(
        "trap-absorbs",
        "Metastability and traps",
        "The trap is absorbing: attempts to leave it fail.",
        "Td2: share of the 18 attempts that escape, against one half (exact)",
        "1",
        estimate("escapes", "Td2", "escaped_share", intervention="all"),
        sign=-1,
        reference=0.5,
        caveat="three traps in six ways; no attempt combines the full learning rate with a lower λ",
    ),
    # ---- gradients
    Phenomenon(
        "opposed",
        "Gradients",
        "Structure and value gradients oppose each other below the boundary.",
        "M2 at λ = 0.38: mean cosine",
        "cosine",
        estimate("geometry", "M2", "cosine", lam=0.38),
        sign=-1,
        caveat="with the cached value gradient, mean over training",
    ),
    Phenomenon(
        "opposition-fades",
        "Gradients",
        "The opposition fades towards the boundary.",
        "M2: mean cosine at the last λ minus that at the first",
        "cosine",
        cosine_rises,
    ),
    Phenomenon(
        "aligned-when-collapsed",
        "Gradients",
        "On the collapsed branch the gradients are aligned more than on the ordered one.",
        "W1 at λ = 0.50: mean cosine of H minus L",
        "cosine",
        estimate("geometry", "W1", "cosine_difference", group="all seeds", lam=0.50),
        caveat="the branches have different seeds",
    ),
    Phenomenon(
        "cosine-causes",
        "Gradients",
        "Setting the value direction against the clean gradient raises the error.",
        "L, λ = 0.30: mean error at cosine -0.9 minus that at +0.9",
        "fraction",
        estimate("interventions", "L", "cosine_effect", lam=0.30),
    ),
    # ---- text
    Phenomenon(
        "text-monotone",
        "Text",
        "At η = 0.4 the error of the text model falls with λ, without a boundary.",
        "X1: mean error at λ = 0.10 minus that at 0.60",
        "fraction",
        means_apart(("X1", {"lam": 0.10}), ("X1", {"lam": 0.60})),
    ),
    Phenomenon(
        "text-boundary",
        "Text",
        "At η = 0.8 the text model crosses from the inverted labelling to the right one.",
        "X2: mean error at λ = 0.26 minus that at 0.44",
        "fraction",
        means_apart(("X2", {"lam": 0.26}), ("X2", {"lam": 0.44})),
    ),
    Phenomenon(
        "text-variance-peak",
        "Text",
        "The variance of the text model peaks at its boundary.",
        "X2: share of resamples with the largest variance inside the grid (0.95 shows it)",
        "1",
        interior_peak("X2"),
        reference=0.5,
    ),
    Phenomenon(
        "time-effect",
        "Text",
        "Longer training of the text model at a good λ raises the error (time effect).",
        "Y1A at its last epoch minus Y1B, paired by seed",
        "fraction",
        estimate("nlp_decomposition", "Y1A-Y1B", "time_effect"),
    ),
    *(
        Phenomenon(
            f"path-effect-{experiment}",
            "Text",
            f"A detour of {epochs} epochs through a damaging λ raises it further at equal age (path effect).",
            f"{experiment} at its last epoch minus Y1A at the same epoch, paired by seed",
            "fraction",
            path_at_equal_age(experiment),
        )
        for experiment, epochs in (("Y2k3", 3), ("Y2k10", 10))
    ),
    Phenomenon(
        "dose-net",
        "Text",
        "A longer detour raises it more, net of age (dose effect).",
        "path effect of Y2k10 minus that of Y2k3, each at equal age, paired by seed",
        "fraction",
        estimate("nlp_decomposition", "Y2k10-Y2k3", "dose_effect", matched="total epochs"),
    ),
    Phenomenon(
        "text-loop",
        "Text",
        "A λ loop of the text model encloses an area.",
        "X3_fast: signed area, up minus down",
        "fraction lambda",
        estimate("hysteresis", "X3_fast", "area"),
        caveat="almost all of it is the first step, the way up's third epoch",
    ),
    Phenomenon(
        "text-drift",
        "Text",
        "Text runs just beyond the boundary drift towards chance.",
        "X4, λ = 0.42: rank correlation of epoch and mean error",
        "1",
        estimate("survival", "X4", "drift", lam=0.42),
    ),
    Phenomenon(
        "corrosion",
        "Text",
        "The text model's gradients turn from opposed to unopposed during long training.",
        "Y1A: mean cosine of the last epoch minus that of the first, paired by run",
        "cosine",
        corrosion,
    ),
)
