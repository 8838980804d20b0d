"""Experiments of one's own are told of like published ones: command, statistics, explorer, figure and report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import write_results

from dualgrad.census import load_census
from dualgrad.cli import main
from dualgrad.estimators.scan import scan
from dualgrad.explorer.data import gather
from dualgrad.outcomes import FILES
from dualgrad.outcomes.build import gather as outcomes_of
from dualgrad.outcomes.build import text, write
from dualgrad.outcomes.scans import choices, readings
from dualgrad.project import load_project
from dualgrad.report.build import build as build_report
from dualgrad.validation import InputError

ROOT = Path(__file__).resolve().parents[1]
ENTRIES = """
series: mine
experiments:
  my-scan:
    title: Where along λ, for two periods
    count: 60
    extends: [base, fixed]
    factors: {period: [1, 16], lambda: [0.2, 0.3, 0.4, 0.5, 0.6], noise_rate: 0.4, seed: 0..5}
    name: K{period}_lam{lambda}_seed{seed}
    value: {period: $period}
  my-networks:
    title: Two networks
    count: 6
    extends: [base, fixed]
    let: {lambda: 0.3, noise_rate: 0.4}
    factors: {network: {shallow: {}, deep: {task: {model: {name: resnet34_own}}}}, seed: 0..2}
    name: "{network}_seed{seed}"
"""


@pytest.fixture
def mine(workspace: Path) -> Path:
    """A workspace with two experiments of one's own, both made, beside one published experiment."""
    (workspace / "config" / "census" / "mine.yaml").write_text(ENTRIES)
    census = load_census(workspace, {"edition": "demo"})
    write_results(workspace / "results", census, ("A", "my-scan", "my-networks"))
    return workspace


