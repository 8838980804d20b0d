"""The figures: plotted numbers against the published ones, incomplete tables, equal bytes, the footer."""

from __future__ import annotations

import csv
import json
import math
import os
import random
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import colour_blind
import numpy as np
import pandas as pd
import pytest

from dualgrad.census import load_census
from dualgrad.cli import main
from dualgrad.figures import build
from dualgrad.figures import frames as f
from dualgrad.figures import style as s
from dualgrad.figures.frames import COLUMNS, Tables
from dualgrad.figures.sources import FIGURE_EXPERIMENTS, FIGURE_PANELS, VARIANTS, experiments_of
from dualgrad.figures.trained import trained
from dualgrad.tables.build import effective_values, lr_drops
from dualgrad.tables.schema import columns

ROOT = Path(__file__).resolve().parents[1]
FIGURES = list(FIGURE_EXPERIMENTS)
NUMBERS = Path(__file__).parent / "data" / "figure_numbers.csv"
EXPERIMENTS = sorted({name for names in FIGURE_EXPERIMENTS.values() for name in names})


# --------------------------------------------------------------------------------------------- the published archive


@pytest.fixture(scope="session")
def released(released_results) -> Path:
    """The archive's tables of all experiments."""
    return released_results / "tables"


@pytest.fixture(scope="session")
def panels(released):
    """Panel frames of the released edition by (figure, variant), computed once each."""
    done: dict[tuple[str, str], dict[str, pd.DataFrame]] = {}

    def get(figure: str, variant: str = "published") -> dict[str, pd.DataFrame]:
        if (figure, variant) not in done:
            done[figure, variant] = build.compute(figure, build.read(released, figure, variant))
        return done[figure, variant]

    return get


@pytest.fixture(scope="module")
def published(panels):
    """The published figures as drawn from the archive's panel frames, each once. Shared: read-only."""
    return cache(lambda figure: drawn_of(figure, panels(figure), "released"))


def check_rows() -> dict[tuple[str, str], list[dict[str, str]]]:
    rows = defaultdict(list)
    with NUMBERS.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            rows[row["figure"], row["variant"]].append(row)
    return rows


CHECKS = check_rows()


def find(frame: pd.DataFrame, row: dict[str, str]) -> pd.DataFrame:
    """The plotted row that a check names. Series may carry more keys: 'up|short|0.4', 'row|0.05', 'seed|2'."""
    found = frame[frame["layer"] == row["layer"]]
    series, *more = row["series"].split("|")
    if row["layer"] == "threshold":
        found = found[(found["series"] == series) & (found["label"] == more[0])]
        found = found[(found["noise_rate"] - float(more[1])).abs() < 1e-9]
    elif row["layer"] == "cell":
        found = found[(found["low"] - float(more[0])).abs() < 1e-9]
        if series != "row":
            found = found[found["series"] == series]
    elif row["layer"] == "gap" and more:
        found = found[found["seed"] == float(more[0])]
    elif row["layer"] != "gap" or series != "seed":
        found = found[found["series"] == series]
    if row["x"]:
        found = found[(found["x"] - float(row["x"])).abs() < 1e-5]
    return found


def value(found: pd.DataFrame, column: str) -> float:
    if column == "percent":
        return 100 * float(found["y"].iloc[0])
    return float(found[column].iloc[0])


