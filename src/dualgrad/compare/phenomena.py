"""What the census is about, phenomenon by phenomenon: does an edition show it, in which direction, how surely.

A phenomenon is one number over independent units and a direction that would confirm it. One rule holds for all:

- The number has a 95 % interval over units (seeds with their noise and initial weights, or starts that runs go on
  from): Student's over one value per unit, differences paired by unit where both sides have it (Welch's where they
  share none); the jackknife's, one unit left out at a time, for what is no mean; Clopper-Pearson's for a share. The
  dip test has a p value alone.
- shown: the whole interval (or the test at 5 %) lies on the expected side of the reference (0 unless the phenomenon
  says otherwise), there are three units or more, and the value stays on that side whichever single unit is left out.
- direction only: the value lies there, but one of these fails.
- not shown: the value does not, and the interval does not exclude that it might.
- opposite: the whole interval lies on the other side, with three units or more.
- no data: it cannot be measured.

p values are corrected for the number of phenomena (Holm) beside the plain ones. ``detectable`` says how far from the
reference the truth would have had to lie to be found with a power of 80 %, given this many units and this spread.

Two editions are then compared by these words, not by the size of the numbers: a miniature has its own scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from dualgrad.compare.editions import Edition
from dualgrad.estimators import units
from dualgrad.estimators.boundary import moves
from dualgrad.estimators.correlation import spearman
from dualgrad.estimators.curves import last_crossing, per_doubling
from dualgrad.estimators.families import holm
from dualgrad.estimators.survival import settled
from dualgrad.estimators.units import Estimate
from dualgrad.statistics import bimodality
from dualgrad.statistics.chosen_lambda import leave_one_out
from dualgrad.statistics.facts import lr_factor, trap_level
from dualgrad.statistics.hysteresis import area

SHOWN, DIRECTION, NOT_SHOWN, OPPOSITE, NO_DATA = "shown", "direction only", "not shown", "opposite", "no data"
LEAST_UNITS = 3
ALPHA = 0.05


@dataclass(frozen=True)
class Evidence:
    """One number of one edition.

    Attributes:
        found: the estimate over units.
        note: what to know.
        test: the p value alone decides (there is no interval).
    """

    found: Estimate = Estimate(math.nan)
    note: str | None = None
    test: bool = False


@dataclass(frozen=True)
class Phenomenon:
    """Something that the published census says happens.

    Attributes:
        name: short identifier.
        group: heading that it is listed under.
        says: the statement, in plain words.
        measure: the number that decides it, and where it is from.
        unit: its unit.
        evidence: measures it in an edition, given the reference.
        sign: 1 if values above the reference confirm it, -1 if values below do.
        reference: what the value is compared with.
        caveat: what the number cannot carry, whichever edition it comes from.
    """

    name: str
    group: str
    says: str
    measure: str
    unit: str
    evidence: Callable[[Edition, float], Evidence]
    sign: int = 1
    reference: float = 0.0
    caveat: str = ""


def verdict(phenomenon: Phenomenon, evidence: Evidence) -> tuple[str, str | None]:
    """Return which of the five words applies, and why it is no more than a direction where units are lacking."""
    found, sign = evidence.found, phenomenon.sign
    if math.isnan(found.value):
        return NO_DATA, None
    value, *ends = (sign * (x - phenomenon.reference) for x in (found.value, found.low, found.high))
    if evidence.test:
        return (SHOWN if found.p_value < ALPHA else NOT_SHOWN), None
    if not any(math.isnan(end) for end in ends):
        few = f"rests on n = {found.n}" if found.n < LEAST_UNITS else None
        if min(ends) > 0:
            without = min(sign * (x - phenomenon.reference) for x in found.without)
            if few is None and not without > 0:
                few = "rests on a single unit: without it the value is not on this side"
            return (DIRECTION if few else SHOWN), few
        if max(ends) < 0:
            return (NOT_SHOWN if few else OPPOSITE), few
    return (DIRECTION if value > 0 else NOT_SHOWN), None


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
        found = [one.evidence(edition, one.reference) for edition in (first, second)]
        words = [verdict(one, evidence) for evidence in found]
        row: dict[str, Any] = {
            "name": one.name,
            "group": one.group,
            "says": one.says,
            "measure": one.measure,
            "unit": one.unit,
            "expected": f"{'above' if one.sign > 0 else 'below'} {one.reference:g}",
            "caveat": one.caveat or None,
        }
        for side, evidence, (word, why) in zip(("first", "second"), found, words, strict=True):
            estimate = evidence.found
            row |= {
                f"value_{side}": estimate.value,
                f"low_{side}": estimate.low,
                f"high_{side}": estimate.high,
                f"interval_{side}": estimate.how or None,
                f"p_value_{side}": estimate.p_value,
                f"n_{side}": estimate.n,
                f"detectable_{side}": estimate.detectable,
                f"note_{side}": "; ".join(text for text in (evidence.note, why) if text) or None,
                f"verdict_{side}": word,
            }
        row["result"] = together(words[0][0], words[1][0], names)
        rows.append(row)
    table = pd.DataFrame(rows)
    for side in ("first", "second"):
        table[f"p_holm_{side}"] = holm(table[f"p_value_{side}"])
    return table


# ------------------------------------------------------------------------------------------- where numbers come from

Measure = Callable[[Edition, float], Evidence]


def cell(edition: Edition, experiment: str, field: str = "test_error", **where: object) -> pd.Series:
    """Return the values of one condition's runs by seed; a seed's several runs by their mean."""
    if experiment not in edition.experiments:
        return pd.Series(dtype=float)
    rows = _chosen(edition.runs(experiment), where)
    return rows.dropna(subset=[field]).groupby("seed")[field].mean()


def _chosen(rows: pd.DataFrame, where: dict[str, Any]) -> pd.DataFrame:
    for name, level in where.items():
        column = rows[name]
        keep = (column == level) if isinstance(level, str) else ((column.astype(float) - level).abs() < 1e-6)
        rows = rows[keep.to_numpy(dtype=bool)]
    return rows


def difference(first: pd.Series, second: pd.Series, missing: str, pair: bool = True) -> Evidence:
    """Return mean(first) - mean(second) of values by unit: paired where both have two units or more in common."""
    if min(len(first), len(second)) == 0:
        return Evidence(note=missing)
    both = first.index.intersection(second.index)
    if pair and len(both) > 1:
        return Evidence(units.of_pairs(first[both].to_numpy(), second[both].to_numpy()))
    return Evidence(units.of_two(first.to_numpy(), second.to_numpy()))


def means_apart(
    one: tuple[str, dict[str, Any]], two: tuple[str, dict[str, Any]], field: str = "test_error"
) -> Measure:
    """Return a measure: mean of one condition minus mean of another, by seed."""

    def get(edition: Edition, _: float) -> Evidence:
        missing = sorted({one[0], two[0]} - set(edition.experiments))
        why = f"{' and '.join(missing or sorted({one[0], two[0]}))}: {'not made' if missing else 'no runs'}"
        first, second = (cell(edition, name, field, **where) for name, where in (one, two))
        return difference(first, second, why)

    return get


def grids(
    edition: Edition, *parts: dict[str, dict[str, Any]]
) -> tuple[list[np.ndarray], list[np.ndarray]] | None:
    """Return tables of final errors by seed and λ, the same seeds as rows in all, and their λ.

    Args:
        edition: where the runs are from.
        parts: for each table, experiments and which of their runs.

    Returns:
        Tables (units, λ) with NaN where a seed has no run, and the λ of each; None where one has fewer than three λ.
    """
    made = []
    for members in parts:
        if not set(members) <= set(edition.experiments):
            return None
        rows = pd.concat([_chosen(edition.runs(name), where) for name, where in members.items()])
        rows = rows[rows["lam"] > 0]
        made.append(rows.pivot_table(index="seed", columns="lam", values="test_error").sort_index(axis=1))
    if min(table.shape[1] for table in made) < 3:
        return None
    seeds = sorted(set().union(*(table.index for table in made)))
    tables = [table.reindex(seeds).to_numpy(dtype=float) for table in made]
    return tables, [table.columns.to_numpy(dtype=float) for table in made]


def of_grids(
    read: Callable[[list[np.ndarray], list[np.ndarray]], float],
    *parts: dict[str, dict[str, Any]],
    none: str = "it cannot be read off these curves",
) -> Measure:
    """Return a measure: a number read off tables of errors by seed and λ; jackknife over seeds."""

    def get(edition: Edition, reference: float) -> Evidence:
        made = grids(edition, *parts)
        if made is None:
            return Evidence(
                note=f"{' and '.join(name for one in parts for name in one)}: not made, or too few λ"
            )
        tables, lam = made
        found = units.jackknife(tables, lambda samples: _finite(read(samples, lam)), reference)
        return Evidence(found, none if math.isnan(found.value) else None)

    return get


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan


def _means(table: np.ndarray) -> np.ndarray:
    """Mean over seeds at each λ."""
    known = ~np.isnan(table)
    with np.errstate(invalid="ignore"):
        means: np.ndarray = np.where(known, table, 0.0).sum(axis=0) / known.sum(axis=0)
    return means


def _variances(table: np.ndarray) -> np.ndarray:
    known = ~np.isnan(table)
    apart = np.where(known, table - _means(table), 0.0)
    with np.errstate(invalid="ignore"):  # a λ that the unit left out alone has
        variances: np.ndarray = (apart**2).sum(axis=0) / known.sum(axis=0)
    return variances


def above_minimum(part: dict[str, dict[str, Any]], place: int) -> Measure:
    """Return a measure: error at the first (0) or last λ (-1) minus that at the best one, one value per seed.

    The other seeds choose the best λ of each: the lowest mean of all lies below any other by having been chosen.
    """

    def get(edition: Edition, reference: float) -> Evidence:
        made = grids(edition, part)
        if made is None:
            return Evidence(note=f"{' and '.join(part)}: not made, or too few λ")
        table = made[0][0]
        table = table[~np.isnan(table).any(axis=1)]
        if len(table) < 2:
            return Evidence(note="fewer than two seeds have every λ")
        return Evidence(units.of_values(table[:, place] - leave_one_out(table)[1], reference))

    return get


def crossing_shift(level: float | None) -> Callable[[list[np.ndarray], list[np.ndarray]], float]:
    """Return how to read the crossing of the first table minus that of the second (None: twice the minimum)."""

    def read(tables: list[np.ndarray], lam: list[np.ndarray]) -> float:
        first, second = (_crossing(*one, level) for one in zip(tables, lam, strict=True))
        return first - second

    return read


def _crossing(table: np.ndarray, lam: np.ndarray, level: float | None) -> float:
    means = _means(table)
    found = float(last_crossing(lam, means[None], level)[0])
    return found if math.isfinite(found) else math.nan


def spread_ratio(tables: list[np.ndarray], _: list[np.ndarray]) -> float:
    """ln(variance at the last λ / variance at the first λ)."""
    variances = _variances(tables[0])
    with np.errstate(divide="ignore", invalid="ignore"):  # no spread at one end, or (one run each) at both
        return float(np.log(variances[-1]) - np.log(variances[0]))


def peak_over_ends(part: dict[str, dict[str, Any]], dead: float | None) -> Measure:
    """Return a measure: ln(largest variance inside the grid / larger one of its two ends).

    The largest was picked by looking, so interval and p value are Bonferroni's over the λ inside. λ at which more
    than half of the runs end as constant predictors (``dead``) are no part of the grid: there nothing is left to
    vary, and the variance falls for that alone.
    """

    def over_ends(table: np.ndarray, at: int) -> float:
        variances = _variances(table)
        with np.errstate(divide="ignore", invalid="ignore"):
            return _finite(float(np.log(variances[at]) - np.log(max(variances[0], variances[-1]))))

    def get(edition: Edition, reference: float) -> Evidence:
        made = grids(edition, part)
        if made is None:
            return Evidence(note=f"{' and '.join(part)}: not made, or too few λ")
        table = made[0][0]
        if dead is not None:
            table = table[:, np.nanmedian(table, axis=0) < dead - 1e-9]
        inside = _variances(table)[1:-1]
        if not len(inside) or inside.max() == 0:
            return Evidence(note="no variance inside the grid")
        at = 1 + int(inside.argmax())
        return Evidence(
            units.jackknife(
                [table], lambda samples: over_ends(samples[0], at), reference, chosen_of=len(inside)
            )
        )

    return get


def per_width(read: Callable[[np.ndarray, np.ndarray], float], widths: tuple[float, ...]) -> Any:
    """Return how to read the change of a number per doubling of the width, one table per width."""

    def get(tables: list[np.ndarray], lam: list[np.ndarray]) -> float:
        values = np.array([read(*one) for one in zip(tables, lam, strict=True)])
        return float(per_doubling(np.array(widths), values[None])[0])

    return get


def first_known(*measures: Measure) -> Measure:
    """Return a measure that takes the first of several that has a value."""

    def get(edition: Edition, reference: float) -> Evidence:
        found = [measure(edition, reference) for measure in measures]
        return next((one for one in found if not math.isnan(one.found.value)), found[0])

    return get


def two_modes(edition: Edition, _: float) -> Evidence:
    """p value of the dip test at the census's largest cell; below 0.05 rejects a single mode."""
    runs = edition.runs("S2")
    at = np.isclose(runs["noise_rate"].astype(float), 0.4) & np.isclose(runs["lam"].astype(float), 0.50)
    values = np.sort(runs[at]["test_error"].dropna().to_numpy(dtype=float))
    if len(values) < bimodality.LEAST or values[0] == values[-1]:
        return Evidence(note="S2 at λ = 0.50 not made, or all errors equal")
    found, p_value, powers = bimodality.dip_of(values)
    seen = [distance for distance, power in powers.items() if power >= units.POWER]
    note = f"dip D = {found:.4f}"
    if seen:
        note += f"; two equal lobes {min(seen):g} sd apart would have been found with a power of 80 %"
    return Evidence(Estimate(p_value, p_value=p_value, n=len(values)), note, test=True)


