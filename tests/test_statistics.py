"""The statistics: numbers of the specification, other ways to the same number, incomplete tables, the docs."""

from __future__ import annotations

import csv
import math
import re
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from workflows import copy_workflow, planned, snakemake

from dualgrad.estimators import bootstrap
from dualgrad.estimators.curves import fit_sigmoid, last_crossing
from dualgrad.estimators.survival import ladder_median
from dualgrad.statistics import build, layout
from dualgrad.statistics.escapes import first_plateau
from dualgrad.statistics.hysteresis import area
from dualgrad.statistics.sources import COMMON_TRAINING, SAME_SEED, STATISTICS
from dualgrad.tables.edition import Tables, plain
from dualgrad.tables.schema import TABLES, arrow_schema

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs" / "statistics.md"
CHECKS = Path(__file__).parent / "data" / "check_numbers.csv"
NAMES = list(STATISTICS)


# ------------------------------------------------------------------------------------------- the published archive


@pytest.fixture(scope="session")
def released(released_results) -> Path:
    """The archive's tables of all counted experiments (folder of the edition)."""
    return released_results


@pytest.fixture(scope="session")
def counted() -> list[str]:
    from dualgrad.census import load_census

    census = load_census(ROOT, {"edition": "released"})
    return [name for name, one in census.experiments.items() if one["counted"]]


@pytest.fixture(scope="session")
def made(released, counted, tmp_path_factory):
    """Files of the archive's statistics, each made once."""
    folder = tmp_path_factory.mktemp("statistics")

    def get(name: str) -> Path:
        path = folder / f"{name}.parquet"
        if not path.exists():
            build.make(name, released, path, counted)
        return path

    return get


@pytest.fixture(scope="session")
def statistics(made):
    """The statistics of the archive as they are read back from their files. Shared: read-only."""
    return lru_cache(maxsize=None)(lambda name: pd.read_parquet(made(name)))


def find(frame: pd.DataFrame, where: dict) -> pd.DataFrame:
    """Rows with these levels; None: null."""
    for name, level in where.items():
        column = frame[name]
        if level is None:
            keep = column.isna()
        elif isinstance(level, bool | str):
            keep = (column == level).fillna(False).astype(bool)
        else:
            keep = (pd.to_numeric(column, errors="coerce").astype(float) - level).abs() < 1e-6
        frame = frame[keep.to_numpy()]
    return frame


def tolerance(printed: str) -> float:
    """Half a unit of the last printed digit."""
    mantissa, _, exponent = printed.lower().partition("e")
    digits = len(mantissa.partition(".")[2])
    return 0.5 * 10.0 ** (int(exponent or 0) - digits) * (1 + 1e-6) + 1e-12


def check(frame: pd.DataFrame, rows: list[tuple], scale: float = 1.0) -> None:
    """Compare (where, column, printed) with what the statistic holds."""
    wrong = []
    for where, column, printed in rows:
        found = find(frame, where)
        if len(found) != 1:
            wrong.append(f"{where}: {len(found)} rows")
            continue
        got = scale * float(found[column].iloc[0])
        if not abs(got - float(printed)) <= tolerance(printed):
            wrong.append(f"{where} {column}: {got}, expected {printed}")
    assert not wrong, "\n".join(wrong)


# ------------------------------------------------------------------------------------------- check numbers


def condition_rows() -> dict[tuple, list[dict]]:
    """The specs' condition means and spreads that name one experiment, by (table, field)."""
    rows = defaultdict(list)
    with CHECKS.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if " " not in row["experiments"] and row["table"] != "steps":
                rows[row["table"], row["field"]].append(row)
    return rows


def matching(frame: pd.DataFrame, row: dict) -> pd.DataFrame | None:
    """The summary, of those of a field, that a check number is about.

    None where it selects runs in another way than by condition.
    """
    where: dict = {}
    for condition in row["where"].split():
        name, _, level = condition.partition("=")
        if name not in frame or "|" in level or ".." in level:
            return None
        try:
            where[name] = float(level)
        except ValueError:
            where[name] = level
    if row["experiments"] in ("V2", "Tb1", "W1") and where.get("branch") in ("ordered_up", "collapse_down"):
        where["branch"] = {"ordered_up": "ordered", "collapse_down": "collapse"}[where["branch"]]
    return find(frame, where)


def test_condition_means_and_spreads_of_the_specs(statistics):
    summaries = statistics("summaries")
    fields = dict(iter(summaries.groupby(["experiment", "table", "field"], sort=False)))
    matched, wrong = 0, []
    for rows in condition_rows().values():
        for row in rows:
            mine = fields.get((row["experiments"], row["table"], row["field"]), summaries.iloc[:0])
            found = matching(mine, row)
            if found is None or len(found) != 4:
                continue  # not one condition of the summaries
            values = found.set_index("quantity")["value"]
            n = found["n"].iloc[0]
            if row["n"] and n != int(row["n"]):
                continue  # a part of the condition (passed gates, chosen seeds)
            slack = 1.1 if row["note"] == "rounded twice" else 1.0
            off = abs(values["mean"] - float(row["mean"])) > slack * tolerance(row["mean"])
            off |= bool(row["sd"]) and abs(values["sd"] - float(row["sd"])) > tolerance(row["sd"])
            matched += 1
            if off:
                wrong.append(f"{row}: {values['mean']} ± {values['sd']}")
    assert not wrong, "\n".join(wrong)
    assert matched >= 700
    assert summaries["n"].max() == 300


# ------------------------------------------------------------------------------------------- numbers of the figures


def at(experiment: str, quantity: str, **where) -> dict:
    return {"experiment": experiment, "quantity": quantity, **where}


def test_boundaries(statistics):
    """config/claims.yaml, conclusion 4, 5, 15; docs/specification/FIGURES.md ED3b; docs/specification/X-Y.md#2."""
    rows = []
    for eta, fixed, relative in (
        (0.2, ".5364", ".505"),
        (0.4, ".5004", ".475"),
        (0.6, ".4708", ".467"),
        (0.8, ".4226", ".467"),
    ):
        name = "N1" if eta < 0.5 else "N2"
        rows.append((at(name, "crossing", noise_rate=eta, error_level=0.30), "value", fixed))
        rows.append((at(name, "crossing_twice_minimum", noise_rate=eta), "value", relative))
    for eta, lowest in ((0.2, ".091"), (0.4, ".111")):
        rows.append((at("N1", "minimum_error", noise_rate=eta), "value", lowest))
    for eta, lowest in ((0.6, ".140"), (0.8, ".223")):
        rows.append((at("N2", "minimum_error", noise_rate=eta), "value", lowest))
    rows += [
        (at("A+M2", "crossing_twice_minimum", noise_rate=0.4), "value", ".478"),
        (at("M3b+M3", "crossing_twice_minimum", noise_rate=0.8), "value", ".455"),
        (at("S1", "half_of_runs", error_level=0.20), "value", ".4834"),
        (at("S1", "half_of_runs", error_level=0.30), "value", ".4956"),
        (at("S1", "half_of_runs", error_level=0.40), "value", ".5176"),
        (at("Q1", "crossing", noise_rate=0.4, width_mult=0.5, error_level=0.20), "value", ".4536"),
        (at("Q1", "crossing", noise_rate=0.4, width_mult=1.0, error_level=0.20), "value", ".4770"),
        (at("Q1", "crossing", noise_rate=0.4, width_mult=2.0, error_level=0.20), "value", ".4960"),
        (at("X2", "crossing", error_level=0.50), "value", ".3995"),
        (at("X2", "crossing_middle"), "value", ".379"),
        (at("X2", "steepest_step"), "value", ".37"),
        (at("X2", "steepest_step"), "lambda_from", ".36"),
        (at("X2", "steepest_slope"), "value", "-5.97"),
        (at("X1d", "steepest_slope"), "value", "-1.31"),
        (at("X1", "steepest_slope"), "value", "-0.12"),
        (at("X1c", "steepest_slope"), "value", "-0.27"),
        (at("X1b", "steepest_slope"), "value", "-3.32"),
        (at("A", "minimum_lambda", noise_rate=0.4), "value", ".35"),
        (at("O", "minimum_lambda", noise_rate=0.4), "value", ".30"),
        (at("O", "minimum_lambda", noise_rate=0.8), "value", ".30"),
        (at("P", "minimum_lambda", model="SimpleCNN"), "value", ".15"),
        (at("P2", "minimum_lambda", model="VGG11"), "value", ".45"),
    ]
    check(statistics("boundaries"), rows)
    edge = find(statistics("boundaries"), at("M2", "steepest_step"))
    assert edge["lambda_to"].iloc[0] == 0.50 and bool(edge["edge"].iloc[0])