def tolerance(printed: str) -> float:
    """Half a unit of the last printed digit (rounded twice, here and there), and never less than 1e-4."""
    mantissa, _, exponent = printed.lower().partition("e")
    digits = len(mantissa.partition(".")[2])
    half = 0.5 * 10.0**-digits
    return half * 10.0 ** int(exponent) if exponent else max(half + 1e-5, 1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("figure", FIGURES)
def test_numbers_of_the_specification(panels, figure, variant):
    checks, wrong = CHECKS[figure, variant], []
    assert len(checks) > 10
    for row in checks:
        found = find(panels(figure, variant)[row["panel"]], row)
        if len(found) != 1:
            wrong.append(f"{row}: {len(found)} rows")
            continue
        got = value(found, row["column"])
        if not abs(got - float(row["value"])) <= tolerance(row["value"]) * (1 + 1e-9) + 1e-12:
            wrong.append(f"{row}: {got}")
    assert not wrong, f"{len(wrong)} of {len(checks)}:\n" + "\n".join(wrong)


def test_every_panel_has_check_numbers():
    named = {(figure, row["panel"]) for (figure, _), rows in CHECKS.items() for row in rows}
    assert named == {(figure, letter) for figure, letters in FIGURE_PANELS.items() for letter in letters}


def test_dots_outside_the_published_axes(panels):
    dots = f.pick(panels("Figure1")["c"], "run")
    over = dots[dots["y"].notna() & (dots["x"] > 0.82)]
    assert sorted(over["series"]) == ["0.48", "0.48", "0.50"]
    assert over["x"].round(6).tolist() == [0.9] * 3
    assert (f.pick(panels("ED_Fig2")["b"], "run")["y"] > 0.75).sum() == 7
    assert (f.pick(panels("ED_Fig2")["d"], "run")["y"] > 0.62).sum() == 9
    parts = f.pick(panels("ED_Fig2")["d"], "run")["series"].value_counts()
    assert (parts["L"], parts["H"]) == (262, 240)


def test_bars_and_profiles_hold_every_run(panels):
    """Histograms on 39 equal bins: what they miss is what lies outside them."""
    data = panels("Figure1")["c"]
    for series, rows in f.pick(data, "profile").groupby("series"):
        assert len(rows) == 39
        inside = f.pick(data, "run", series)["x"].between(0.05, 0.80)
        assert rows["y"].sum() == inside.sum()
    assert f.pick(panels("ED_Fig2")["c"], "count", "all")["y"].sum() == 297
    assert len(f.pick(panels("ED_Fig7")["a"], "run")) == 120
    assert f.pick(panels("ED_Fig8")["a"], "run")["run"].nunique() == 90


def test_final_values_of_the_forest_are_the_archives(panels, released_archive):
    folder = next((released_archive / "results").glob("exp_S2_*"))
    raw = []
    for part in "abcde":
        raw += [row["final_error"] for row in json.loads((folder / f"S2{part}_results.json").read_text())]
    forest = f.pick(panels("Figure3")["b"], "run")
    last = forest[forest["x"] == 100].sort_values("seed")["y"]
    assert len(raw) == 300
    assert sorted(last.round(9)) == sorted(round(error, 9) for error in raw)


def test_jumps_start_and_end_where_published(panels):
    runs = f.pick(panels("Figure3")["d"], "run")
    ends = runs[runs["x"] == 30]
    starts = runs[runs["x"] == 0]
    high = starts[starts["series"] == "collapse"].groupby("seed")["y"].mean()
    assert high.round(4).tolist() == [0.7901, 0.4860, 0.5867]
    bounds = ends[ends["series"] == "collapse"].groupby("seed")["y"].agg(["min", "max"])
    assert bounds.to_numpy() == pytest.approx(
        np.array([[0.773, 0.799], [0.413, 0.426], [0.511, 0.520]]), abs=5.1e-4
    )
    low = runs[runs["series"] == "ordered"]
    assert low[low["x"] == 0]["y"].agg(["min", "max"]).tolist() == pytest.approx([0.132, 0.134], abs=5.1e-4)
    assert low[low["x"] == 30]["y"].agg(["min", "max"]).tolist() == pytest.approx([0.126, 0.131], abs=5.1e-4)
    assert len(starts) == 18 and runs["run"].nunique() == 9


def test_wide_bands_come_from_trapped_seeds(panels):
    data = panels("ED_Fig1", "audited")
    for letter, seed in (("a", 0), ("b", 2)):
        trapped = f.pick(data[letter], "gap", "trapped")
        assert trapped["seed"].tolist() == [seed]
    assert f.get(data["a"], "gap without trapped") == pytest.approx(29.8, abs=0.05)
    assert f.get(data["b"], "gap without trapped") == pytest.approx(42.1, abs=0.05)
    assert math.isnan(f.get(data["d"], "gap without trapped"))


def test_audited_forest_is_not_called_bimodal(panels):
    _, p_value = json.loads((ROOT / "docs" / "numbers" / "released.json").read_text())["values"]["one"]
    assert f.get(panels("ED_Fig2", "audited")["c"], "dip p") == pytest.approx(p_value)  # as README has it
    rows = f.pick(panels("Figure1", "audited")["c"], "number")
    p = rows[rows["series"].str.startswith("dip p")]["y"]
    assert len(p) == 6 and p.min() > 0.3
    audited = f.pick(panels("Figure1", "audited")["c"], "split")
    assert audited[audited["noise_rate"] < 0.6]["n"].sum() == 400


def test_audited_texts_say_what_the_numbers_are(released):
    said = {}
    protocol = trained(load_census(ROOT, {"edition": "released"}), ["Tb2"])
    for figure in ("Figure2", "Figure3", "Figure4", "Figure5", "ED_Fig1"):
        drawn, _ = figure_of(figure, build.read(released, figure, "audited", protocol), "released")
        said[figure] = "\n".join(text.get_text() for text in texts(drawn))
    assert "0.44 in all runs: the first λ at which the rule can fire" in said["Figure2"]
    assert "10/10 censored" in said["Figure2"] and "Δλ ≥ 0.47" in said["Figure2"]
    assert "Long hold (3 ep)" in said["Figure2"] and "34.4 / 29.6 / 22.4" in said["Figure2"]
    assert "gap per seed: 66 / 29 / 39 pp" in said["Figure3"]
    assert "+2.7 pp (path)" in said["Figure5"] and "+4.0 pp (path)" in said["Figure5"]
    # Differences of percentages are in points, not in per cent, wherever the published words need not be kept.
    assert "34 pp" in said["Figure2"] and "22–45 pp range" in said["Figure2"]
    assert "45 pp" in said["Figure4"] and "cf. η=0.4: gap 37 pp" in said["Figure4"]
    assert "+1.3\n[−0.3, 3.0]\np = 0.10" in said["Figure5"] and "1.3e-07" not in said["Figure5"]
    assert "29.0–32.0 pp" in said["ED_Fig1"] and "37.9–46.4 pp" in said["ED_Fig1"]
    assert "30 pp" in said["ED_Fig1"] and "42 pp" in said["ED_Fig1"] and "53 pp" not in said["ED_Fig1"]
    assert not re.search(r"\d ?%", "".join(said[name] for name in ("Figure2", "Figure4", "ED_Fig1")))
    assert "50 of 50 end at 0.20 or below\ntoo: no test of survival" in said["Figure3"]
    assert "0 of 3 traps\nare left\n\n95 % interval\n0 to 71 %" in said["Figure3"]
    assert "3 of 3 stay at lr 0.001 throughout" in said["Figure4"] and "absorbing" not in said["Figure4"]
    assert "error 0.30: λ = 0.499 (η=0.4), 0.421 (η=0.8)" in said["Figure4"]
    assert "2 × own minimum: λ = 0.478 (η=0.4), 0.455 (η=0.8)" in said["Figure4"]
    assert "shifts left" not in said["Figure4"]


def test_dose_net_of_time(panels, released_archive):
    """The difference of the arms beside what the same epochs do, from the archive's own files."""
    results = released_archive / "results"
    arms = {
        name: {
            run["seed"]: 100 * run["final_error"] for run in json.loads(next(results.glob(found)).read_text())
        }
        for name, found in (("k3", "exp_Y2k3_*/Y2k3_results.json"), ("k10", "exp_Y2k10_*/Y2k10_results.json"))
    }
    constant = json.loads(next(results.glob("exp_Y1A_*/Y1A_results.json")).read_text())
    at = {
        epoch: {run["seed"]: 100 * run["epoch_logs"][epoch - 1]["test_error"] for run in constant}
        for epoch in (19, 26)
    }
    net = [arms["k10"][s] - arms["k3"][s] - (at[26][s] - at[19][s]) for s in sorted(arms["k3"])]
    found = panels("Figure5", "audited")["e"]
    drawn = f.pick(found, "difference", "net").sort_values("seed")["y"]
    assert drawn.tolist() == pytest.approx(net, abs=1e-6)
    assert f.get(found, "effect net") == pytest.approx(np.mean(net), abs=1e-6)
    assert f.get(found, "effect net", "low") == pytest.approx(-0.3, abs=0.05)
    assert f.get(found, "effect net", "high") == pytest.approx(3.0, abs=0.05)
    assert f.get(found, "p net") == pytest.approx(0.10, abs=0.005)


def test_intervals_against_scipy():
    from scipy import stats

    from dualgrad.figures.figure3 import share_interval
    from dualgrad.figures.figure5 import t_interval

    for hits, n in ((0, 3), (0, 18), (2, 7), (4, 4)):
        expected = stats.binomtest(hits, n).proportion_ci()
        assert share_interval(hits, n) == pytest.approx((expected.low, expected.high))
    values = np.array([0.3, -1.2, 2.0, 0.7])
    assert t_interval(values) == pytest.approx(stats.t.interval(0.95, 3, values.mean(), stats.sem(values)))


def test_spans_and_ranges_as_printed(panels, published):
    """What no rule on the rows gives is drawn as printed, in the published figure alone."""
    from matplotlib.patches import Rectangle

    def spans(axes) -> list[tuple[float, float]]:
        bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        return [(round(bar.get_x(), 9), round(bar.get_x() + bar.get_width(), 9)) for bar in bars]

    assert (0.455, 0.50) in spans(published("Figure1").axes[3])
    assert (0.22, 0.56) in spans(published("Figure2").axes[0])
    assert (0.22, 0.57) in spans(drawn_of("Figure2", panels("Figure2"), "mine").axes[0])


def test_encodings_stay_apart_without_red_or_green_cones():
    """Pairs of colours that tell things apart in one panel, as people see them who lack a kind of cone."""
    from matplotlib.colors import to_rgb

    from dualgrad.figures import style

    pairs = [
        *("GREEN RED", "BLUE RED", "ORANGE RED", "GREEN ORANGE", "BLUE ORANGE", "GREEN BLUE", "RED PURPLE"),
        *("BLUE TEAL", "RED TEAL", "BLUE PURPLE", "ORANGE PURPLE", "DARK_GREEN DARK_RED"),
    ]
    for sight in colour_blind.SIGHT:
        for pair in pairs:
            one, other = (
                colour_blind.lab(colour_blind.seen(np.array(to_rgb(getattr(style, name))), sight))
                for name in pair.split()
            )
            assert np.linalg.norm(one - other) > 20, f"{pair} under {sight}"


@pytest.mark.parametrize(
    ("figure", "names"), [("Figure2", "BLUE RED GREEN"), ("Figure5", "BLUE RED PURPLE TEAL")]
)
def test_the_gallery_has_the_figures_colours(figure, names):
    """Its pictures are small, by a palette of their own, which must not turn blue into teal."""
    from matplotlib.colors import to_rgb
    from PIL import Image

    picture = Image.open(ROOT / "docs" / "images" / "gallery" / f"{figure}.png").convert("RGB")
    seen = np.unique(np.asarray(picture).reshape(-1, 3), axis=0)
    for name in names.split():
        wanted = 255 * np.array(to_rgb(getattr(s, name)))
        assert np.linalg.norm(seen - wanted, axis=1).min() < 12, name


def test_figures_of_another_copy_name_it(invented):
    """A title says what was trained on, and so does the footer; of first epochs and trials, too."""

    def known(**settings):
        census = load_census(ROOT, {"edition": "paper", **settings})
        return census.edition["name"], trained(census, ["X4"])

    assert known(max_epochs=1)[1]["X4"].data == "sst2"
    assert known(paper_data="synthetic")[1]["X4"].data == "synthetic data"
    edition, networks = known(paper_data="sst2_tsv")
    drawn, _ = figure_of("ED_Fig8", Tables.given(invented, trained=networks), edition)
    found = [ax.get_title(loc="left") for ax in drawn.axes] + [text.get_text() for text in texts(drawn)]
    assert "All trajectories by λ (X4, sst2_tsv)" in found
    (footer,) = (text for text in found if text.startswith("Extended Data Figure 8"))
    assert "paper-sst2_tsv edition: not the published results; trained on sst2_tsv" in " ".join(
        footer.split()
    )


def test_figures_name_the_networks_that_were_trained(invented, demo):
    experiments = {
        "Figure2": FIGURE_EXPERIMENTS["Figure2"],
        "Figure5": FIGURE_EXPERIMENTS["Figure5"],  # beside text, images for comparison
        "ED_Fig1": ["V3"],
        "ED_Fig5": ["Q1"],
        "ED_Fig7": ["X1b", "X1c", "X1d"],
    }
    censuses = {"demo": demo, "released": load_census(ROOT, {"edition": "released"})}

    def everything(figure: str, edition: str) -> str:
        known = trained(censuses[edition], experiments[figure])
        drawn, _ = figure_of(figure, Tables.given(invented, trained=known), edition)
        legends = [ax.get_legend() for ax in drawn.axes if ax.get_legend()]
        found = [text.get_text() for text in texts(drawn)]
        found += [ax.get_title(loc="left") for ax in drawn.axes]
        found += [text.get_text() for legend in legends for text in legend.get_texts()]
        return "\n".join(found)

    asked = [*((figure, "demo") for figure in experiments)]
    asked += [(figure, "released") for figure in ("Figure5", "ED_Fig5", "ED_Fig7")]
    said = {(figure, edition): everything(figure, edition) for figure, edition in asked}
    assert (
        said["Figure2", "demo"].startswith("Figure 2") and "results; MLP 24-24-24" in said["Figure2", "demo"]
    )
    assert "MLP 12-12-12 / MLP 24-24-24 / MLP 48-48-48" in said["ED_Fig5", "demo"]
    assert "ResNet" not in said["ED_Fig5", "released"]
    assert "DistilBERT of 1 layer, 24 wide, η=0.4" in said["Figure5", "demo"]
    assert "Deeper model (η=0.4), MLP 24-24-24-24" in said["ED_Fig1", "demo"]
    assert "1 layer, 24 wide" in said["ED_Fig7", "demo"] and "16 wide, 8 filters" in said["ED_Fig7", "demo"]
    assert (
        "landscape (reviews)" in said["Figure5", "demo"]
        and "landscape (SST-2)" in said["Figure5", "released"]
    )
    assert "DistilBERT η=0.4" in said["Figure5", "released"] and "wide" not in said["ED_Fig7", "released"]


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_figures_can_be_read_and_believed(panels, figure, variant):
    """No letter below 5 pt, and no error axis that goes on beyond 1."""
    drawn = drawn_of(figure, panels(figure, variant), "released", variant)
    for text in texts(drawn):
        below = re.search(r"\$.*[_^].*\$", text.get_text())  # 0.7 times as large as the rest
        assert text.get_fontsize() * (0.7 if below else 1) >= 5, (figure, text.get_text())
    for ax in drawn.axes:
        if ax.get_ylabel() in ("Test error", "Final test error"):
            assert max(ax.get_yticks()[ax.get_yticks() <= ax.get_ylim()[1]]) <= 1, (figure, ax.get_title())


def test_runs_that_never_converge_have_no_epoch(panels):
    """Their marks stand above the last epoch, where the axis has no number, and tell noise rates by shape too."""
    ax = drawn_of("Figure1", panels("Figure1", "audited"), "released", "audited").axes[3]
    assert max(ax.get_yticks()) == 100
    assert {line.get_marker() for line in ax.lines} >= {"^", "v"}
    assert any("▲ 5/30 at η=0.4, ▼ 30/30 at η=0.8" in text.get_text() for text in ax.texts)


def test_arrows_cross_no_text(panels):
    """The epochs beside the loop: no arrow runs through another one's words."""
    from matplotlib.patches import FancyArrowPatch

    drawn = drawn_of("Figure2", panels("Figure2", "audited"), "released", "audited")
    ax = drawn.axes[0]
    renderer = drawn.canvas.get_renderer()
    words = [text.get_window_extent(renderer) for text in ax.texts if text.get_text().startswith("epoch")]
    assert len(words) == 5
    for arrow in (patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)):
        path = arrow.get_path().transformed(arrow.get_transform()).interpolated(50).vertices
        inside = [box.contains(*point) for box in words for point in path[5:]]
        assert not any(inside)