def slowing(level: float, eta: float) -> Measure:
    """Return a measure: K's rank correlation of λ and the first epoch below a level, never ranking last."""

    def get(edition: Edition, _: float) -> Evidence:
        path = edition.trajectories("K")
        runs = edition.runs("K") if "K" in edition.experiments else pd.DataFrame()
        if path.empty or runs.empty:
            return Evidence(note="K: not made")
        first = path[path["test_error"] < level].groupby("run")["epoch"].min()
        runs = _chosen(runs, {"noise_rate": eta})
        table = runs.assign(first=runs["run"].map(first).fillna(np.inf)).pivot(
            index="seed", columns="lam", values="first"
        )
        lam = np.broadcast_to(table.columns.to_numpy(dtype=float), table.shape)
        return Evidence(
            units.jackknife_correlation(
                [table.to_numpy(dtype=float), lam], lambda samples: spearman(*samples)
            )
        )

    return get


def branch_errors(edition: Edition, experiment: str, branch: str, lam: float) -> pd.Series:
    """Return a two-branch sweep's errors at the λ nearest to *lam*, by seed."""
    rows = edition.trajectories(experiment)
    rows = rows[(rows["branch"] == branch) & rows["stage"].str.endswith("sweep").astype(bool)]
    if rows.empty:
        return pd.Series(dtype=float)
    levels = rows["lam"].unique()
    return rows[rows["lam"] == levels[np.abs(levels - lam).argmin()]].groupby("seed")["test_error"].mean()


