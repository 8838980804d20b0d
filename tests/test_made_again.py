"""What is made again, and what is not: on empty files that Snakemake takes for made, so that nothing is."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_new_experiment import ENTRY
from workflows import copy_workflow, planned, snakemake

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
    assert again(checkout, *beside) == {"replicate": 1, "replicate_edition": 1}
    assert again(checkout, *beside, "precision=float32") == {"replicate": 1, "replicate_edition": 1}
    (census / "own.yaml").write_text(ENTRY)
    edit(census / "A-Q.yaml", "title: ", "title: Another ")
    assert again(checkout, *released) == {}
    assert again(checkout, *beside) == {"replicate": 1, "replicate_edition": 1}
    pretend(checkout, "results/released/tables/parts/A/runs.parquet", *SMOKE, "compare=released,smoke")
    assert again(checkout, *released) == {}
    edit(census / "A-Q.yaml", "\n  A:\n", "\n  A:\n    thresholds: {convergence: 0.3}\n")
    assert "ingest" in again(checkout, *released) and "ingest_compared" in again(checkout, *beside)


def test_claims_follow_what_there_is_of_the_archive(checkout: Path, tmp_path: Path) -> None:
    words = ("claims", "--config", "edition=released", f"released_archive={tmp_path / 'archive'}")
    paper = tmp_path / "archive" / "notebooks" / "Paper-A"
    (paper / "results").mkdir(parents=True)
    pretend(checkout, *words)
    (paper / "Figure1.ipynb").write_text("{}")
    assert again(checkout, *words) == {"claims": 1, "measure_claims": 1}