def test_variance_peaks(statistics):
    """config/claims.yaml, conclusion 4: the largest variance at η = 0.4; the pooled runs."""
    frame = statistics("variance_peaks")
    grids = [at(name, "peak_lambda", noise_rate=0.4) for name in ("M2", "S1", "A", "K", "N1", "O")]
    grids += [at("M1", "peak_lambda", noise_rate=0.4, replicate=number) for number in (1, 2)]
    grids += [at("P", "peak_lambda", model=model) for model in ("ResNet18", "ResNet34")]
    grids += [at("Q1", "peak_lambda", noise_rate=0.4, width_mult=width) for width in (0.5, 1.0, 2.0)]
    grids.append(at("Q3", "peak_lambda", noise_rate=0.4, lr=0.1))
    peaks = pd.concat([find(frame, where) for where in grids])
    assert len(peaks) == 14
    assert (peaks["position"] == "last").sum() == 12
    interior = peaks[peaks["position"] == "interior"]
    assert interior["experiment"].tolist() == ["P", "Q3"]
    assert interior["value"].tolist() == [0.55, 0.50]
    assert interior["note"].fillna("").str.startswith("capped: at the next λ 3 of").all()
    assert peaks["value"].tolist() == [
        0.5,
        0.56,
        0.5,
        0.55,
        0.6,
        0.6,
        0.6,
        0.6,
        0.55,
        0.65,
        0.5,
        0.5,
        0.5,
        0.5,
    ]
    together = "K+M1+M2+M3+N1+N2+P"
    variance = {0.46: "5", 0.48: "16", 0.50: "52", 0.55: "64", 0.60: "179", 0.65: "0"}
    check(
        frame,
        [
            (at(together, "variance", noise_rate=0.4, lam=lam), "value", text)
            for lam, text in variance.items()
        ],
        scale=1e4,
    )
    bars = dict(
        zip(
            (0.38, 0.40, 0.42, 0.44, 0.46, 0.48, 0.50),
            (".049", ".059", ".129", ".168", "4.52", "16.02", "59.46"),
            strict=True,
        )
    )
    text = {
        **{0.26: "1.83", 0.28: "1.95", 0.30: "2.55", 0.32: "3.21", 0.34: "6.17"},
        **{0.36: "18.82", 0.38: "25.42", 0.40: "13.36", 0.42: "11.32", 0.44: "9.11"},
    }
    rows = [(at("M2", "variance", lam=lam), "value", value) for lam, value in bars.items()]
    rows += [(at("X2", "variance", lam=lam), "value", value) for lam, value in text.items()]
    check(frame, rows, scale=1e4)
    nlp = find(frame, at("X2", "peak_lambda")).iloc[0]
    assert (nlp["value"], nlp["position"], nlp["note"]) == (0.38, "interior", None)
    assert find(frame, at("X2", "interior_share"))["value"].iloc[0] > 0.99


def test_bimodality(statistics):
    """config/claims.yaml, conclusion 2; FIGURES.md 1c. Printed p values are Monte Carlo: within 0.02."""
    frame = statistics("bimodality")
    cell = at("S2", "dip", noise_rate=0.4, epoch=None, pooled=False, lam=0.50)
    check(
        frame,
        [(cell, "value", ".0144"), (cell, "n", "300"), ({**cell, "quantity": "median"}, "value", ".285")],
    )
    check(frame, [({**cell, "quantity": "skewness"}, "value", "1.75")])
    for where, p_value in (
        (cell, 0.98),
        (at("S2", "dip", pooled=True, lam=0.48), 0.035),
        (at("S2", "dip", noise_rate=0.4, pooled=False, lam=0.48), 0.99),
        (at("S2", "dip", noise_rate=0.4, pooled=False, lam=0.52), 1.00),
        (at("S2", "dip", noise_rate=0.8, pooled=False, lam=0.40), 0.33),
        (at("S2", "dip", noise_rate=0.8, pooled=False, lam=0.44), 0.34),
        (at("S2", "dip", noise_rate=0.8, pooled=False, lam=0.48), 0.95),
        (at("M2", "dip", lam=0.46), 0.63),
        (at("M2", "dip", lam=0.48), 0.96),
        (at("M2", "dip", lam=0.50), 0.78),
    ):
        assert find(frame, where)["p_value"].iloc[0] == pytest.approx(p_value, abs=0.03), where
    dips = frame[(frame["quantity"] == "dip") & frame["epoch"].isna() & ~frame["pooled"].astype(bool)]
    wide = dips[dips["experiment"].isin(["S1", "S2"])]
    assert len(wide) == 14 and wide["p_value"].min() > 0.3
    text = dips[dips["experiment"].str.startswith("X")]
    assert len(text) == 37 and text["p_value"].min() == pytest.approx(0.11, abs=0.02)
    counts = {(0.40, None): (34, 34), (0.44, None): (34, 8), (0.48, True): (84, 47), (0.50, None): (300, 166)}
    for (lam, pooled), (n, low) in {**counts, (0.52, None): (50, 7)}.items():
        where = at("S2", "low_count", epoch=None, pooled=bool(pooled), lam=lam)
        row = find(frame, where).iloc[0]
        assert (row["n"], row["value"]) == (n, low)
    fractions = dict(
        zip(
            (0.42, 0.44, 0.46, 0.48, 0.50, 0.52, 0.54, 0.56),
            ["1", "1", "1", ".92", ".38", ".06", "0", "0"],
            strict=True,
        )
    )
    check(frame, [(at("S1", "low_share", lam=lam), "value", text) for lam, text in fractions.items()])
    # Where two noise rates are mixed, two modes are found; in the largest single cell they are not.
    assert find(frame, at("S2", "mixture_modes", pooled=True, lam=0.48))["value"].iloc[0] == 2
    assert find(frame, {**cell, "quantity": "mixture_modes"})["value"].iloc[0] == 1


def test_convergence(statistics):
    """config/claims.yaml, conclusion 6; docs/specification/FIGURES.md 1d."""
    frame = statistics("convergence")
    rows = []
    for lam, (mean, sd, low, high) in {
        0.30: ("51", "0", "51", "51"),
        0.35: ("51", "0", "51", "51"),
        0.43: ("51", "0", "51", "51"),
        0.45: ("54.4", "2.15", "52", "57"),
        0.47: ("66.4", "6.34", "58", "76"),
    }.items():
        cell = {"noise_rate": 0.4, "lam": lam, "error_level": 0.20}
        for quantity, printed in (("mean", mean), ("sd", sd), ("min", low), ("max", high)):
            rows.append((at("K", f"{quantity}_epoch", **cell), "value", printed))
    for lam, mean in {0.30: "10", 0.35: "14", 0.43: "28", 0.45: "37", 0.47: "48"}.items():
        rows.append((at("K", "mean_epoch", noise_rate=0.4, error_level=0.40, lam=lam), "value", mean))
    rows.append((at("K", "mean_epoch", noise_rate=0.4, error_level=0.40, lam=0.55), "value", "91"))
    check(frame, rows)
    high = find(frame, at("K", "converged_share", noise_rate=0.8, error_level=0.20))
    assert len(high) == 6 and (high["value"] == 0).all()
    slowing = find(frame, at("K", "rank_correlation", noise_rate=0.4, error_level=0.40)).iloc[0]
    assert slowing["low"] > 0.9 and slowing["p_value"] < 1e-4
    assert (slowing["n"], slowing["runs"]) == (5, 30) and slowing["low"] < slowing["value"] < slowing["high"]
    for lam, printed in ((0.30, 0.0), (0.47, 0.0)):
        early = find(frame, at("K", "before_first_drop", noise_rate=0.4, error_level=0.20, lam=lam))
        assert early["value"].iloc[0] == printed


def test_hysteresis(statistics):
    """Q-R.md#4 (areas, signed there as down - up); config/claims.yaml 8 and 14; X-Y.md#5."""
    frame = statistics("hysteresis")
    check(
        frame,
        [
            (at("R1a", "area_absolute"), "value", ".07466"),
            (at("R1b", "area_absolute"), "value", ".03322"),
            (at("R2a", "area_absolute"), "value", ".04873"),
            (at("R2b", "area_absolute"), "value", ".06480"),
            (at("R1a", "area"), "value", ".07428"),
            (at("R1b", "area"), "value", ".03322"),
            (at("R2a", "area"), "value", "-.04873"),
            (at("R2b", "area"), "value", ".06480"),
            (at("X3_fast", "area"), "value", ".0037"),
            (at("R1a", "max_gap"), "value", ".4473"),
            (at("R1a", "max_gap"), "lam", ".22"),
            (at("R1a", "max_gap"), "epoch_up", "2"),
            (at("R1a", "max_gap"), "epoch_down", "60"),
            (at("R1b", "max_gap"), "value", ".2226"),
            (at("R1b", "max_gap"), "lam", ".34"),
            (at("R1a", "gap", lam=0.30), "value", ".30611"),
            (at("R1a", "gap", lam=0.40), "value", ".29952"),
            (at("R1a", "gap", lam=0.50), "value", ".20467"),
            (at("R1b", "gap", lam=0.50), "value", ".003"),
            (at("R1a", "min_gap_same_rate"), "value", "-.041"),
            (at("R1a", "max_gap_same_rate"), "value", ".236"),
            (at("R1a", "mean_gap_same_rate"), "value", ".084"),
            (at("R1b", "max_gap_same_rate"), "value", ".005"),
            (at("X3_fast", "max_gap"), "value", ".1292"),
            (at("X3_slow", "max_absolute_gap"), "value", ".0217"),
            (at("X3_slow", "max_absolute_gap"), "lam", ".30"),
            (at("X3_slow", "max_gap"), "value", ".0143"),
        ],
    )
    fast = [".1292", ".0401", "-.0100", ".0011", ".0088", "-.0100", "-.0135", "-.0016", "-.0121"]
    slow = ["-.0062", ".0070", "-.0217", ".0143", ".0053", ".0080", ".0096", ".0033", ".0048"]
    for experiment, printed in (("X3_fast", fast), ("X3_slow", slow)):
        gaps = find(frame, at(experiment, "gap")).sort_values("lam")
        assert gaps["value"].tolist() == pytest.approx([float(text) for text in printed], abs=6e-5)
    same = find(frame, at("R1a", "gap", same_rate=True))["lam"]
    assert (same.min(), same.max(), len(find(frame, at("R1a", "gap")))) == (0.42, 0.57, 26)
    assert len(find(frame, at("R2a", "gap"))) == 24