def gap(low: str, high: str, lam: float = 0.50, untrapped: bool = False) -> Measure:
    """Return a measure: error of the collapsed start minus that of the ordered one at a λ, paired by seed.

    Of the three pairs of sweeps (Ta1-1, Ta2-1; Ta1-3, Ta2-3; Tb1) the seeds count that all six have. ``untrapped``:
    seeds whose collapsed branch is a constant predictor at every λ are left out.
    """

    def get(edition: Edition, _: float) -> Evidence:
        missing = [name for name in dict.fromkeys((low, high)) if name not in edition.experiments]
        if missing:
            return Evidence(note=f"{' and '.join(missing)}: not made")
        first = branch_errors(edition, high, "collapse", lam)
        second = branch_errors(edition, low, "ordered", lam)
        kept = first.index.intersection(second.index)
        if low in _SWEEPS and set(_SWEEPS) <= set(edition.experiments):
            for name, branch in _SWEEPS.items():
                for one in branch:
                    kept = kept.intersection(branch_errors(edition, name, one, lam).index)
        note = None
        if untrapped:
            rows = edition.trajectories(high)
            rows = rows[(rows["branch"] == "collapse") & rows["stage"].str.endswith("sweep").astype(bool)]
            level = trap_level(edition.num_classes(high))
            always = rows.groupby("seed")["test_error"].min() >= level
            gone = kept.intersection(always.index[always])
            kept = kept.difference(gone)
            note = f"{len(gone)} trapped seeds left out" if len(gone) else None
        if not len(kept):
            return Evidence(note=note or "no seed on both branches")
        return replace(difference(first[kept], second[kept], ""), note=note)

    return get