def test_published_texts(published):
    wanted = {
        "Figure1": ["n=84 (47L/37H)", "n=34 (all L)", "54±2", "66±6", "2 at 0.90 →", "1 at 0.90 →"],
        "Figure2": ["31pp", "51%", "45%", "22–53% range", "Long hold (10 ep)", "Δλ = 0.36", "Δλ = 0.47"],
        "Figure3": ["49/49† survive, λ=0.46", "166 L / 134 H", "0/18\nescaped", "Gap 45±16%\n(max 67%)"],
        "Figure4": ["Δ=0.22", "45%", "η=0.8: stuck at 0.90", "cf. η=0.4: gap 37–53%", "boundary shifts left"],
        "Figure5": ["peak: 25.4", "13pp", "cf. Vision: 22–53pp", "+25.6pp (time)", "+20.2pp (path)"],
        "ED_Fig1": ["46%", "Gap: 46–48%, n=3", "53%", "Gap: 51–57%, n=3", "41%"],
    }
    wanted["Figure5"] += ["p = 5.3e-05", "Δ = +3.5pp", "23.1%", "48.7%", "43.3%", "46.8%", "−0.72 → +0.10"]
    for figure, words in wanted.items():
        said = "\n".join(text.get_text() for text in texts(published(figure)))
        assert not [word for word in words if word not in said], figure