def test_two_branch(statistics):
    """config/claims.yaml, conclusion 9; docs/specification/FIGURES.md 2c, 4d, ED1; docs/specification/Td-W.md#2."""
    frame = statistics("two_branch")
    names = {1: "Ta1-1+Ta2-1", 3: "Ta1-3+Ta2-3", 10: "Tb1"}
    rows = []
    for hold, drawn, matched, middle in (
        (1, "52.89", "36.9", "34.4"),
        (3, "53.33", "37.2", "29.6"),
        (10, "37.25", "37.3", "22.4"),
    ):
        name = names[hold]
        rows.append((at(name, "max_gap", selection="all", hold_epochs=hold), "value", drawn))
        rows.append((at(name, "max_gap", selection="matched"), "value", matched))
        rows.append((at(name, "gap", selection="matched", lam=0.50), "value", middle))
    for hold, drawn in ((1, "51.25"), (3, "48.58"), (10, "22.23")):
        rows.append((at(names[hold], "gap", selection="all", lam=0.50), "value", drawn))
    for name, gap, low, high in (
        ("V1", "46.31", "45.57", "47.91"),
        ("V3", "53.48", "50.51", "56.46"),
        ("V4", "40.62", "39.54", "42.03"),
        ("Tb2", "44.56", "43.64", "49.05"),
    ):
        rows.append((at(name, "gap", selection="all", lam=0.50), "value", gap))
        rows.append((at(name, "min_gap", selection="all"), "value", low))
        rows.append((at(name, "max_gap", selection="all"), "value", high))
    rows += [
        (at("V1", "gap", selection="untrapped", lam=0.50), "value", "29.8"),
        (at("V3", "gap", selection="untrapped", lam=0.50), "value", "42.1"),
        (at("V4", "gap", selection="untrapped", lam=0.50), "value", "40.6"),
        (at("V2", "mean_gap", selection="all", clean_ratio=0.01), "value", "52.0"),
        (at("V2", "mean_gap", selection="all", clean_ratio=0.05), "value", "64.5"),
    ]
    rows += [
        (at(name, "seed_gap", seed=seed), "value", printed)
        for name, gaps in (("V1", ("79", "28", "31")), ("V3", ("46", "38", "76")))
        for seed, printed in enumerate(gaps)
    ]
    check(frame, rows, scale=100)
    trapped = find(frame, {"quantity": "trapped_seeds"}).set_index("experiment")
    assert trapped.loc[["Ta1-1+Ta2-1", "Ta1-3+Ta2-3", "Tb1", "V1", "V3", "V4", "Tb2"], "value"].tolist() == [
        *(2, 2, 0, 1, 1, 0, 3)
    ]
    matched = find(frame, at("Tb1", "max_gap", selection="matched")).iloc[0]
    assert matched["seeds"] == "0 2 4" and matched["interval"] == "paired t, Bonferroni"
    drawn = find(frame, at("Tb1", "max_gap", selection="all")).iloc[0]
    assert drawn["seeds"] == "0 1 2 3 4 / 0 2 4" and drawn["interval"] == "Welch t, Bonferroni"
    none = find(frame, at("Tb2", "max_gap", selection="untrapped")).iloc[0]
    assert math.isnan(none["value"]) and none["note"] == "every matched seed is trapped on the H branch"


def test_what_a_critical_reviewer_asks(statistics):
    """Reruns, the null model of the variance peak, honest choices, and what the dip test is worth."""
    frame = statistics("reruns")
    both = frame[frame["noise_rate"].isna() & (frame["lam_from"] == 0.45)].set_index("quantity")
    share = both.loc["within_share"]
    assert share["value"] == pytest.approx(0.93, abs=0.005) and share["low"] < 0.84 < share["high"]
    assert both.loc["largest_difference", "value"] == pytest.approx(0.286, abs=5e-4)
    frame = statistics("variance_null")
    check(
        frame,
        [
            (at("X2", "slope_correlation"), "value", ".99"),
            (at("X2", "explained"), "value", ".98"),
            (at("M2", "slope_correlation"), "value", ".83"),
            (at("M2", "peak_ratio"), "value", "1.6"),
        ],
    )
    # M2's r and ratio are what its own model gives with ten seeds; S1's are not (its last λ holds runs at .90).
    for experiment, quantity, seen, within in (
        ("M2", "model_correlation", "slope_correlation", True),
        ("M2", "model_peak_ratio", "peak_ratio", True),
        ("S1", "model_peak_ratio", "peak_ratio", False),
    ):
        mine = frame[(frame["experiment"] == experiment) & (frame["noise_rate"] == 0.4)].set_index("quantity")
        low, high = mine.loc[quantity, ["low", "high"]]
        assert (low < mine.loc[seen, "value"] < high) == within, (experiment, quantity)
    frame = statistics("chosen_lambda")
    check(
        frame,
        [
            (at("A", "chosen_error", noise_rate=0.4), "value", ".1122"),
            (at("A", "honest_error", noise_rate=0.4), "value", ".1140"),
            (at("M2", "optimism"), "value", "0"),
        ],
    )
    frame = statistics("bimodality")
    cell = {"noise_rate": 0.4, "lam": 0.50, "pooled": False, "epoch": None}
    check(
        frame,
        [
            (at("S2", "bic_shifted_lognormal", **cell), "value", "-685"),
            (at("S2", "bic_one_gaussian", **cell), "value", "-576"),
            (at("S2", "dip_power", lobe_distance=3.5, **cell), "value", ".89"),
        ],
    )
    assert find(frame, at("S2", "bic_two_gaussians", **cell))["value"].iloc[0] > -650
    assert find(frame, at("S2", "silverman_alive", **cell))["p_value"].iloc[0] == pytest.approx(
        0.17, abs=0.05
    )
    for name in ("M2", "M3", "Q1"):
        notes = frame[(frame["experiment"] == name) & (frame["quantity"] == "dip") & frame["value"].notna()][
            "note"
        ]
        assert len(notes) and notes.fillna("").str.startswith("not testable: at n = 10").all(), name
    frame = statistics("convergence")
    rho = find(frame, at("K", "rank_correlation", noise_rate=0.4, error_level=0.40)).iloc[0]
    assert rho["low"] < rho["value"] < rho["high"]
    frame = statistics("spinodals")
    floor = find(frame, at("R3a", "recorded_mean", noise_rate=0.8, hold_type="short")).iloc[0]
    assert math.isnan(floor["low"]) and "interval-censored" in floor["note"]


def test_spinodals(statistics):
    """config/claims.yaml, conclusion 10; docs/specification/Q-R.md#4; S-T.md#4."""
    frame = statistics("spinodals")
    check(
        frame,
        [
            (at("R3a", "recorded_mean", noise_rate=0.4, hold_type="short"), "value", ".556"),
            (at("R3a", "recorded_sd", noise_rate=0.4, hold_type="short"), "value", ".052"),
            (at("R3a", "recorded_mean", noise_rate=0.4, hold_type="long"), "value", ".674"),
            (at("R3a", "recorded_sd", noise_rate=0.4, hold_type="long"), "value", ".022"),
            (at("R3a", "recorded_mean", noise_rate=0.8, hold_type="short"), "value", ".440"),
            (at("R3a", "recorded_mean", noise_rate=0.8, hold_type="long"), "value", ".440"),
            (at("R3a", "floor_share", noise_rate=0.8, hold_type="short"), "value", "1"),
            (at("R3a", "start_error", noise_rate=0.4, hold_type="short"), "value", ".26506"),
            (at("R3a", "start_error", noise_rate=0.8, hold_type="long"), "value", ".53878"),
            (at("R3a", "first_crossing", noise_rate=0.4, hold_type="short"), "value", ".42"),
            (at("R3a", "first_crossing", noise_rate=0.4, hold_type="long"), "value", ".42"),
            (at("R3a", "censored", noise_rate=0.4, hold_type="long"), "value", "1"),
            (at("R3a-R3b", "width", noise_rate=0.4, hold_type="short"), "value", ".356"),
            (at("R3a-R3b", "width", noise_rate=0.4, hold_type="long"), "value", ".474"),
            (at("R3a-R3b", "width", noise_rate=0.8, hold_type="short"), "value", ".240"),
            (at("R3a-R3b", "width", noise_rate=0.8, hold_type="long"), "value", ".240"),
        ],
    )
    down = find(frame, at("R3b", "censored"))
    assert down["value"].tolist() == [10] * 4 and (down["ladder_end"] == 0.20).all()
    assert (
        find(frame, {"quantity": "width"})["note"]
        .fillna("")
        .str.startswith(("a lower bound", "one way"))
        .all()
    )
    assert find(frame, at("R3b", "median_lambda"))["value"].isna().all()
    for name in ("T1-spinodal", "T2-spinodal"):
        assert find(frame, at(name, "censored"))["value"].iloc[0] == 10
        assert math.isnan(find(frame, at(name, "recorded_mean"))["value"].iloc[0])