_SWEEPS: dict[str, tuple[str, ...]] = {
    "Ta1-1": ("ordered",),
    "Ta2-1": ("collapse",),
    "Ta1-3": ("ordered",),
    "Ta2-3": ("collapse",),
    "Tb1": ("ordered", "collapse"),
}


def gap_shrinks(edition: Edition, _: float) -> Evidence:
    """Matched gap at λ = 0.50 at one epoch per λ minus that at ten, paired by seed."""
    gaps = []
    for low, high in (("Ta1-1", "Ta2-1"), ("Tb1", "Tb1")):
        if not {low, high} <= set(edition.experiments):
            return Evidence(note=f"{low}, {high}: not made")
        pair = (branch_errors(edition, high, "collapse", 0.50), branch_errors(edition, low, "ordered", 0.50))
        gaps.append((pair[0] - pair[1]).dropna())
    both = gaps[0].index.intersection(gaps[1].index)
    return difference(gaps[0][both], gaps[1][both], "no seed in both sweeps")


def loop_gaps(edition: Edition, experiment: str) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return a loop's gaps up - down (seeds, λ), the λ, and whether both ways have one learning rate there."""
    if experiment not in edition.experiments:
        return None
    rows = edition.trajectories(experiment)
    rows = rows[rows["stage"] == "loop"]
    ways = [rows[rows["direction"] == way] for way in ("up", "down")]
    tables = [way.pivot_table(index="seed", columns="lam", values="test_error") for way in ways]
    apart = (tables[0] - tables[1]).dropna(axis=1, how="all").dropna()
    if apart.empty:
        return None
    lam = apart.columns.to_numpy(dtype=float)
    epochs = [way.groupby("lam")["epoch"].mean()[lam].to_numpy(dtype=float) for way in ways]
    rates = [lr_factor(edition.lr_drops(experiment), epoch) for epoch in epochs]
    return apart.to_numpy(dtype=float), lam, rates[0] == rates[1]