# --------------------------------------------------------------------------------------------- made-up tables


def made_up(
    census, seed: int = 0, keep: float = 1.0, runs_per_experiment: int = 80
) -> dict[str, pd.DataFrame]:
    """Tables with invented errors for runs of the census: the right shape, no meaning."""
    luck = random.Random(seed)
    runs, evaluations, epochs, geometry = [], [], [], []
    for name in EXPERIMENTS:
        mine = [run for run in census.runs.values() if run["experiment"] == name]
        luck.shuffle(mine)
        for run in mine[:runs_per_experiment]:
            if luck.random() > keep:
                continue
            add_made_up_run(run, luck, runs, evaluations, epochs, geometry)
    return {
        "runs": pd.DataFrame(runs),
        "trajectories": pd.DataFrame(evaluations),
        "epochs": pd.DataFrame(epochs),
        "geometry": pd.DataFrame(geometry),
    }


def add_made_up_run(run, luck, runs, evaluations, epochs, geometry):
    factors = run["factors"]
    keys = {"experiment": run["experiment"], "run": run["run"], "noise_rate": run["noise"]["rate"]}
    keys["seed"] = factors.get("seed", luck.randrange(4))
    error = None
    for stage in run["stages"]:
        done = 0
        for number, segment in enumerate(stage["segments"]):
            done += segment.get("epochs") or 1
            error = min(0.05 + segment["lambda"] * luck.random() * 1.2, 0.9)
            place = {"stage": stage["name"], "branch": stage["branch"], "segment": number}
            place |= {"lam": segment["lambda"], "direction": segment.get("direction")}
            for epoch in sorted({1, max(done // 2, 1), done} if len(stage["segments"]) == 1 else {done}):
                where = {**keys, **place, "epoch": epoch, "stage_epoch": epoch}
                evaluations.append({**where, "test_error": error * luck.uniform(0.9, 1.1)})
                epochs.append({**where, "lr": 0.1, "cos_mean": luck.uniform(-0.8, 0.4)})
            geometry.append({**keys, **place, "cos_struct_value_mean": luck.uniform(-0.3, 0.3)})
    runs.append(
        {
            **keys,
            **{column: factors[column] for column in factors if column in columns("runs")},
            **{column: value for column, value in run["labels"].items() if column in columns("runs")},
            "counted": run["counted"],
            "lam": effective_values(run)["lam"],
            "num_classes": run["task"]["classes"],
            "lr_drops": json.dumps(lr_drops(run)),
            "test_error": error,
            "epochs": 10,
            "init_error": 0.2,
            "init_success": luck.random() < 0.9,
            "censored": luck.random() < 0.5,
            "threshold_lambda": luck.choice([0.3, 0.44, 0.6]),
            "convergence_epoch": luck.choice([None, 51, 60]),
            "avg_cos": luck.uniform(-0.5, 0.1),
            "final_gap": luck.uniform(0, 0.6),
            "escaped": luck.random() < 0.2,
        }
    )


@pytest.fixture(scope="module")
def invented(census):
    return made_up(census)


@pytest.fixture(scope="module")
def invented_panels(invented):
    """Panel frames of the made-up tables, each figure's once. Shared: read-only."""
    return cache(lambda figure, variant: build.compute(figure, Tables.given(invented, variant)))


@pytest.fixture(scope="module")
def invented_figure(invented_panels):
    """A figure as drawn from them, once. Shared: read-only."""
    return cache(lambda figure, variant: drawn_of(figure, invented_panels(figure, variant), variant=variant))


def figure_of(figure: str, tables: Tables, edition: str = "demo"):
    """The drawn figure, not written, and its panel frames."""
    frames = build.compute(figure, tables)
    return drawn_of(figure, frames, edition, tables.variant), frames


def drawn_of(
    figure: str, frames: Mapping[str, pd.DataFrame], edition: str = "demo", variant: str = "published"
):
    """The figure drawn from its panel frames, not written."""
    module = build.module(figure)
    import matplotlib

    with matplotlib.rc_context(s.STYLE):
        sets, text = build.data_of(frames), build.data_of(frames, "text")
        look = s.Look(edition, variant, build.networks_of(frames), data=sets, text=text)
        return module.draw(frames, look)


def cut(tables: dict[str, pd.DataFrame], how: str) -> dict[str, pd.DataFrame]:
    """Tables with something missing."""
    runs, rows = tables["runs"], tables["trajectories"]
    if how == "nothing":
        return {}
    if how == "no rows":
        return {name: frame.iloc[:0] for name, frame in tables.items()}
    if how == "no trajectories":
        return {"runs": runs}
    if how == "one run each":
        first = runs.groupby("experiment").head(1)
        kept = set(zip(first["experiment"], first["run"], strict=True))
        return {
            name: frame[[pair in kept for pair in zip(frame["experiment"], frame["run"], strict=True)]]
            for name, frame in tables.items()
        }
    if how == "all dead":
        gone = ["test_error", "convergence_epoch", "final_gap", "threshold_lambda", "avg_cos"]
        return {"runs": runs.assign(**dict.fromkeys(gone)), "trajectories": rows.assign(test_error=None)}
    if how == "no high branch":
        rows = rows[~rows["stage"].str.contains("collapse") & (rows["branch"] != "collapse")]
        return {**tables, "trajectories": rows, "geometry": tables["geometry"].iloc[:0]}
    if how == "one noise rate":
        return {name: frame[frame["noise_rate"] < 0.6] for name, frame in tables.items()}
    if how == "equal errors":
        return {**tables, "runs": runs.assign(test_error=0.9), "trajectories": rows.assign(test_error=0.9)}
    if how == "nothing converges":
        return {**tables, "runs": runs.assign(convergence_epoch=None, init_success=False, escaped=False)}
    raise AssertionError(how)


CUTS = [
    *("nothing", "no rows", "no trajectories", "one run each", "all dead"),
    *("no high branch", "one noise rate", "equal errors", "nothing converges"),
]


def cuts_of(figure: str, variant: str) -> list[str]:
    """Two of the cuts for each figure, one in each variant; all in both where DUALGRAD_ALL_DRAWS is set.

    Each is drawn by two to four figures.
    """
    if os.environ.get("DUALGRAD_ALL_DRAWS"):
        return CUTS
    return [CUTS[(2 * FIGURES.index(figure) + VARIANTS.index(variant)) % len(CUTS)]]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("figure", FIGURES)
def test_draws_whatever_is_missing(invented, figure, variant):
    for how in cuts_of(figure, variant):
        drawn, frames = figure_of(figure, Tables.given(cut(invented, how), variant))
        drawn.canvas.draw()
        for frame in frames.values():
            assert list(frame.columns) == list(COLUMNS), how
        if how in ("nothing", "no rows"):
            assert any("no data" in text.get_text() or "no run" in text.get_text() for text in texts(drawn))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("figure", "letters"), [("Figure3", "abd"), ("ED_Fig6", "b")])
def test_runs_that_end_where_they_began(invented_panels, figure, letters, variant):
    """As of runs with a single evaluation: all points of a course lie at 0."""
    panels = {
        letter: frame.assign(x=np.where(frame["layer"].isin(["mean", "run"]), 0.0, frame["x"]))
        if letter in letters
        else frame
        for letter, frame in invented_panels(figure, variant).items()
    }
    drawn_of(figure, panels, variant=variant).canvas.draw()


def texts(figure):
    return [*figure.texts, *(text for ax in figure.axes for text in ax.texts)]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("figure", FIGURES)
def test_every_made_up_panel_is_drawn(invented_panels, invented_figure, figure, variant):
    drawn, frames = invented_figure(figure, variant), invented_panels(figure, variant)
    assert set(frames) == set(FIGURE_PANELS[figure])
    said = [text.get_text() for text in texts(drawn)]
    assert not [text for text in said if re.search(r"no data|\bnan\b|None", text)]
    letters = [text for text in said if len(text) == 1 and text.islower()]
    assert set(FIGURE_PANELS[figure]) <= set(letters)


@pytest.mark.parametrize("edition", ["demo", "smoke", "mine", "paper", "released"])
def test_footer_names_the_edition(edition):
    for variant in VARIANTS:
        drawn, _ = figure_of("ED_Fig4", Tables.given({}, variant), edition)
        footer = next(text for text in drawn.texts if text.get_gid() == "footer").get_text()
        assert footer.startswith("Extended Data Figure 4") and f"{edition} edition" in footer
        assert ("not the published results" in footer) == (edition not in ("paper", "released"))
        assert ("audited" in footer) == (variant == "audited")
        assert footer.count("\n") <= 1


def test_no_text_lies_under_a_legend(invented_figure):
    for figure, variant in [(figure, variant) for figure in FIGURES for variant in VARIANTS]:
        drawn = invented_figure(figure, variant)
        drawn.draw_without_rendering()
        renderer = drawn.canvas.get_renderer()
        for ax in drawn.axes:
            legend = ax.get_legend()
            if legend is None:
                continue
            box = legend.get_window_extent(renderer).padded(-3)
            for text in ax.texts:
                if text.get_text() and text.get_gid() is None:
                    other = text.get_window_extent(renderer).padded(-3)
                    assert not box.overlaps(other), f"{figure}, {variant}: {text.get_text()!r}"


# --------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize(("edition", "grows"), [("demo", True), ("released", False)])
def test_a_panel_without_room_for_its_texts_is_made_higher(edition, grows):
    """Unless its limits are the published ones."""
    page = s.Page(s.Look(edition), "Figure1", 3)
    ax = page.panels("a", 1)["a"]
    ax.plot(np.linspace(0, 1, 400), np.tile([0.0, 1.0], 200), color=s.RED, lw=3)
    ax.set(xlim=(0, 1), ylim=(0, 1))
    page.note(ax, "two lines\nof text", corner="lower left")
    page.finish()
    lowest = ax.transData.inverted().transform(ax.texts[-1].get_window_extent(page.canvas.get_renderer()))[
        0, 1
    ]
    assert (ax.get_ylim()[1] > 1, lowest > 1) == (grows, grows)


def test_all_panels_are_saved(invented_panels, tmp_path):
    for figure in FIGURES:
        frames = invented_panels(figure, "published")
        for path in build.save_panels(figure, frames, tmp_path):
            letter = path.stem.removeprefix(f"{figure}_")
            pd.testing.assert_frame_equal(pd.read_parquet(path), frames[letter], check_dtype=False)
    names = {f"{figure}_{letter}.parquet" for figure, letters in FIGURE_PANELS.items() for letter in letters}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_panel_frames_can_be_drawn_after_reading_them_back(invented_panels, tmp_path):
    """Drawing needs nothing but the saved frames."""
    frames = invented_panels("Figure2", "published")
    build.draw("Figure2", frames, "demo", [tmp_path / "direct.png"])
    build.save_panels("Figure2", frames, tmp_path)
    back = {letter: pd.read_parquet(tmp_path / f"Figure2_{letter}.parquet") for letter in frames}
    build.draw("Figure2", back, "demo", [tmp_path / "back.png"])
    assert (tmp_path / "direct.png").read_bytes() == (tmp_path / "back.png").read_bytes()


def test_equal_data_give_equal_bytes(invented_panels, tmp_path):
    """Here, and in another process with another user's settings."""
    frames = invented_panels("Figure3", "published")
    build.save_panels("Figure3", frames, tmp_path)
    build.draw("Figure3", frames, "demo", [tmp_path / "one.pdf", tmp_path / "one.png"])
    (tmp_path / "matplotlibrc").write_text("font.size: 20\nsavefig.dpi: 30\n")
    code = (
        "import sys, pathlib, pandas as pd; from dualgrad.figures import build; here = pathlib.Path(sys.argv[1]);"
        "frames = {x: pd.read_parquet(here / f'Figure3_{x}.parquet') for x in 'abcd'};"
        "build.draw('Figure3', frames, 'demo', [here / 'two.pdf', here / 'two.png'])"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=tmp_path)
    for kind in ("pdf", "png"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes(), kind
    pdf = (tmp_path / "one.pdf").read_bytes()
    assert b"CreationDate" not in pdf and b"/FontFile2" in pdf


def test_make_reads_the_parts_and_writes_everything(released, tmp_path):
    out, data = tmp_path / "ED_Fig4.png", tmp_path / "data"
    build.make("ED_Fig4", "released", released, [out], data, "audited")
    assert out.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in data.iterdir()) == ["ED_Fig4_a.parquet", "ED_Fig4_b.parquet"]


def test_command(released, tmp_path, capsys):
    words = ["figure", "ED_Fig7", "--edition", "released", "--root", str(ROOT), "--tables", str(released)]
    words += ["--output", str(tmp_path / "f.png")]
    assert main([*words, "--data-dir", str(tmp_path / "data")]) == 0
    assert len(list((tmp_path / "data").iterdir())) == 3 and (tmp_path / "f.png").is_file()
    assert main([*words, "--tables", str(tmp_path / "elsewhere" / "tables")]) == 2
    assert "no such table" in capsys.readouterr().err


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="unknown figure 'Figure9', expected one of: Figure1"):
        build.make("Figure9", "demo", tmp_path / "tables", [])
    with pytest.raises(ValueError, match="unknown variant 'fixed'"):
        build.make("Figure1", "demo", tmp_path / "tables", [], variant="fixed")
    with pytest.raises(ValueError, match="expected a name ending in"):
        build.make("Figure1", "demo", tmp_path / "tables", [tmp_path / "f.gif"])
    with pytest.raises(ValueError, match="expected a folder named 'tables'"):
        build.make("Figure1", "demo", tmp_path, [tmp_path / "f.png"])


# --------------------------------------------------------------------------------------------- what Snakemake imports


def test_sources_are_light_and_complete(census):
    code = (
        "import sys, dualgrad.figures.sources;"
        "print([name for name in ('pandas', 'numpy', 'matplotlib', 'torch', 'pyarrow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
    assert set(FIGURE_PANELS) == set(FIGURE_EXPERIMENTS) and len(FIGURES) == 13
    for figure in FIGURES:
        assert list(build.module(figure).PANELS) == FIGURE_PANELS[figure]
    assert set(EXPERIMENTS) <= set(census.experiments)


@pytest.mark.parametrize("figure", FIGURES)
def test_panels_read_only_the_named_experiments(invented, invented_panels, figure):
    """What a figure needs is what experiments_of says: other experiments change nothing."""
    for variant in VARIANTS:
        wanted = experiments_of(figure, variant)
        mine = {name: frame[frame["experiment"].isin(wanted)] for name, frame in invented.items()}
        whole, part = invented_panels(figure, variant), build.compute(figure, Tables.given(mine, variant))
        for letter in whole:
            pd.testing.assert_frame_equal(whole[letter], part[letter])


# --------------------------------------------------------------------------------------------- the statistics


def test_spread_is_the_population_sd():
    table = pd.DataFrame({"lam": [0.1, 0.1, 0.2], "test_error": [0.1, 0.3, 0.5]})
    mean = f.summary(table, "test_error", "A")
    assert mean["y"].tolist() == pytest.approx([0.2, 0.5])
    assert mean["sd"].tolist() == pytest.approx([0.1, 0.0])
    assert mean["n"].tolist() == [2, 1]
    assert f.variance(table, "test_error", "A")["y"].tolist() == pytest.approx([0.01, 0.0])


def test_lambda_is_rounded_before_grouping():
    runs = pd.DataFrame(
        {"experiment": "A", "run": ["a", "b"], "lam": [0.3, 0.1 + 0.2], "test_error": [0.1, 0.2]}
    )
    assert f.summary(Tables.given({"runs": runs}).runs("A"), "test_error", "A")["n"].tolist() == [2]


def test_runs_that_are_not_counted_are_left_out():
    runs = pd.DataFrame({"experiment": "Td2", "run": ["a", "b"], "counted": [True, False]})
    assert Tables.given({"runs": runs}).runs("Td2")["run"].tolist() == ["a"]


def test_threshold_is_strict():
    assert f.by_threshold(pd.Series([0.2999, 0.3, 0.3001])) == ["L", "H", "H"]


def test_crossing_is_upward_and_interpolated():
    x = np.array([0.2, 0.3, 0.4, 0.5])
    assert f.crossing_up(x, np.array([0.4, 0.2, 0.2, 0.4]), 0.3) == pytest.approx(0.45)
    assert math.isnan(f.crossing_up(x, np.array([0.4, 0.2, 0.2, 0.2]), 0.3))


def test_p_values():
    from scipy import stats

    from dualgrad.figures.figure5 import paired_p, student_p

    first, second = pd.Series([1.0, 2.0, 4.0]).to_numpy(), pd.Series([2.5, 3.0, 6.5]).to_numpy()
    assert student_p(first, second) == pytest.approx(stats.ttest_ind(first, second).pvalue)
    assert paired_p(second - first) == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert math.isnan(student_p(first[:0], second)) and math.isnan(paired_p(first[:1]))


@pytest.mark.surroundings
@pytest.mark.parametrize("backend", ["tkagg", "no such thing"])
@pytest.mark.parametrize(
    "first",
    [
        "from dualgrad.figures.build import module; module('ED_Fig3'); import seaborn",
        "from dualgrad.replicate import compare, picture; import pandas; "
        "picture.draw(pandas.DataFrame(columns=list(compare.EPOCHS)), '', [])",
    ],
)
def test_figures_are_files_whatever_backend_the_environment_names(backend, first):
    """Matplotlib refuses what it does not have when it is imported, Seaborn's pyplot what has no display."""
    code = f"""
{first}
import os
import matplotlib
assert matplotlib.get_backend() == "agg", matplotlib.get_backend()
print(os.environ["MPLBACKEND"])
"""
    env = {name: value for name, value in os.environ.items() if name != "DISPLAY"} | {"MPLBACKEND": backend}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{backend}\n"), done.stderr