def test_survival(statistics):
    """config/claims.yaml, conclusion 7; docs/specification/S-T.md#12; docs/specification/FIGURES.md 3a and ED8."""
    frame = statistics("survival")
    rows = []
    for name, after, last, largest in (
        ("T1a", ".15233", ".10348", ".1612"),
        ("T13", ".15515", ".09904", ".1657"),
    ):
        rows += [
            (at(name, "survivors"), "value", "49"),
            (at(name, "survival_share"), "low", ".9275"),  # 0.025^(1/49)
            (at(name, "failed_starts"), "value", "1"),
            (at(name, "error_before"), "value", ".24771"),
            (at(name, "error_after"), "value", after),
            (at(name, "error_last"), "value", last),
            (at(name, "largest_error"), "value", largest),
        ]
    rows += [
        (at("T1a", "survival_share"), "epoch", "150"),
        (at("T13", "survival_share"), "epoch", "300"),
        (at("T1a", "from_scratch_low"), "value", "1"),
        (at("T13", "from_scratch_low"), "value", "0"),
        (at("T13", "from_scratch_high"), "value", ".74"),  # 37 of 50
        (at("X4", "ever_below_chance", lam=0.34), "value", "0"),
        (at("X4", "ever_below_chance", lam=0.42), "value", "1"),
        (at("X4", "drift", lam=0.42), "value", ".87"),
    ]
    check(frame, rows)
    above = find(frame, at("X4", "above_chance_share", lam=0.42)).sort_values("epoch")
    expected = [0.0, 6.7, 23.3, 50, 63.3, 70, 83.3, 73.3, 70, 80, 80, 73.3]
    assert (100 * above["value"]).tolist() == pytest.approx(expected, abs=0.05)
    for lam in (0.34, 0.36):
        assert (find(frame, at("X4", "above_chance_share", lam=lam))["value"] == 1).all()


def test_escapes(statistics):
    """config/claims.yaml, conclusion 11: 0 of 18 attempts; plateaus left: 16 of 81, 9 of 77, 7 of 70."""
    frame = statistics("escapes")
    whole = find(frame, at("Td2", "escaped_share", intervention="all")).iloc[0]
    assert (whole["value"], whole["n"], whole["runs"]) == (0, 3, 18)
    assert whole["high"] == pytest.approx(1 - 0.025 ** (1 / 3))  # three traps, 71 %
    assert (find(frame, at("Td2", "lowest_error"))["value"] == 0.9).all()
    counts = {
        least: [
            find(frame, at("plateaus", quantity, least=least, noise_rate=None))["value"].iloc[0]
            for quantity in ("plateaus", "left", "ended_below")
        ]
        for least in (3, 5, 10)
    }
    assert counts[3] == [81, 16, 13] and counts[5][:2] == [77, 9] and counts[10] == [70, 7, 7]
    long = find(frame, at("plateaus", "left_share", least=10, noise_rate=None)).iloc[0]
    assert long["runs"] == 70 and long["n"] < 60  # Ta2-1 and Ta2-3, R3b's two holds: one start each
    high = [
        find(frame, at("plateaus", q, least=3, noise_rate=0.8))["value"].iloc[0] for q in ("plateaus", "left")
    ]
    traps = [find(frame, at("Tb2", q, least=3))["value"].iloc[0] for q in ("plateaus", "left")]
    assert [high[0] - traps[0], high[1] - traps[1]] == [42, 12] and traps == [3, 0]
    ladder = [
        find(frame, at("R3b", q, least=3, noise_rate=0.4, hold_type="long"))["value"].iloc[0]
        for q in ("plateaus", "left", "lowest_after")
    ]
    assert ladder[:2] == [6, 2] and ladder[2] == pytest.approx(0.61, abs=5e-3)


def test_interventions(statistics):
    """config/claims.yaml, conclusion 7, 8, 12; docs/specification/FIGURES.md 3d; Td-W.md#W2; I-P.md#I, I-P.md#L."""
    frame = statistics("interventions")
    check(
        frame,
        [
            (at("W2", "gap", rows="nine"), "value", "44.55"),
            (at("W2", "gap_sd", rows="nine"), "value", "15.69"),
            (at("W2", "gap_max", rows="nine"), "value", "67.23"),
            (at("W2", "gap", rows="seeds", lam=None), "low", "-3"),
            (at("W2", "gap", rows="seeds", lam=None), "high", "92"),
            (at("W2", "gap_sd", rows="seeds", lam=None), "value", "19.2"),
            (at("W2", "gap", rows="seeds", lam=0.40), "value", "44.8"),
            (at("W2", "gap", rows="seeds", lam=0.50), "value", "44.7"),
            (at("W2", "gap", rows="seeds", lam=0.55), "value", "44.1"),
            (at("W2", "start_gap"), "value", "48.8"),
            (at("W2", "gap_change"), "value", "-4.2"),
            (at("W2", "gap_kept"), "value", "91"),
            (
                at("Q2", "difference", noise_rate=0.4, schedule="quench_to_collapse", epoch=100),
                "value",
                "-51.4",
            ),
            (
                at("Q2", "difference", noise_rate=0.4, schedule="quench_to_ordered", epoch=100),
                "value",
                "25.7",
            ),
            (
                at("Q2", "difference", noise_rate=0.8, schedule="quench_to_collapse", epoch=100),
                "value",
                "-47.7",
            ),
            (
                at("Q2", "difference", noise_rate=0.8, schedule="quench_to_ordered", epoch=100),
                "value",
                "42.1",
            ),
            (
                at("Q2", "difference", noise_rate=0.4, schedule="quench_to_collapse", epoch=50),
                "value",
                "-49.2",
            ),
            (at("Q2", "difference", noise_rate=0.4, schedule="quench_to_ordered", epoch=50), "value", "35.1"),
            (
                at("Q2", "difference", noise_rate=0.8, schedule="quench_to_collapse", epoch=50),
                "value",
                "-9.3",
            ),
            (at("Q2", "difference", noise_rate=0.8, schedule="quench_to_ordered", epoch=50), "value", "39.3"),
            (at("Q2", "error_before_jump", noise_rate=0.4, schedule="quench_to_collapse"), "value", "29.4"),
            (at("Q2", "error_after_jump", noise_rate=0.4, schedule="quench_to_collapse"), "value", "58.6"),
            (at("Q2", "collapse_rule", noise_rate=0.4, schedule="quench_to_collapse"), "value", "100"),
            (at("Q2", "collapse_rule", noise_rate=0.4, schedule="fixed_ordered"), "value", "0"),
            (at("Q2", "recovered_share", noise_rate=0.4, schedule="quench_to_ordered"), "value", "80"),
            (at("Q2", "recovered_share", noise_rate=0.8, schedule="quench_to_ordered"), "value", "0"),
            (at("L", "cosine_range", lam=None), "value", "79"),
        ],
        scale=100,
    )
    check(
        frame,
        [
            (at("I", "cosine_correlation", lam=None), "value", ".8917"),
            (at("L", "cosine_correlation", lam=None), "value", "-.6321"),
            (at("L", "cosine_correlation", lam=0.30), "value", "-.7244"),
            (at("L", "cosine_correlation", lam=0.35), "value", "-.8744"),
            (at("L", "cosine_correlation", lam=0.40), "value", "-.7581"),
            (at("I", "cosine_correlation", lam=0.35), "value", ".983"),
        ],
    )
    assert find(frame, at("L", "monotone"))["value"].tolist() == [0, 0, 0]
    ends = find(frame, at("Q2", "separated", epoch=100))["value"]
    middle = find(frame, at("Q2", "separated", epoch=50))["value"]
    assert (len(ends), ends.sum(), len(middle), middle.sum()) == (4, 4, 4, 3)
    paired = find(frame, at("Q2", "difference", epoch=100)).sort_values("p_value")
    assert (paired["p_value"] < 0.01).sum() == 3 and paired["p_value"].iloc[-1] == pytest.approx(
        0.128, abs=1e-3
    )
    assert (paired["interval"] == "paired t").all() and (paired["p_holm"] >= paired["p_value"]).all()