def loop_area(experiment: str) -> Measure:
    """Return a measure: signed area of a loop, up minus down, one value per seed."""

    def get(edition: Edition, reference: float) -> Evidence:
        found = loop_gaps(edition, experiment)
        if found is None:
            return Evidence(note=f"{experiment}: not made, or no λ on both ways")
        return Evidence(units.of_values(area(found[0], found[1], False), reference))

    return get


def loop_same_rate(experiment: str) -> Measure:
    """Return a measure: mean gap of a loop where both ways have one learning rate, one value per seed."""

    def get(edition: Edition, reference: float) -> Evidence:
        found = loop_gaps(edition, experiment)
        if found is None or not found[2].any():
            return Evidence(note=f"{experiment}: not made, or the learning rate differs at every λ")
        return Evidence(units.of_values(found[0][:, found[2]].mean(axis=1), reference))

    return get


def quench(schedule: str, against: str, eta: float) -> Measure:
    """Return a measure: Q2's final error after one schedule minus that after another, paired by seed."""
    return means_apart(
        ("Q2", {"noise_rate": eta, "schedule_type": schedule}),
        ("Q2", {"noise_rate": eta, "schedule_type": against}),
    )


def jump_gaps(edition: Edition, reference: float) -> Evidence:
    """W2: gap after the jump, mean over λ for each seed."""
    if "W2" not in edition.experiments:
        return Evidence(note="W2: not made")
    rows = edition.runs("W2").dropna(subset=["lam", "final_gap"])
    return Evidence(units.of_values(rows.groupby("seed")["final_gap"].mean().to_numpy(), reference))


def survivors(experiment: str) -> Measure:
    """Return a measure: share of runs that reach the horizon without the event, of these and those with it."""

    def get(edition: Edition, reference: float) -> Evidence:
        if experiment not in edition.experiments:
            return Evidence(note=f"{experiment}: not made")
        rows = edition.runs(experiment)
        rows = rows[rows["init_success"].eq(True) & (rows["lifetime"] > 0)]  # at risk, as in the statistics
        event = rows["event"].eq(True).to_numpy()
        known = int(settled(rows["lifetime"].to_numpy(dtype=float), event).sum())
        return Evidence(units.of_share(known - int(event.sum()), known, reference))

    return get


def recovered(edition: Edition, reference: float) -> Evidence:
    """R3b at η = 0.4, short hold: share of the runs on the way down that recover; a failed start is not on it."""
    if "R3b" not in edition.experiments:
        return Evidence(note="R3b: not made")
    rows = _chosen(edition.runs("R3b"), {"noise_rate": 0.4, "hold_type": "short"})
    rows = rows[rows["event"].eq(True) | rows["censored"].eq(True)]
    return Evidence(units.of_share(int(rows["event"].eq(True).sum()), len(rows), reference, -1))


def trap_exists(edition: Edition, reference: float) -> Evidence:
    """Share of the runs trained at λ = 0.60, η = 0.4 (Ta-prep-C, Td1) that end at or above 0.85, exact."""
    names = [name for name in ("Ta-prep-C", "Td1") if name in edition.experiments]
    errors = np.concatenate([np.empty(0), *(edition.runs(name)["test_error"].dropna() for name in names)])
    if not len(errors):
        return Evidence(note="Ta-prep-C, Td1: no runs")
    hits = int((errors >= 0.85).sum())
    return Evidence(units.of_share(hits, len(errors), reference), f"{hits} of {len(errors)}")


def trap_left(edition: Edition, reference: float) -> Evidence:
    """Td2: share of traps that one attempt or more leaves; the attempts on one trap share its start."""
    if "Td2" not in edition.experiments:
        return Evidence(note="Td2: not made")
    rows = edition.runs("Td2").dropna(subset=["escaped", "intervention"])
    left = rows.groupby("slot")["escaped"].any()
    if left.empty:
        return Evidence(note="Td2: no attempts")
    note = f"{len(rows)} attempts on {len(left)} traps; {int(rows['escaped'].astype(bool).sum())} escape"
    return Evidence(units.of_share(int(left.sum()), len(left), reference, -1), note)


def cosine(experiment: str, **where: Any) -> Measure:
    """Return a measure: mean recorded cosine of one condition, one value per seed."""

    def get(edition: Edition, reference: float) -> Evidence:
        values = cell(edition, experiment, "avg_cos", **where)
        if values.empty:
            return Evidence(note=f"{experiment}: not made, or no recorded cosines")
        return Evidence(units.of_values(values.to_numpy(), reference))

    return get


def branch_cosines(edition: Edition, _: float) -> Evidence:
    """W1 at λ = 0.50: mean cosine of the collapsed branch minus that of the ordered one, different seeds."""
    if "W1" not in edition.experiments:
        return Evidence(note="W1: not made")
    rows = edition.geometry("W1").dropna(subset=["cos_struct_value_mean"])
    rows = rows[np.isclose(rows["lam"], 0.50)]
    first, second = (
        rows[rows["branch"] == branch].groupby("seed")["cos_struct_value_mean"].mean()
        for branch in ("collapse", "ordered")
    )
    return difference(first, second, "W1: no recorded cosines", pair=False)


