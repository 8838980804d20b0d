"""What is made again, and what is not: on empty files that Snakemake takes for made, so that nothing is."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from test_new_experiment import ENTRY
from workflows import copy_workflow, planned, snakemake

from dualgrad.census import load_census
from dualgrad.jobs import inputs
from dualgrad.project import load_project

ROOT = Path(__file__).resolve().parents[1]
SMOKE = ("--config", "edition=smoke")
PAGE = "results/smoke/experiments/{}/results.json"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh copy of the workflow."""
    return copy_workflow(tmp_path / "flow")


def pretend(folder: Path, *words: str) -> None:
    """Have all that targets need stand there, as if it had just been made."""
    listed = snakemake(folder, *words, "--summary")
    assert listed.returncode == 0, listed.stdout
    files = [line.split("\t")[0] for line in listed.stdout.splitlines() if line.count("\t") > 3]
    assert files[0] == "output_file" and len(files) > 1
    for file in files[1:]:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    done = snakemake(folder, *words, "--touch", "--forceall")
    assert done.returncode == 0, done.stdout
    assert again(folder, *words) == {}


def again(folder: Path, *words: str) -> dict[str, int]:
    """Jobs by rule that would be done."""
    done = snakemake(folder, *words, "--dry-run")
    assert done.returncode == 0, done.stdout
    return {rule: count for rule, count in planned(done.stdout).items() if rule != "total"}