def test_dependence(statistics):
    """Which runs share a training or a start (docs/fidelity.md), and Kendall's W of seeds over λ (text: .64)."""
    frame = statistics("dependence")
    rows = find(frame, {"quantity": "shared_start"})
    pairs = map(frozenset, zip(rows["experiment"], rows["with_experiment"], strict=True))
    starts = dict(zip(pairs, rows["value"], strict=True))
    for one, other, seeds in (
        *(("T13", "T1a", 50), ("R3a", "T1a", 10), ("R3a", "Ta-prep-O", 10), ("T1-spinodal", "T1a", 10)),
        *(("Ta1-1", "Ta1-3", 5), ("Ta1-1", "Tb1", 5), ("Ta2-1", "Ta2-3", 3)),  # two of Ta2's five are dead
    ):
        assert starts[frozenset((one, other))] == seeds, (one, other)
    same = find(frame, {"quantity": "shared_training"})
    copied = dict(zip(zip(same["experiment"], same["with_experiment"], strict=True), same["n"], strict=True))
    assert copied == {("Ta-prep-O", "W2"): 3, ("X1b", "X2"): 20, ("Y1A", "Y1B"): 20}
    check(
        frame,
        [
            (at("X2", "concordance"), "value", ".64"),
            (at("X1", "concordance"), "value", ".64"),
            (at("S1", "concordance"), "value", ".16"),
            (at("S1", "seeds"), "value", "50"),
            (at("S1", "seeds"), "runs", "400"),
        ],
    )
    w = find(frame, {"quantity": "concordance"})
    text = w["experiment"].str.startswith("X")
    assert (w.loc[text, "p_value"] < 0.003).all() and (w.loc[~text, "p_holm"] > 0.05).all()


def test_every_start_is_the_census_s(census):
    """Experiments whose runs go on from a trained state of another one are known, branch by branch."""
    from dualgrad.statistics.sources import START_OF

    found: dict[str, set[str]] = {}
    for run in census.runs.values():
        for stage in run["stages"]:
            start = stage["start"]
            if start["kind"] in ("checkpoint", "select") and run["counted"]:
                source = start["run"] if start["kind"] == "checkpoint" else start["runs"][0]
                found.setdefault(run["experiment"], set()).add(source.partition("/")[0])
    wanted = {name: sources for name, sources in found.items() if sources & {"Ta-prep-O", "Ta-prep-C"}}
    known = {name: set(branches.values()) for name, branches in START_OF.items()}
    for name, sources in wanted.items():
        assert sources <= known[name], name


def test_boundary_model(statistics):
    """A sigmoid fits where a line with an interaction does not (lack of fit F about 57 in Q3)."""
    frame = statistics("boundary_model")
    check(
        frame,
        [
            (at("Q1", "shift", noise_rate=0.4), "value", ".0253"),
            (at("Q1", "shift", noise_rate=0.8), "value", ".0152"),
            (at("Q3", "shift", noise_rate=0.4), "value", "-.143"),
            (at("Q3", "shift", noise_rate=0.8), "value", "-.239"),
            (at("Q3", "line_lack_of_fit", noise_rate=0.4), "value", "58.2"),
        ],
    )
    for name, sign in (("Q1", 1), ("Q3", -1)):
        shifts = find(frame, at(name, "shift"))
        assert (sign * shifts[["low", "high"]] > 0).all(axis=None) and (shifts["p_holm"] < 0.01).all()
    assert (find(frame, {"quantity": "lack_of_fit"})["p_value"] > 0.05).all()
    assert (find(frame, {"quantity": "line_lack_of_fit"})["p_value"] < 1e-4).all()
    widening = find(frame, at("Q1", "widening"))
    assert (widening["low"] < 0).all() and (widening["high"] > 0).all()  # width does not sharpen it


def test_hierarchy(statistics):
    """Over all experiments of nearly one training the shift is the run's: next to nothing of it is the seed's."""
    frame = statistics("hierarchy")
    mine = find(frame, {"noise_rate": 0.4}).set_index("quantity")
    assert (mine["n"] == 55).all() and (mine["runs"] == 715).all() and (mine["experiments"] == 9).all()
    assert mine.loc["middle", "value"] == pytest.approx(0.5470, abs=5e-4)
    assert mine.loc["run_sd", "value"] == pytest.approx(0.0187, abs=3e-4)
    assert mine.loc["run_share", "value"] > 0.99
    assert mine["low"].isna().to_dict() == {
        name: name in ("experiment_sd", "rest_sd", "run_share") for name in mine.index
    }
    assert mine.loc["seed_sd", "p_value"] > 0.4 and mine.loc["run_sd", "p_value"] < 1e-10
    assert mine.loc["seed_share", "high"] < 0.2
    bounded = mine.dropna(subset=["low", "high"])
    assert (bounded["low"] <= bounded["value"] + 1e-6).all() and (
        bounded["value"] <= bounded["high"] + 1e-6
    ).all()
    high = find(frame, {"noise_rate": 0.8}).set_index("quantity")
    assert high.loc["middle", "value"] == pytest.approx(0.4748, abs=1e-3)


def test_a_seed_is_the_same_where_noise_and_weights_are(census):
    """The experiments of the hierarchical model, by how they draw the noise and whose network they start."""
    drawn = {}
    for name, where in COMMON_TRAINING.items():
        runs = [census.runs[run] for run in census.experiments[name]["runs"]]
        if "model" in where:
            runs = [run for run in runs if run["factors"]["model"] == where["model"]]
        (found,) = {(run["task"]["model"]["name"], run["noise"]["seed_offset"]) for run in runs}
        drawn.setdefault(found, set()).add(name)
    groups = {}
    for name, number in SAME_SEED.items():
        groups.setdefault(number, set()).add(name)
    assert sorted(map(sorted, drawn.values())) == sorted(map(sorted, groups.values()))


def test_finite_size(statistics):
    """config/claims.yaml, conclusion 5; docs/specification/FIGURES.md ED5."""
    frame = statistics("finite_size")
    rows = []
    for eta, level, crossings, slopes, peaks in (
        (0.4, 0.20, (".4536", ".4770", ".4960"), ("3.26", "2.71", "3.04"), ("11.81", "3.31", "1.08")),
        (0.8, 0.35, (".4175", ".4358", ".4480"), ("3.31", "2.90", "3.39"), ("5.56", "3.40", "1.86")),
    ):
        for width, crossing, slope, peak in zip((0.5, 1.0, 2.0), crossings, slopes, peaks, strict=True):
            where = {"noise_rate": eta, "width_mult": width}
            rows.append((at("Q1", "crossing", error_level=level, **where), "value", crossing))
            rows.append((at("Q1", "slope_at_crossing", error_level=level, **where), "value", slope))
            found = find(frame, at("Q1", "peak_variance", **where))
            assert (
                1e3 * found["value"].iloc[0] == pytest.approx(float(peak), abs=0.005)
                and found["edge"].iloc[0]
            )
    check(frame, rows)
    for eta in (0.4, 0.8):  # the boundary moves right with width, the spread falls
        assert (
            find(
                frame,
                at("Q1", "crossing_per_doubling", noise_rate=eta, error_level=0.2 if eta == 0.4 else 0.35),
            )["low"].iloc[0]
            > 0.005
        )
        assert find(frame, at("Q1", "log_variance_per_doubling", noise_rate=eta))["high"].iloc[0] < 0


def test_learning_rate(statistics):
    """config/claims.yaml, conclusion 15; Q-R.md#Q3 (the published rule: none, .50, .45; .30 at η = 0.8)."""
    frame = statistics("learning_rate")
    first = find(frame, at("Q3", "first_above", noise_rate=0.4)).sort_values("lr")["value"]
    assert math.isnan(first.iloc[0]) and first.tolist()[1:] == [0.50, 0.45]
    assert find(frame, at("Q3", "first_above", noise_rate=0.8))["value"].tolist() == [0.30] * 3
    check(
        frame,
        [
            (at("Q3", "mean_error", noise_rate=0.4, lr=0.05, lam=0.60), "value", ".148"),
            (at("Q3", "mean_error", noise_rate=0.4, lr=0.1, lam=0.50), "value", ".324"),
            (at("Q3", "mean_error", noise_rate=0.4, lr=0.2, lam=0.45), "value", ".900"),
            (at("Q3", "constant_share", noise_rate=0.4, lr=0.2, lam=0.45), "value", "1"),
            (at("Q3", "constant_share", noise_rate=0.4, lr=0.1, lam=0.60), "value", ".6"),
        ],
    )
    assert (
        find(frame, at("Q3", "crossing", noise_rate=0.4, lr=0.05))["note"]
        .fillna("")
        .str.startswith("no crossing")
        .all()
    )