def corrosion(edition: Edition, _: float) -> Evidence:
    """Y1A: mean cosine of the last epoch minus that of the first, paired by run."""
    if "Y1A" not in edition.experiments:
        return Evidence(note="Y1A: not made")
    table = edition.epochs("Y1A").pivot_table(index="run", columns="epoch", values="cos_mean")
    if table.shape[1] < 2:
        return Evidence(note="Y1A: no recorded cosines")
    return difference(table.iloc[:, -1].dropna(), table.iloc[:, 0].dropna(), "Y1A: no recorded cosines")


def text_errors(edition: Edition, experiment: str, stage: str | None = None) -> pd.DataFrame:
    """Return a text experiment's errors by seed and epoch."""
    if experiment not in edition.experiments:
        return pd.DataFrame()
    rows = edition.trajectories(experiment)
    if stage is not None:
        rows = rows[rows["stage"] == stage]
    return rows.pivot_table(index="seed", columns="epoch", values="test_error")


def time_effect(edition: Edition, _: float) -> Evidence:
    """Y1A at its last epoch minus Y1B at its last, paired by seed."""
    long, short = text_errors(edition, "Y1A"), text_errors(edition, "Y1B")
    if long.empty or short.empty:
        return Evidence(note="Y1A and Y1B: not made")
    return difference(long.iloc[:, -1].dropna(), short.iloc[:, -1].dropna(), "no seed has both")


def _path_effects(edition: Edition, experiment: str) -> pd.Series:
    """A path effect at the last recovery epoch, against Y1A at the same epoch, by seed."""
    end, long = text_errors(edition, experiment, "phase3_recovery"), text_errors(edition, "Y1A")
    if end.empty or end.columns[-1] not in long.columns:
        return pd.Series(dtype=float)
    return (end.iloc[:, -1] - long[end.columns[-1]]).dropna()


def path_at_equal_age(experiment: str) -> Measure:
    """Return a measure: a path effect at the last recovery epoch, against Y1A at the same epoch."""

    def get(edition: Edition, reference: float) -> Evidence:
        effects = _path_effects(edition, experiment)
        if effects.empty:
            return Evidence(note=f"{experiment} or Y1A: not made")
        return Evidence(units.of_values(effects.to_numpy(), reference, "paired t"))

    return get


def dose_net(edition: Edition, _: float) -> Evidence:
    """Path effect of the longer detour minus that of the shorter, each at equal age, paired by seed."""
    more, less = (_path_effects(edition, name) for name in ("Y2k10", "Y2k3"))
    return difference(more, less, "Y2k10, Y2k3 or Y1A: not made")


def text_drift(edition: Edition, _: float) -> Evidence:
    """X4 at λ = 0.42: rank correlation of epoch and the runs' mean error."""
    if "X4" not in edition.experiments:
        return Evidence(note="X4: not made")
    rows = edition.trajectories("X4")
    table = rows[np.isclose(rows["lam"], 0.42)].pivot_table(
        index="seed", columns="epoch", values="test_error"
    )
    epochs = table.columns.to_numpy(dtype=float)
    # Means that are equal must not differ by their rounding: they are ties.
    return Evidence(
        units.jackknife_correlation(
            [table.to_numpy(dtype=float)], lambda samples: spearman(np.round(_means(samples[0]), 12), epochs)
        )
    )


def _log_largest(table: np.ndarray, _: np.ndarray) -> float:
    """ln of the largest variance over λ."""
    with np.errstate(divide="ignore"):
        return float(np.log(_variances(table).max()))


def rate_moves(tables: list[np.ndarray], lam: list[np.ndarray]) -> float:
    """Shift of the boundary per doubling of the learning rate: a sigmoid up to 0.9 (see boundary_model)."""
    return moves(tables, lam, np.array(_RATES), 0.9).shift


# ------------------------------------------------------------------------------------------- the phenomena

