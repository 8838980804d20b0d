"""`dualgrad results`: conditions of an experiment with mean, standard deviation and interval."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from synthetic import write_results

from dualgrad.cli import main
from dualgrad.outcomes.conditions import Condition, factors_of, runs_of, summarise
from dualgrad.outcomes.words import bars, table
from dualgrad.validation import InputError

ROOT = Path(__file__).resolve().parents[1]


def test_conditions_of_known_values() -> None:
    values = {0.3: [0.1, 0.2, 0.3], 0.5: [0.4]}
    rows = [
        {"run": "r", "lambda": lam, "seed": k, "test_error": v}
        for lam in values
        for k, v in enumerate(values[lam])
    ]
    rows.append({"run": "r", "lambda": 0.5, "seed": 9, "test_error": None})
    first, second = summarise(rows, ["lambda"])
    low, high = stats.t.interval(0.95, 2, 0.2, 0.1 / np.sqrt(3))
    assert (first.levels, first.n) == ({"lambda": 0.3}, 3)
    assert (first.mean, first.sd, first.low, first.high) == pytest.approx((0.2, 0.1, low, high))
    assert second == Condition({"lambda": 0.5}, 1, 0.4, None, None, None)
    (whole,) = summarise(rows, [])
    assert whole.n == 4 and whole.mean == pytest.approx(0.25)
    text = table([first, second], ["lambda"], "test_error", chart=True)
    assert text.splitlines()[1].split()[:4] == ["0.3", "3", "0.2000", "0.1000"]
    assert [bar.count("●") for bar in bars([first, second])] == [1, 1]


def test_an_experiment_is_read_from_its_table(demo, tmp_path) -> None:
    results = write_results(tmp_path, demo, ("M1",))
    rows = runs_of(demo, "M1", results)
    assert len(rows) == 132 and factors_of(demo, "M1") == ["lambda", "noise_rate"]
    conditions = summarise(rows, ["lambda", "noise_rate"])
    assert len(conditions) == 22 and all(one.n == 6 for one in conditions)
    values = [row["test_error"] for row in rows if row["lambda"] == 0.35 and row["noise_rate"] == 0.4]
    (mine,) = [one for one in conditions if one.levels == {"lambda": 0.35, "noise_rate": 0.4}]
    assert mine.mean == pytest.approx(np.mean(values)) and mine.sd == pytest.approx(np.std(values, ddof=1))


def test_nothing_made_and_unknown_columns_are_said(demo, tmp_path) -> None:
    with pytest.raises(InputError, match="nothing of it has been made"):
        runs_of(demo, "M2", tmp_path)
    with pytest.raises(
        InputError, match="make it: snakemake nowhere/tables/parts/M2/runs.parquet --cores all"
    ):
        runs_of(demo, "M2", demo.root / "nowhere")
    rows = [{"run": "r", "lambda": 0.3, "test_error": 0.1, "status": "completed"}]
    with pytest.raises(InputError, match="--by lamda: no run here has this column; did you mean 'lambda'"):
        summarise(rows, ["lamda"])
    with pytest.raises(InputError, match="--of status: expected a column of numbers"):
        summarise(rows, ["lambda"], "status")


def test_the_command(demo, tmp_path, capsys, monkeypatch) -> None:
    folder = tmp_path / "made"
    made = write_results(folder, demo, ("K",))
    words = ["results", "K", "--root", str(ROOT), "--config", f"results_dir={made.parent}"]
    assert main([*words, "--plot"]) == 0
    said = capsys.readouterr().out
    assert (
        "edition demo, 60 of 60 runs" in said
        and said.count("●") == 12
        and said.count("lowest test_error") == 2
    )
    assert main([*words, "--by", "lambda", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    found = found["conditions"]
    assert [one["levels"]["lambda"] for one in found] == [0.3, 0.35, 0.43, 0.45, 0.47, 0.55]
    assert all(one["n"] == 10 and one["low"] < one["mean"] < one["high"] for one in found)
    assert main([*words[:1], "Kk", *words[2:]]) == 2
