"""Controls: what is said of them follows from their runs, and the document is what the command writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from dualgrad import controls

ROOT = Path(__file__).resolve().parents[1]
NUMBERS = ROOT / "docs" / "numbers" / "controls.json"


def test_the_document_is_what_the_numbers_say() -> None:
    data = json.loads(NUMBERS.read_text(encoding="utf-8"))
    assert (ROOT / "docs" / "controls.md").read_text(encoding="utf-8") == controls.markdown(data)
    assert data["edition"] == "demo" and set(data["controls"]) == set(controls.ANSWERS)
    for name, one in data["controls"].items():
        assert one["sentences"], name
        assert min(condition["n"] for condition in one["conditions"]) >= 10, name


def test_every_control_of_the_census_is_answered(demo) -> None:
    names = {name for name, one in demo.experiments.items() if one["series"] == "controls"}
    assert names == set(controls.ANSWERS)
    for name, (by, _) in controls.ANSWERS.items():
        run = demo.runs[demo.experiments[name]["runs"][0]]
        assert set(by) <= set(run["factors"])
        assert not run["counted"]


def test_the_quench_arms_differ_in_what_they_say(demo) -> None:
    runs = {run["run"]: run for run in demo.runs.values() if run["experiment"] == "Control-quench"}
    published = next(run for run in demo.runs.values() if run["experiment"] == "T1a")
    assert runs["jump46-drop_seed0"]["stages"][0]["schedule"] == published["stages"][0]["schedule"]
    for arm, lam, drops in (("jump54", 0.54, False), ("jump54-drop", 0.54, True), ("stay-drop", 0.35, True)):
        init, observe = runs[f"{arm}_seed3"]["stages"]
        assert observe["segments"][0]["lambda"] == lam
        assert ("milestones" in init["schedule"]) is drops


def test_welch() -> None:
    first, second = [0.1, 0.2, 0.4, 0.3], [0.5, 0.55, 0.7]
    apart, low, high = controls.difference(first, second)
    interval = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    assert (apart, low, high) == pytest.approx(
        (np.mean(first) - np.mean(second), interval.low, interval.high)
    )
    assert controls.difference([0.9, 0.9], [0.9, 0.9]) == (0.0, 0.0, 0.0)


def test_the_share_of_rerunning_covers_what_it_should() -> None:
    """Known components: a quarter of the variance is the seed's, three quarters appear at an identical seed."""
    rng, held, shares = np.random.default_rng(0), 0, []
    for _ in range(400):
        seeds = rng.normal(0, 0.5, size=(5, 1))
        share, low, high = controls.rerun_share(seeds + rng.normal(0, np.sqrt(0.75), size=(5, 10)))
        held += low <= 0.75 <= high
        shares.append(share)
    assert 0.92 <= held / 400 <= 0.98
    assert np.median(shares) == pytest.approx(0.77, abs=0.06)
    with pytest.raises(ValueError, match="equally many"):
        controls.rerun_share([[0.1, 0.2], [0.3]])


def test_what_is_said_about_the_period() -> None:
    rows = [
        {
            "run": "r",
            "noise_rate": 0.4,
            "period": period,
            "lambda": lam,
            "seed": seed,
            "test_error": error + 0.001 * seed,
        }
        for period, errors in ((1, (0.1, 0.02)), (16, (0.1, 0.6)))
        for lam, error in zip((0.35, 0.8), errors, strict=True)
        for seed in range(10)
    ]
    falls, rises = controls._period(rows)
    assert "K = 1" in falls and "falls: -0.080" in falls
    assert "K = 16" in rises and "rises: +0.500" in rises and "n = 10 and 10" in rises
