"""What a workflow says while it runs and when it is done: time left, where things lie, the CPU nobody asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualgrad.jobs.closing import TimeLeft, closing
from dualgrad.jobs.requests import Requests
from dualgrad.project import load_project

ROOT = Path(__file__).resolve().parents[1]


def test_time_left_weighs_jobs_by_what_they_were_planned_to_take() -> None:
    now = 0.0
    left = TimeLeft(lambda: now)
    left.begin({1: 10.0, 2: 10.0, 3: 180.0})
    assert left.words() == ""
    left.finish(1)
    now = 4.0
    assert left.words() == "", "too early to say"
    now = 20.0  # twice as slow as planned
    assert left.words() == "about 6 min 20 s left"
    left.finish(2)
    left.finish(99)  # another workflow's
    now = 40.0
    assert left.words() == "about 6 min 0 s left"
    left.finish(3)
    assert left.words() == ""


@pytest.mark.parametrize(
    ("targets", "settings", "places"),
    [
        ((), {}, ["figures/main: edition demo, whose own copies stay in results/demo/figures/published"]),
        (("report",), {}, ["results/demo/report/index.html  (dualgrad open report)"]),
        (
            ("figures/audited",),
            {"edition": "smoke"},
            [
                "figures/audited: edition smoke",
                "(dualgrad open figure 1 --variant audited --config edition=smoke)",
            ],
        ),
        (("compare",), {"compare": "released, demo"}, ["results/compare/released_demo/summary.html"]),
        (
            ("claims",),
            {"results_dir": "elsewhere"},
            ["(dualgrad open claims --config results_dir=elsewhere)"],
        ),
        (("replicate",), {"edition": "paper"}, ["results/paper/replication/replication.html"]),
        (("census",), {"edition": "released"}, ["results/released/tables/parts"]),
        (("figures/main/Figure1.pdf", "no_place"), {}, ["figures/main/Figure1.pdf"]),
    ],
)
def test_every_target_says_where_it_lies(targets: tuple, settings: dict, places: list[str]) -> None:
    project = load_project(ROOT, settings)
    (line,) = closing(targets, project, ROOT)
    assert all(place in line for place in places), line
    assert all("dualgrad" not in one for one in closing(targets, project, Path("/elsewhere")))


def test_every_target_of_the_snakefile_has_a_place() -> None:
    targets = ["figures/main", "figures/extended_data", "figures/audited", "census", "controls", "tables"]
    targets += ["statistics", "compare", "replicate", "claims", "report"]
    text = (ROOT / "Snakefile").read_text()
    assert all(f"rule {name}:" in text or f'"{name}"' in text for name in targets)
    places = closing(targets, load_project(ROOT, {}), ROOT)
    assert len(places) == len(targets)
    assert closing([f"{one}/" for one in targets], load_project(ROOT, {}), ROOT) == places


def test_days_on_the_cpu_have_to_be_asked_for() -> None:
    run = "A/lam0.35_eta0.4_seed0"

    def said(settings: dict, runs: list[str], cluster: bool = False, gpu: bool = False) -> str | None:
        return Requests(load_project(ROOT, settings), cluster, gpu).unasked_cpu(runs)

    paper = {"edition": "paper"}
    assert "1 run of edition paper" in said(paper, [run]) and "--config device=cpu" in said(paper, [run])
    assert said(paper | {"device": "cpu"}, [run]) is None
    assert said(paper, []) is None
    assert said(paper, [run], cluster=True) is said(paper, [run], gpu=True) is None
    assert said(paper | {"paper_data": "synthetic", "max_steps": 2}, [run]) is None, "a trial takes minutes"
    assert said({"edition": "demo"}, [run] * 10**6) is None, "a miniature is made for the CPU"