def test_the_command_tells_of_them(mine: Path, capsys) -> None:
    assert main(["results", "my-scan", "--root", str(mine), "--plot"]) == 0
    said = capsys.readouterr().out
    assert "edition demo, 60 of 60 runs" in said and said.count("●") == 10
    # made up: the error jumps at λ = .55 - .15 · .4 = .49, whatever K
    lines = [line for line in said.splitlines() if line.startswith("K = ")]
    assert len(lines) == 2 and all("told apart from λ = 0.5 on: +0.500" in line for line in lines)
    assert main(["results", "my-scan", "--root", str(mine), "--by", "lambda", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["n"] for one in found["conditions"]] == [12] * 5 and found["over"] == "lambda"
    assert found["readings"][0]["scan"]["rise"] == 0.5
    assert main(["results", "my-networks", "--root", str(mine)]) == 0
    assert "shallow" in capsys.readouterr().out
    with pytest.raises(InputError, match="--over perod: expected one of the factors"):
        outcomes_of(load_project(mine).census, "my-scan", mine / "results" / "demo", over="perod")


def test_statistics_report_and_explorer_hold_them(mine: Path, capsys) -> None:
    project, results = load_project(mine), mine / "results" / "demo"
    assert project.own == ["my-scan", "my-networks"]
    assert main(["statistics", "own", "--root", str(mine)]) == 0
    rows = pd.read_parquet(results / "statistics" / "own.parquet")
    curves = rows[(rows["over"] == "lambda") & (rows["field"] == "test_error")]
    assert set(curves["condition"]) == {"period=1", "period=16"}
    rise = curves[curves["quantity"] == "rise_from"]
    assert rise["value"].tolist() == [0.5, 0.5]
    loss = curves[curves["quantity"] == "rise"]
    assert loss["value"].tolist() == pytest.approx([0.5, 0.5]) and set(loss["interval"]) == {
        "paired t, Bonferroni"
    }
    means = rows[(rows["experiment"] == "my-networks") & (rows["quantity"] == "mean")]
    assert set(means["condition"]) == {"network=deep", "network=shallow"} and set(means["n"]) == {3}

    shown = gather(project.census, results)
    assert [one["series"] for one in shown["experiments"] if one["name"].startswith("my-")] == [
        "mine",
        "mine",
    ]

    for name in project.own:
        paths = write(outcomes_of(project.census, name, results), results / "experiments" / name)
        assert [path.name for path in paths] == list(FILES) and all(path.stat().st_size for path in paths)
    made = build_report(project.census, project.settings, results, results / "report")
    assert made["statistics"] == 1
    page = (results / "report" / "index.html").read_text()
    assert "Series mine" in page and 'id="my-scan"' in page and "told apart from λ = 0.5 on" in page
    assert (results / "report" / "experiments" / "my-networks" / "results.png").is_file()
    table = pd.read_parquet(results / "report" / "tables" / "runs.parquet")
    assert {"A", "my-scan", "my-networks"} == set(table["experiment"])


def test_published_experiments_are_told_of_alike(mine: Path) -> None:
    census = load_project(mine).census
    found = outcomes_of(census, "A", mine / "results" / "demo")
    assert found.by == ["lambda", "noise_rate"] and [one.levels for one in found.readings] == [
        {"noise_rate": 0.4},
        {"noise_rate": 0.8},
    ]
    assert text(found, chart=False).count("lowest test_error at λ") == 2


def test_without_own_experiments_there_is_nothing_to_compute(workspace: Path, capsys) -> None:
    assert load_project(workspace).own == []
    assert main(["statistics", "own", "--root", str(workspace)]) == 2
    assert "holds no experiments of one's own" in capsys.readouterr().err


def test_an_edition_that_selects_trains_none_of_them(mine: Path) -> None:
    assert load_project(mine, {"edition": "demo"}).own == ["my-scan", "my-networks"]
    assert load_project(mine, {"edition": "smoke"}).own == []


def test_a_flat_scan_has_no_rise_and_no_loss() -> None:
    """The lowest of eight equal levels was chosen by looking: its neighbours do not look worse for that."""
    rng, found = np.random.default_rng(0), 0
    for _ in range(300):
        one = scan(np.arange(8.0), list(rng.normal(0.1, 0.02, (8, 7))), paired=True)
        losses = (one.below, one.above, one.rise_by)
        found += any(loss is not None and loss.low is not None and loss.low > 0 for loss in losses)
    assert found / 300 < 0.08


def test_a_scan_of_known_shape() -> None:
    """A parabola with its minimum at .3, seeds that shift whole curves: paired differences have no noise."""
    levels = [0.1, 0.2, 0.3, 0.4, 0.5]
    shift = np.array([0.00, 0.02, 0.05, 0.11, 0.13, 0.20, 0.26, 0.31])
    curve = [(level - 0.3) ** 2 for level in levels]
    found = scan(levels, [value + shift for value in curve], paired=True)
    assert found.optimum.value == 0.3 and (found.optimum.low, found.optimum.high) == (0.3, 0.3)
    assert not found.at_edge and found.rise == 0.4
    for loss in (found.below, found.above, found.rise_by):
        assert loss is not None and (loss.value, loss.low, loss.high) == pytest.approx((0.01, 0.01, 0.01))
    # half of the rise beyond .3 is .02, between .01 at .4 and .04 at .5
    assert found.middle is not None and found.middle.value == pytest.approx(0.4 + 0.1 / 3)
    # unpaired, the seeds' shifts hide the same steps
    alone = scan(levels, [value + shift for value in curve])
    assert alone.rise is None and alone.above is not None and alone.above.low < 0 < alone.above.high
    falling = scan(levels, [np.array([0.9, 0.91, 0.89]) - level for level in levels])
    assert falling.at_edge and falling.above is None and falling.middle is None and falling.rise is None
    with pytest.raises(ValueError, match="three levels"):
        scan([0.1, 0.2], [shift, shift])


def test_the_interval_of_the_optimum_covers_it() -> None:
    """A curve with its minimum at .3 and noise that often hides it: the interval holds it as often as it says."""
    levels, rng, held = [0.1, 0.2, 0.3, 0.4, 0.5], np.random.default_rng(5), 0
    for _ in range(200):
        data = [0.1 + 2 * (level - 0.3) ** 2 + rng.normal(0, 0.03, size=10) for level in levels]
        found = scan(levels, data)
        held += found.optimum.low <= 0.3 <= found.optimum.high
    assert held >= 190


def test_a_choice_is_made_on_validation_and_told_on_the_test_set() -> None:
    rows = [
        {
            **{"run": f"{lam}-{seed}", "lambda": lam, "seed": seed, "test_error": test + 0.01 * seed},
            **{"validation_error": validation + 0.01 * seed, "validation_noisy_error": None},
        }
        for lam, test, validation in ((0.2, 0.30, 0.40), (0.3, 0.25, 0.28), (0.4, 0.20, 0.33))
        for seed in range(4)
    ]
    (found,) = choices(rows, ["lambda"])
    assert found.chosen.of == "validation_error" and found.chosen.scan.optimum.value == 0.3
    assert found.test.value == pytest.approx(0.265) and found.best_test == 0.4
    assert (found.lost.value, found.lost.low) == pytest.approx((0.05, 0.05))
    assert choices([{**row, "validation_error": None} for row in rows], ["lambda"]) == []
    (curve,) = readings(rows[:-1], ["lambda"], "lambda")  # a run is missing: no pairs any more
    assert not curve.scan.paired and curve.scan.n == (4, 4, 3)