def test_geometry(statistics):
    """docs/specification/FIGURES.md 4b, 4c, 5f, ED6b; Td-W.md#Td1; config/claims.yaml section 4."""
    frame = statistics("geometry")
    low = [
        ".0361",
        ".0677",
        ".0050",
        "-.0054",
        "-.0234",
        "-.0271",
        "-.0437",
        "-.0462",
        "-.0083",
        ".0032",
        ".0515",
    ]
    high = [".2225", ".2440", ".2208", ".2298", ".2265", ".1978", ".2391", ".2622", ".2886", ".2706", ".2919"]
    for branch, printed in (("ordered", low), ("collapse", high)):
        rows = find(frame, at("W1", "cosine", branch=branch)).sort_values("lam")["value"]
        assert rows.tolist() == pytest.approx([float(text) for text in printed], abs=6e-5)
    gaps = find(frame, at("W1", "cosine_difference", group="all seeds"))
    assert (round(gaps["value"].min(), 2), round(gaps["value"].max(), 2)) == (0.18, 0.31)
    rows = [
        (at("W1", "cosine_difference", group="all seeds", lam=0.50), "value", ".2248"),
        (at("Td1", "cosine", group="trapped", epoch_from=1), "value", ".77"),
        (at("Td1", "cosine", group="trapped", epoch_from=31), "value", ".95"),
        (at("Td1", "cosine", group="trapped", epoch_from=100), "value", ".56"),
        (at("Td1", "cosine", group="untrapped", epoch_from=31), "value", ".89"),
        (at("Td1", "mix_norm_residual"), "value", "2.2e-7"),
        (at("Y1A", "cosine", epoch_from=1), "value", "-.7204"),
        (at("Y1A", "cosine", epoch_from=3), "value", "-.7312"),
        (at("Y1A", "cosine", epoch_from=57), "value", ".1010"),
        (at("Y1A", "sign_change"), "value", "15"),
        (at("Y1A", "lowest_epoch"), "value", "2"),
        (at("Q4", "cosine", group="ordered", noise_rate=None, epoch_from=1, epoch_to=1), "value", "-.2144"),
        (at("Q4", "cosine", group="critical", noise_rate=None, epoch_from=1, epoch_to=1), "value", "-.1131"),
        (at("Q4", "cosine", group="collapse", noise_rate=None, epoch_from=1, epoch_to=1), "value", "-.0694"),
        (at("Q4", "cosine", group="collapse", noise_rate=None, epoch_from=33), "value", ".1997"),
        (at("Q4", "cosine", group="ordered", noise_rate=0.4, epoch_from=100), "value", "-.147"),
        (at("Q4", "cosine", group="ordered", noise_rate=0.8, epoch_from=100), "value", "-.362"),
    ]
    ages = {0: ".941", 4: ".622", 8: ".438", 12: ".286"}
    rows += [(at("Td1", "mix_cosine", cache_age=age), "value", printed) for age, printed in ages.items()]
    check(frame, rows)
    for name, printed in (
        ("M2", "-.1836 -.1887 -.1789 -.1660 -.1535 -.0697 -.0267"),
        ("M3", "-.4126 -.4341 -.4230 -.3885 -.3181 -.2216 -.1627"),
    ):
        cosines = find(frame, at(name, "cosine")).sort_values("lam")["value"]
        assert cosines.tolist() == pytest.approx([float(text) for text in printed.split()], abs=6e-5)


def test_nlp_decomposition(statistics):
    """config/claims.yaml, conclusion 14; docs/specification/X-Y.md#3; docs/specification/FIGURES.md 5d-e."""
    frame = statistics("nlp_decomposition")
    total = {"matched": "total epochs"}
    check(
        frame,
        [
            (at("Y1A-Y1B", "time_effect"), "value", "25.58"),
            (at("Y1A-Y1B", "time_effect"), "low", "24.5"),
            (at("Y1A-Y1B", "time_effect"), "high", "26.6"),
            (at("Y2k3-Y1B", "path_effect"), "value", "20.16"),
            (at("Y2k3-Y1A", "path_effect", epoch=19, **total), "value", "2.65"),
            (at("Y2k3-Y1A", "path_effect", epoch=19, **total), "low", "1.6"),
            (at("Y2k3-Y1A", "path_effect", epoch=19, **total), "high", "3.7"),
            (at("Y2k10-Y1A", "path_effect", epoch=26, **total), "value", "4.00"),
            (at("Y2k10-Y1A", "path_effect", epoch=26, **total), "low", "2.5"),
            (at("Y2k10-Y1A", "path_effect", epoch=26, **total), "high", "5.5"),
            (at("Y2k3-Y1A", "path_effect", matched="epochs at 0.60"), "value", "4.06"),
            (at("Y2k10-Y1A", "path_effect", matched="epochs at 0.60"), "value", "7.56"),
            (at("Y2k3-Y1A", "path_effect", epoch=7, **total), "value", "8.7"),
            (at("Y2k10-Y1A", "path_effect", epoch=14, **total), "value", "9.3"),
            (at("Y2k3", "recovery_gap"), "value", "20.02"),
            (at("Y2k10", "recovery_gap"), "value", "23.52"),
            (at("Y2k10-Y2k3", "dose_effect", test="Student"), "value", "3.503"),
            (at("Y2k10-Y2k3", "dose_effect", **total), "value", "1.3"),
            (at("Y2k10-Y2k3", "dose_effect", **total), "low", "-0.3"),
            (at("Y2k10-Y2k3", "dose_effect", **total), "high", "3.0"),
            (at("X3_fast-Y1A", "loop_effect", direction="up", **total), "value", "19.43"),
        ],
        scale=100,
    )
    check(
        frame,
        [
            (at("Y2k10-Y2k3", "dose_effect", test="Student"), "p_value", "5.325e-05"),
            (at("Y2k10-Y2k3", "dose_effect", test="Welch"), "p_value", "5.7e-05"),
            (at("Y2k10-Y2k3", "dose_effect", test="Mann-Whitney"), "p_value", "1.9e-04"),
            (at("Y2k10-Y2k3", "dose_effect", test="paired t", matched="raw"), "p_value", "1.3e-07"),
            (at("Y2k10-Y2k3", "dose_effect", **total), "p_value", "0.10"),
            (at("Y2k3-Y1A", "path_effect", epoch=19, **total), "p_value", "3e-05"),
            (at("Y2k10-Y1A", "path_effect", epoch=26, **total), "p_value", "2e-05"),
            (at("Y2k3-Y1A", "path_effect", epoch=19, **total), "positive", "17"),
        ],
    )


# ------------------------------------------------------------------------------------------- files and documentation


@pytest.mark.parametrize("name", NAMES)
def test_files_are_tidy_and_documented(statistics, name):
    frame = statistics(name)
    columns, quantities = documented()[name]
    assert list(frame.columns) == [column.name for column in layout.columns_of(build.module(name).KEYS)]
    assert set(frame.columns) <= columns
    assert set(frame["quantity"]) <= quantities
    assert (frame["edition"] == "released").all() and frame["experiment"].notna().all()
    assert frame["unit"].notna().all() and (frame["unit"] != "").all()
    missing = frame["value"].isna()
    assert frame.loc[missing, "note"].notna().all()
    assert frame.loc[missing, ["low", "high"]].isna().all(axis=None)
    bounded = frame["low"].notna() & frame["high"].notna()
    assert (frame.loc[bounded, "low"] <= frame.loc[bounded, "high"]).all()
    assert (frame["interval"].notna() == frame["level"].notna()).all()
    assert not frame["value"].isin([np.inf, -np.inf]).any()
    keys = [name for name in frame.columns if name not in {c.name for c in layout.LAST} - {"quantity"}]
    assert not frame.duplicated(keys).any()


def documented() -> dict[str, tuple[set[str], set[str]]]:
    """Columns and quantities that docs/statistics.md describes, by statistic."""
    sections = re.split(r"^## ", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = {}
    shared: set[str] = set()
    for section in sections:
        title = section.partition("\n")[0].strip()
        columns, _, quantities = section.partition("| quantity | unit | definition |")
        named = [set(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)) for text in (columns, quantities)]
        if title == "Columns of every file":
            shared = named[0]
        elif title in STATISTICS:
            found[title] = (named[0] | shared, named[1])
    return found


def test_the_docs_are_what_the_code_says():
    assert set(documented()) == set(NAMES)
    text = DOCS.read_text(encoding="utf-8")
    assert text.partition("\n---\n\n")[2] == build.describe()
    intervals = set(re.findall(r"`([^`]+)`", text.partition("## Intervals")[2].partition("## Sources")[0]))
    source = "".join(
        path.read_text()
        for room in ("statistics", "estimators")
        for path in (ROOT / "src/dualgrad" / room).glob("*.py")
    )
    for label in (
        "Clopper-Pearson",
        "exact Poisson",
        "Kaplan-Meier",
        "jackknife t",
        "profile likelihood",
        "paired t",
    ):
        assert f'"{label}"' in source and label in intervals
    for name in NAMES:
        module = build.module(name)
        assert "Sources: " in module.__doc__, name
        assert all(what.meaning for what in module.QUANTITIES.values())