def edit(path: Path, old: str, new: str) -> None:
    """Replace the first occurrence in a file."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_pages_that_show_a_title(checkout: Path) -> None:
    words = (PAGE.format("A"), PAGE.format("B"), "docs/protocols.md", *SMOKE)
    pretend(checkout, *words)
    edit(checkout / "config" / "datasets" / "cifar10.yaml", "title: ", "title: Another ")
    assert again(checkout, *words) == {"cards": 1}
    edit(checkout / "config" / "census" / "A-Q.yaml", "title: ", "title: Another ")
    assert again(checkout, *words) == {"cards": 1, "experiment_results": 1}


def test_the_archive_is_read_again_for_nothing_but_its_own_runs(checkout: Path) -> None:
    """Whatever edition is configured beside it."""
    released, beside = ("tables", "--config", "edition=released"), ("replicate", *SMOKE)
    census = checkout / "config" / "census"
    pretend(checkout, *released)
    assert (checkout / "results" / "released" / "tables" / "archive.json").is_file()
    assert again(checkout, *beside, "precision=float32") == {"replicate": 1, "replicate_edition": 1}
    (census / "own.yaml").write_text(ENTRY)
    edit(census / "A-Q.yaml", "title: ", "title: Another ")
    assert again(checkout, *released) == {}
    assert again(checkout, *beside) == {"replicate": 1, "replicate_edition": 1}
    pretend(checkout, "results/released/tables/parts/A/runs.parquet", *SMOKE, "compare=released,smoke")
    edit(census / "A-Q.yaml", "\n  A:\n", "\n  A:\n    thresholds: {convergence: 0.3}\n")
    assert "ingest" in again(checkout, *released) and "ingest_compared" in again(checkout, *beside)


def test_what_training_takes_from_the_entry_of_a_pinned_set(checkout: Path) -> None:
    """Its prepared files are no reason to train again, so the entry is one."""
    name = next(name for name in load_census(ROOT, {"edition": "smoke"}).runs if name.startswith("X1/"))
    entry = checkout / "config" / "datasets" / "reviews.yaml"
    assert "content_sha256" in entry.read_text()
    record = f"results/smoke/runs/{name}.json"
    pretend(checkout, record, *SMOKE)
    edit(entry, "title: ", "title: other ")
    edit(entry, "content_sha256", "copy_of: null\ncontent_sha256")
    assert again(checkout, record, *SMOKE) == {}
    edit(entry, "vocabulary: 2000", "vocabulary: 1999")
    assert again(checkout, record, *SMOKE)["train"] == 1


@pytest.mark.parametrize("target", ["replicate", "verify"])
def test_who_looks_at_records_does_not_replace_them(checkout: Path, target: str) -> None:
    """Under other settings, or where a definition has changed, they would be trained again first."""
    name = next(name for name in load_census(ROOT, {"edition": "smoke"}).runs if name.startswith("A/"))
    record = checkout / "results" / "smoke" / "runs" / f"{name}.json"
    words = (f"results/smoke/runs/{name}.json", *SMOKE)
    pretend(checkout, *words)
    record.write_text("trained for days")
    for dry in ([], ["--dry-run"]):
        asked = snakemake(checkout, target, *dry, *SMOKE, "precision=float32")
        said = " ".join(asked.stdout.split())
        assert bool(asked.returncode) is not bool(dry), asked.stdout
        assert f"{target}: 1 of the runs behind it would be trained first, in the place of records" in said
        assert f"({name}): their definition" in said and f"by hand: dualgrad {target}" in said
        assert record.read_text() == "trained for days"
    # Asked for beside something that trains, it is what was wanted.
    both = snakemake(checkout, target, words[0], "--dry-run", *SMOKE, "precision=float32")
    assert "behind it" not in both.stdout and planned(both.stdout)["train"] == 1
    # `--touch` trains nothing.
    touched = snakemake(checkout, target, "--touch", *SMOKE, "precision=float32")
    assert "behind it" not in touched.stdout and record.read_text() == "trained for days"


def test_claims_follow_what_there_is_of_the_archive(checkout: Path, tmp_path: Path) -> None:
    words = ("claims", "--config", "edition=released", f"released_archive={tmp_path / 'archive'}")
    paper = tmp_path / "archive" / "notebooks" / "Paper-A"
    (paper / "results").mkdir(parents=True)
    pretend(checkout, *words)
    (paper / "Figure1.ipynb").write_text("{}")
    assert again(checkout, *words) == {"claims": 1, "measure_claims": 1}


def test_a_verified_run_is_verified_again_by_other_code_or_threads(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runs = load_census(ROOT, {"edition": "smoke"}).runs
    name = next(name for name, run in runs.items() if name.startswith("A/") and not run["copy_of"])
    record = checkout / "results" / "smoke" / "runs" / f"{name}.json"
    record.parent.mkdir(parents=True)
    record.touch()
    words = (f"results/smoke/verify/{name}.json", *SMOKE)
    pretend(checkout, *words)
    assert again(checkout, *words, "threads_per_job=2") == {"verify_run": 1}
    project = load_project(ROOT, {"edition": "smoke"})
    before = inputs.trained_by(project)
    assert json.loads(json.dumps(before)) == before == inputs.trained_by(project)
    assert f"torch {torch.__version__}".startswith(before[2]) and before[2] > "torch 2"
    package = tmp_path / "dualgrad"
    shutil.copytree(ROOT / "src" / "dualgrad", package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(inputs, "__file__", str(package / "jobs" / "inputs.py"))
    assert inputs.trained_by(project) == before
    edit(package / "training" / "trainer.py", "import ", "import math\nimport ")
    assert inputs.trained_by(project) != before


def test_no_two_jobs_write_one_log(checkout: Path) -> None:
    logs: list[str] = []
    for more in ((), ("results_dir=elsewhere",), ("results_dir=../else/where",)):
        done = snakemake(checkout, "figures/audited", "--dry-run", "--config", "edition=released", *more)
        assert done.returncode == 0, done.stdout
        logs += re.findall(r"^ +log: (.+)", done.stdout, re.MULTILINE)
    assert len(logs) == len(set(logs)) == 3 * (1 + 2 * 13)
    assert "logs/released/figures/audited/Figure1.log" in logs
    assert "logs/else/where/released/ingest.log" in logs