_RATES = (0.05, 0.1, 0.2)
_WIDTHS = (0.5, 1.0, 2.0)
_Q1: tuple[dict[str, dict[str, Any]], ...] = tuple(
    {"Q1": {"noise_rate": 0.4, "width_mult": width}} for width in _WIDTHS
)
_NO_CROSSING = "a curve does not cross the level within its grid"
_LOW: dict[str, dict[str, Any]] = {"A": {"noise_rate": 0.4}, "M2": {}}
_HIGH: dict[str, dict[str, Any]] = {"M3b": {}, "M3": {}}
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
        "A, η = 0.4: error at the first λ minus that at the λ that the other seeds have lowest",
        "fraction",
        above_minimum({"A": {"noise_rate": 0.4}}, 0),
    ),
    Phenomenon(
        "rises-after-minimum",
        "Regimes along λ",
        "Beyond that minimum the error rises again.",
        "A, η = 0.4: error at the last λ minus that at the λ that the other seeds have lowest",
        "fraction",
        above_minimum({"A": {"noise_rate": 0.4}}, -1),
    ),
    Phenomenon(
        "collapses-high-noise",
        "Regimes along λ",
        "At η = 0.8 training collapses within the grid.",
        "A, η = 0.8: error at the last λ minus that at the λ that the other seeds have lowest",
        "fraction",
        above_minimum({"A": {"noise_rate": 0.8}}, -1),
    ),
    Phenomenon(
        "boundary-left-fixed",
        "Regimes along λ",
        "More label noise moves the boundary to smaller λ (fixed level).",
        "N1, N2: λ where the mean error crosses 0.30, η = 0.8 minus η = 0.4",
        "lambda",
        of_grids(
            crossing_shift(0.30), {"N2": {"noise_rate": 0.8}}, {"N1": {"noise_rate": 0.4}}, none=_NO_CROSSING
        ),
        sign=-1,
        caveat="a fixed level does not follow the floor of the curve, which rises with noise",
    ),
    Phenomenon(
        "boundary-left-relative",
        "Regimes along λ",
        "More label noise moves the boundary to smaller λ (twice the curve's own minimum).",
        "A and M2, M3b and M3: λ where the mean error doubles its minimum, η = 0.8 minus η = 0.4",
        "lambda",
        of_grids(crossing_shift(None), _HIGH, _LOW, none=_NO_CROSSING),
        sign=-1,
    ),
    Phenomenon(
        "spread-grows",
        "Regimes along λ",
        "The spread between seeds grows towards the boundary.",
        "M2: ln of the variance at λ = 0.50 over that at 0.38",
        "1",
        of_grids(spread_ratio, {"M2": {"noise_rate": 0.4}}, none="no spread at an end of the grid"),
    ),
    Phenomenon(
        "variance-peak",
        "Regimes along λ",
        "The variance peaks at the boundary (a maximum inside the grid).",
        "M2: ln of the largest variance inside the grid over the larger one of its ends",
        "1",
        peak_over_ends({"M2": {}}, 0.9),
        caveat="λ where most runs are constant predictors are no part of the grid; Bonferroni over the λ inside it",
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
        slowing(0.40, 0.4),
    ),
    # ---- what moves the boundary
    Phenomenon(
        "width-moves-boundary",
        "What moves the boundary",
        "Wider networks collapse at larger λ.",
        "Q1, η = 0.4: change of the crossing (0.20; else twice the minimum) per doubling of the width",
        "lambda",
        first_known(
            of_grids(per_width(partial(_crossing, level=0.20), _WIDTHS), *_Q1, none=_NO_CROSSING),
            of_grids(per_width(partial(_crossing, level=None), _WIDTHS), *_Q1, none=_NO_CROSSING),
        ),
    ),
    Phenomenon(
        "width-sharpens",
        "What moves the boundary",
        "The transition sharpens with width (a larger spread between seeds).",
        "Q1, η = 0.4: change of ln(largest variance) per doubling of the width",
        "1",
        of_grids(per_width(_log_largest, _WIDTHS), *_Q1),
    ),
    Phenomenon(
        "rate-hurts-beyond",
        "What moves the boundary",
        "A higher learning rate collapses where a lower one trains well.",
        "Q3, η = 0.4, λ = 0.50: mean error at lr 0.2 minus that at lr 0.05",
        "fraction",
        means_apart(
            ("Q3", {"noise_rate": 0.4, "lr": 0.2, "lam": 0.50}),
            ("Q3", {"noise_rate": 0.4, "lr": 0.05, "lam": 0.50}),
        ),
    ),
    Phenomenon(
        "rate-interacts",
        "What moves the boundary",
        "Learning rate and λ interact: a higher rate moves the boundary to smaller λ.",
        "Q3, η = 0.4: shift of a sigmoid's middle per doubling of the rate (boundary_model)",
        "lambda",
        of_grids(rate_moves, *({"Q3": {"noise_rate": 0.4, "lr": rate}} for rate in _RATES)),
        sign=-1,
        caveat="at the lowest rate the boundary lies beyond the λ that were run: how far is extrapolated",
    ),
    # ---- branches and memory
    *(
        Phenomenon(
            f"two-branch-{hold}",
            "Branches and memory",
            f"A collapsed start stays above an ordered one ({hold} epoch{'s' * (hold > 1)} per λ).",
            f"{low if low == high else f'{low}, {high}'}: error of H minus L at λ = 0.50, seeds matched",
            "fraction",
            gap(low, high),
            caveat=_SMALL_RATE,
        )
        for hold, low, high in ((1, "Ta1-1", "Ta2-1"), (3, "Ta1-3", "Ta2-3"), (10, "Tb1", "Tb1"))
    ),
    Phenomenon(
        "two-branch-untrapped",
        "Branches and memory",
        "That gap is there without the seeds whose collapsed start is a constant predictor, too.",
        "Ta1-3, Ta2-3: error of H minus L at λ = 0.50, untrapped seeds",
        "fraction",
        gap("Ta1-3", "Ta2-3", untrapped=True),
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
            gap(name, name, untrapped=True),
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
        loop_area("R1a"),
        caveat="the way up is young and at the high learning rate, the way down old and at the low one",
    ),
    Phenomenon(
        "loop-same-rate",
        "Branches and memory",
        "The way up of that loop has the higher error where both ways have the same learning rate, too.",
        "R1a: mean gap over those λ",
        "fraction",
        loop_same_rate("R1a"),
        caveat="the two ways still differ in age",
    ),
    Phenomenon(
        "protects",
        "Branches and memory",
        "Ordered training protects against a later jump of λ into the collapse region.",
        "Q2, η = 0.4, epoch 100: error after the quench minus error at that λ throughout",
        "fraction",
        quench("quench_to_collapse", "fixed_collapse", 0.4),
        sign=-1,
    ),
    Phenomenon(
        "damages",
        "Branches and memory",
        "Collapsed training is not undone by a later jump to a good λ.",
        "Q2, η = 0.4, epoch 100: error after the quench minus error at that λ throughout",
        "fraction",
        quench("quench_to_ordered", "fixed_ordered", 0.4),
    ),
    Phenomenon(
        "gap-persists",
        "Branches and memory",
        "Two starts keep their distance after a jump to the same λ.",
        "W2: mean gap after 30 epochs, over seeds",
        "fraction",
        jump_gaps,
        caveat="three seeds; the jumps run at a hundredth of the training rate",
    ),
    # ---- metastability and traps
    Phenomenon(
        "survives",
        "Metastability and traps",
        "A low-error state outlives a jump to λ = 0.54.",
        "T13: share of runs at risk that reach the horizon, against one half (exact)",
        "1",
        survivors("T13"),
        reference=0.5,
        caveat="λ jumps in the epoch in which the learning rate falls to a tenth",
    ),
    Phenomenon(
        "survives-046",
        "Metastability and traps",
        "A low-error state outlives a jump to λ = 0.46.",
        "T1a: share of runs at risk that reach the horizon, against one half (exact)",
        "1",
        survivors("T1a"),
        reference=0.5,
        caveat="from scratch all runs end low at this λ too",
    ),
    Phenomenon(
        "no-recovery",
        "Metastability and traps",
        "A collapsed network does not recover as λ is lowered.",
        "R3b, η = 0.4, short hold: share of runs with the event, against one half (exact)",
        "1",
        recovered,
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
        "Td2: share of traps that an attempt leaves, against one half (exact)",
        "1",
        trap_left,
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
        cosine("M2", lam=0.38),
        sign=-1,
        caveat="with the cached value gradient, mean over training",
    ),
    Phenomenon(
        "opposition-fades",
        "Gradients",
        "The opposition fades towards the boundary.",
        "M2: mean cosine at λ = 0.50 minus that at 0.38",
        "cosine",
        means_apart(("M2", {"lam": 0.50}), ("M2", {"lam": 0.38}), "avg_cos"),
    ),
    Phenomenon(
        "aligned-when-collapsed",
        "Gradients",
        "On the collapsed branch the gradients are aligned more than on the ordered one.",
        "W1 at λ = 0.50: mean cosine of H minus L",
        "cosine",
        branch_cosines,
        caveat="the branches have different seeds",
    ),
    Phenomenon(
        "cosine-causes",
        "Gradients",
        "Setting the value direction against the clean gradient raises the error.",
        "L, λ = 0.30: mean error at cosine -0.9 minus that at +0.9",
        "fraction",
        means_apart(("L", {"lam": 0.30, "cos_target": -0.9}), ("L", {"lam": 0.30, "cos_target": 0.9})),
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
        "X2: ln of the largest variance inside the grid over the larger one of its ends",
        "1",
        peak_over_ends({"X2": {}}, None),
        caveat="Bonferroni over the λ inside the grid",
    ),
    Phenomenon(
        "time-effect",
        "Text",
        "Longer training of the text model at a good λ raises the error (time effect).",
        "Y1A at its last epoch minus Y1B, paired by seed",
        "fraction",
        time_effect,
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
        dose_net,
    ),
    Phenomenon(
        "text-loop",
        "Text",
        "A λ loop of the text model encloses an area.",
        "X3_fast: signed area, up minus down",
        "fraction lambda",
        loop_area("X3_fast"),
        caveat="almost all of it is the first step, the way up's third epoch",
    ),
    Phenomenon(
        "text-drift",
        "Text",
        "Text runs just beyond the boundary drift towards chance.",
        "X4, λ = 0.42: rank correlation of epoch and mean error",
        "1",
        text_drift,
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
