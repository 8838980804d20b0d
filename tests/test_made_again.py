"""What is made again, and what is not: on empty files that Snakemake takes for made, so that nothing is."""

from __future__ import annotations

from pathlib import Path

import pytest
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