def test_every_interval_is_explained(statistics):
    text = DOCS.read_text(encoding="utf-8").partition("## Intervals")[2].partition("## Sources")[0]
    explained = set(re.findall(r"`([^`]+)`", text))
    used = {label for name in NAMES for label in statistics(name)["interval"].dropna().unique()}
    assert used <= explained


def test_the_same_tables_give_the_same_bytes(released, counted, made, tmp_path):
    for name in ("boundaries", "two_branch", "hysteresis"):
        build.make(name, released, tmp_path / "again.parquet", counted)
        assert (tmp_path / "again.parquet").read_bytes() == made(name).read_bytes()


# ------------------------------------------------------------------------------------------- incomplete tables


def opened(edition: Path, name: str, experiments: list[str] | tuple[str, ...]) -> Tables:
    """A statistic's tables with everything in memory; they may be given other frames, not changed."""
    tables = Tables(edition, experiments, STATISTICS[name].tables)
    tables._frames = dict(frames_of(edition, name, tuple(experiments)))
    return tables


@lru_cache(
    maxsize=1
)  # what is spoilt in several ways is read once; the cases of a statistic follow each other
def frames_of(edition: Path, name: str, experiments: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    tables = Tables(edition, experiments, STATISTICS[name].tables)
    return {table: tables.table(table) for table in STATISTICS[name].tables}


def only(frames: dict[str, pd.DataFrame], runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    kept = set(zip(runs["experiment"], runs["run"], strict=True))
    return {
        name: frame[[pair in kept for pair in zip(frame["experiment"], frame["run"], strict=True)]]
        for name, frame in frames.items()
    }


def one_run_each(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    return only(frames, frames["runs"].groupby("experiment").head(1))


def one_seed(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    runs = frames["runs"]
    return only(frames, runs[runs["seed"] == runs.groupby("experiment")["seed"].transform("min")])


def all_dead(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    empty = {name: frame.iloc[:0] for name, frame in frames.items() if name != "runs"}
    runs = frames["runs"].copy()
    for column in (
        "test_error",
        "best_error",
        "final_gap",
        "threshold_lambda",
        "convergence_epoch",
        "avg_cos",
    ):
        runs[column] = np.nan
    for column in ("escaped", "event", "censored", "init_success"):
        runs[column] = None
    return {"runs": runs, **empty}


def half_the_runs(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    return only(frames, frames["runs"].sample(frac=0.5, random_state=1))


def no_high_branch(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    return {
        name: frame[frame["branch"] != "collapse"] if name != "runs" and "branch" in frame else frame
        for name, frame in frames.items()
    }


def cut_short(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    return {
        name: frame[frame["epoch"] <= 2] if name in ("trajectories", "epochs") else frame
        for name, frame in frames.items()
    }


def one_lambda(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    runs = frames["runs"]
    return only(frames, runs[runs["lam"] == runs.groupby("experiment")["lam"].transform("min")])


def diverged_at_the_jump(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """As a trained run records it whose start passes and whose first epoch after the jump is not finite."""
    return {**frames, "runs": frames["runs"].assign(lifetime=0.0, event=False, censored=False)}


def one_epoch(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    return {
        name: frame.groupby(["experiment", "run"]).head(1) if name in ("trajectories", "epochs") else frame
        for name, frame in frames.items()
    }


def equal_errors(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    return {
        name: frame.assign(**{column: 0.25 for column in frame if str(column).endswith("_error")}, **gap)
        for name, frame in frames.items()
        for gap in [{"final_gap": 0.0} if name == "runs" else {}]
    }


RUNS_MISSING, EPOCHS_MISSING = [one_run_each, one_seed, all_dead, half_the_runs], [no_high_branch, cut_short]
# What only spoils epochs is nothing to a statistic that reads none.
SPOILT = [
    (name, spoil)
    for name in NAMES
    for spoil in (
        *RUNS_MISSING,
        *(EPOCHS_MISSING if {"trajectories", "epochs"} & {*STATISTICS[name].tables} else ()),
    )
] + [
    ("reruns", one_lambda),
    ("interventions", equal_errors),
    *(("survival", spoil) for spoil in (diverged_at_the_jump, one_epoch, equal_errors)),
]


# Experiments whose epochs a statistic reads, where it does not read those of all: the rest is as without the damage.
EPOCHS_OF = {"bimodality": ("S2",)}


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(("name", "spoil"), SPOILT)
def test_incomplete_tables_leave_notes(released, counted, statistics, tmp_path, name, spoil):
    experiments = STATISTICS[name].experiments or counted
    if spoil in EPOCHS_MISSING:
        experiments = EPOCHS_OF.get(name, experiments)
    tables = opened(released, name, experiments)
    whole, tables._frames = tables._frames, spoil(dict(tables._frames))
    if all(len(frame) == len(whole[table]) for table, frame in tables._frames.items()) and spoil not in (
        all_dead,
        diverged_at_the_jump,
        equal_errors,
    ):
        frame = statistics(name)  # nothing was there that this way spoils
    else:
        layout.write(build.compute(name, tables), build.module(name).KEYS, tmp_path / "x.parquet")
        frame = pd.read_parquet(tmp_path / "x.parquet")
    assert len(frame)
    missing = frame["value"].isna()
    assert frame.loc[missing, "note"].notna().all()
    assert not frame["value"].isin([np.inf, -np.inf]).any()
    if spoil is equal_errors:
        assert not frame.loc[frame["quantity"] == "drift", "value"].any()
    if spoil is all_dead and name not in ("summaries", "survival", "escapes", "dependence"):
        assert missing.mean() > 0.5


@pytest.mark.parametrize("name", NAMES)
def test_no_tables_at_all(tmp_path, name):
    tables = build.open_tables(name, tmp_path / "demo", ["A"], partial=True)
    assert tables.experiments == ()
    frame = build.compute(name, tables)
    layout.write(frame, build.module(name).KEYS, tmp_path / "x.parquet")
    assert pd.read_parquet(tmp_path / "x.parquet")["value"].isna().all()


def test_order_of_rows_does_not_matter(released, counted):
    for name in ("summaries", "spinodals"):
        tables = opened(
            released, name, ["A", "S1", "M2"] if name == "summaries" else STATISTICS[name].experiments
        )
        expected = build.compute(name, tables)
        tables._frames["runs"] = tables._frames["runs"].sample(frac=1, random_state=3)
        again = build.compute(name, tables)
        keys = [column for column in expected if column not in ("value", "low", "high", "note")]
        both = expected.merge(again, on=keys, suffixes=("", "_again"))
        assert len(both) == len(expected)
        for one in ("value", "low", "high"):
            before, after = (both[column].to_numpy(float) for column in (one, f"{one}_again"))
            assert before == pytest.approx(after, nan_ok=True), one


def test_an_undeclared_quantity_or_key_is_a_mistake():
    sheet = layout.Sheet("demo", (), {"mean": layout.Quantity("1", "a mean")})
    with pytest.raises(KeyError):
        sheet.add("median", 1.0, 3)
    with pytest.raises(KeyError, match="undeclared keys: width"):
        sheet.add("mean", 1.0, 3, experiment="A", width=2)
    sheet.add("mean", float("inf"), 3, bounds=(0.0, math.inf, "t"), experiment="A")
    (row,) = sheet.frame().to_dict("records")
    assert (
        row["value"] is None and row["low"] is None and row["interval"] is None and row["note"] == "no data"
    )


# ------------------------------------------------------------------------------------------- other ways to a number


def test_crossings_one_by_one():
    rng = np.random.default_rng(1)
    lam = np.sort(rng.uniform(0, 1, 9))
    values = rng.uniform(0, 1, (500, 9))
    levels = rng.uniform(0.1, 0.9, 500)
    for row, level, got in zip(values, levels, last_crossing(lam, values, levels), strict=True):
        expected = np.inf if row[-1] < level else -np.inf
        for i in range(1, 9):
            if row[i - 1] < level <= row[i]:
                share = (level - row[i - 1]) / (row[i] - row[i - 1])
                expected = lam[i - 1] + share * (lam[i] - lam[i - 1])
        assert got == pytest.approx(expected)


def test_sigmoids_against_scipy():
    from scipy.optimize import curve_fit
    from scipy.special import expit

    rng = np.random.default_rng(2)
    lam = np.arange(0.30, 0.61, 0.03)
    sizes = np.full(len(lam), 5)

    def shape(x, middle, width, start, end):
        return start + (end - start) * expit((x - middle) / width)

    truth = [(0.45, 0.02, 0.11, 0.60), (0.40, 0.04, 0.2, 0.85), (0.5, 0.03, 0.8, 0.3)]
    values = np.array([shape(lam, *one) for one in truth]) + rng.normal(0, 0.005, (3, len(lam)))
    fits = fit_sigmoid(lam, values, sizes)
    for i, one in enumerate(truth):
        best, _ = curve_fit(shape, lam, values[i], p0=one)
        assert fits.midpoint[i] == pytest.approx(best[0], abs=1.5e-3)
        assert fits.width[i] == pytest.approx(best[1], rel=0.15)
        mine = shape(lam, fits.midpoint[i], fits.width[i], fits.start[i], fits.end[i])
        least = ((shape(lam, *best) - values[i]) ** 2).sum()
        assert ((mine - values[i]) ** 2).sum() < 1.05 * least
    still = fit_sigmoid(lam, np.full((1, len(lam)), 1.3), sizes)
    assert np.isnan(still.midpoint).all()


def test_exact_and_t_intervals_against_scipy():
    from scipy import stats

    for hits, n in ((0, 18), (49, 49), (3, 10), (1, 1)):
        expected = stats.binomtest(hits, n).proportion_ci(0.95, method="exact")
        assert bootstrap.exact_bounds(hits, n)[:2] == pytest.approx((expected.low, expected.high))
    values = np.array([0.66, 0.29, 0.387])
    bounds, p_value = bootstrap.t_bounds(values)
    found = stats.ttest_1samp(values, 0)
    assert bounds[:2] == pytest.approx(tuple(found.confidence_interval()))
    assert p_value == pytest.approx(found.pvalue)
    assert bootstrap.t_bounds([0.5])[0] is None
    assert bootstrap.exact_bounds(0, 0) is None


@pytest.mark.parametrize("n", [3, 7, 9, 13, 18])
def test_rounding_is_no_spread(n):
    """Equal values, and values that differ by the same amount, have a variance of their rounding in NumPy."""
    from dualgrad.estimators import units
    from dualgrad.estimators.scan import scan

    for value in (0.1, 0.9):
        assert bootstrap.variance(np.full(n, value), 1) == bootstrap.spread(np.full(n, value)) == 0.0
    first = 0.1234 + 0.1 * np.arange(n)
    bounds, p_value = bootstrap.t_bounds(first - (first - 0.02))
    assert bounds[:2] == pytest.approx((0.02, 0.02)) and math.isnan(p_value)
    assert bootstrap.t_bounds(np.full(n, 0.1))[0][:2] == pytest.approx((0.1, 0.1))
    same = units.of_values(np.full(n, 1e-16))
    assert (same.value, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    levels = [0.1, 0.2, 0.3]
    found = scan(levels, [np.linspace(0.2, 0.3, n), np.full(n, 0.1), np.linspace(0.2, 0.4, n)])
    assert found.widest_ratio is None


def test_a_ladder_that_runs_left_early_is_known_by_those_that_stayed():
    ladder, event = np.array([0.40, 0.42, 0.44, 0.46]), np.zeros(5, bool)
    _, _, (beyond, share) = ladder_median(np.array([4, 4, 4, 2, 2]), event, ladder)
    assert beyond == 1.0 and share == bootstrap.exact_bounds(3, 3)


def test_bootstrap_against_scipy():
    from scipy import stats

    rng = np.random.default_rng(5)
    values = rng.exponential(0.1, 40)
    low, high, how = bootstrap.mean_bounds(values)
    expected = stats.bootstrap(  # widened for forty runs
        (values,), np.mean, n_resamples=20000, method="percentile", rng=1, confidence_level=0.959
    ).confidence_interval
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=2.5e-3) and how == "bootstrap"
    shares = bootstrap.weights(bootstrap.generator("x"), 40)
    assert shares.sum(axis=1) == pytest.approx(1)
    draw = np.repeat(values, np.rint(shares[0] * 40).astype(int))
    assert len(draw) == 40
    assert bootstrap.means(values, shares)[0] == pytest.approx(draw.mean())
    assert bootstrap.variances(values, shares)[0] == pytest.approx(draw.var())
    assert bootstrap.means(values[:, None], shares)[:, 0] == pytest.approx(bootstrap.means(values, shares))
    assert bootstrap.percentile(np.array([0.0, np.inf, np.inf]))[1] == np.inf
    assert bootstrap.percentile(np.array([0.0, np.nan])) is None
    assert bootstrap.mean_bounds(values) == (low, high, how)  # its own generator, always the same


def test_kaplan_meier_where_no_run_is_left():
    """The log-log interval is not defined at S = 0; there both its ends are 0, so the median's interval ends."""
    median, bounds, (beyond, _) = ladder_median(
        np.array([1, 2]), np.array([True, True]), np.array([0.1, 0.2])
    )
    assert (median, bounds[:2], beyond) == (0.1, (0.1, 0.2), 0.0)


def test_kaplan_meier_by_hand():
    ladder = np.array([0.40, 0.42, 0.44, 0.46])
    rung = np.array([2, 3, 3, 4, 4])
    event = np.array([True, True, True, True, False])
    median, bounds, (beyond, _) = ladder_median(rung, event, ladder)
    # S: 4/5 after rung 2, 2/5 after rung 3, 1/5 after rung 4
    assert median == 0.44 and beyond == pytest.approx(0.2) and bounds[2] == "Kaplan-Meier"
    median, _, (beyond, share) = ladder_median(np.full(10, 4), np.zeros(10, bool), ladder[::-1])
    assert math.isnan(median) and beyond == 1.0 and share[0] == pytest.approx(0.6915, abs=1e-4)
    median, bounds, _ = ladder_median(
        np.array([1, 2, 2, 4, 4, 4]), np.array([1, 1, 1, 0, 0, 0], bool), ladder[::-1]
    )
    assert median == 0.44 and bounds[0] == -np.inf  # descending: open towards small λ


def test_plateaus_and_areas():
    assert first_plateau(np.array([0.9, 0.9, 0.9, 0.5]), 0.85, 3) == 3
    assert first_plateau(np.array([0.9, 0.9, 0.5, 0.9, 0.9, 0.9]), 0.85, 3) == 6
    assert first_plateau(np.array([0.5, 0.5, 0.5]), 0.85, 3) is None
    assert first_plateau(np.array([0.9, 0.89, 0.9]), 0.85, 2) is None
    assert first_plateau(np.array([]), 0.85, 3) is None
    gaps, lam = np.array([[1.0, -1.0, -3.0]]), np.array([0.0, 1.0, 3.0])
    assert area(gaps, lam, False)[0] == pytest.approx(0 - 4)
    assert area(gaps, lam, True)[0] == pytest.approx(4)


def test_plain_tables():
    import pyarrow as pa

    from dualgrad.tables.read import to_frame

    schema = arrow_schema("trajectories")
    row = {field.name: None for field in schema} | {"edition": "demo", "series": "R-W", "experiment": "V2"}
    row |= {"run": "x", "stage": "sweep", "branch": "collapse_down", "segment": 0, "lam": 0.30000001}
    row |= {"epoch": 1, "stage_epoch": 1, "test_error": 0.5}
    frame = plain(to_frame(pa.Table.from_pylist([row], schema=schema)), "trajectories")
    assert frame["branch"].tolist() == ["collapse"] and frame["lam"].tolist() == [0.3]
    assert frame["direction"].tolist() == [None] and frame["epoch"].dtype == float


# ------------------------------------------------------------------------------------------- command and workflow


def test_the_command(released, tmp_path, capsys):
    from dualgrad.cli import main

    settings = ["--root", str(ROOT), "--config", f"results_dir={released.parent}", "--edition", "released"]
    assert main(["statistics", "finite_size", "--output", str(tmp_path), *settings]) == 0
    assert len(pd.read_parquet(tmp_path / "finite_size.parquet")) > 20
    assert main(["statistics", "finite_sice", *settings]) == 2
    assert "did you mean 'finite_size'" in capsys.readouterr().err
    assert main(["statistics", "--schema", *settings]) == 0
    assert capsys.readouterr().out == build.describe()
    elsewhere = [*settings[:2], "--config", f"results_dir={tmp_path}", "--edition", "demo"]
    assert main(["statistics", "finite_size", *elsewhere]) == 1
    assert "no such table" in capsys.readouterr().err
    assert main(["statistics", "finite_size", "--partial", *elsewhere]) == 0
    assert (tmp_path / "demo" / "statistics" / "finite_size.parquet").is_file()


def test_statistics_read_their_own_experiments_only():
    """What a statistic asks for exists, and the DAG asks for no more."""
    from dualgrad.census import load_census

    census = load_census(ROOT, {"edition": "demo"})
    for name, source in STATISTICS.items():
        assert set(source.tables) <= set(TABLES) and "runs" in source.tables
        unknown = set(source.experiments or ()) - set(census.experiments)
        assert not unknown, f"{name}: {unknown}"
        assert (ROOT / "src/dualgrad/statistics" / f"{name}.py").is_file()


def test_the_target(tmp_path):
    words = ["statistics", "--config", "edition=released", "--dry-run", "--cores", "1"]
    done = snakemake(copy_workflow(tmp_path), *words)
    assert done.returncode == 0, done.stdout
    jobs = planned(done.stdout)
    assert jobs.pop("total") == len(NAMES) + 2 and jobs.pop("ingest") == 1 and jobs.pop("statistics") == 1
    assert set(jobs) == {f"statistics_{name}" for name in NAMES}
