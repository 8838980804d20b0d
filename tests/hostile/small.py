"""A workflow's folder in miniature: six runs, their records, tables, claims, and a made-up published archive."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]

CENSUS = """\
series: A-Q
experiments:
  A:
    title: A grid
    count: 4
    extends: [base, fixed]
    factors: {lambda: [0.1, 0.3], noise_rate: [0.4], seed: 0..1}
    let: {epochs: 2, milestones: [1], every: 1}
  Prep:
    title: A starting state
    count: 1
    extends: [base, fixed]
    factors: {seed: [0]}
    let: {lambda: 0.3, noise_rate: 0.4, epochs: 1, milestones: [], every: 1}
  Sweep:
    title: A ladder from it
    count: 1
    extends: image
    factors: {seed: [0]}
    let: {noise_rate: 0.4}
    stages:
      sweep:
        start: {run: "Prep/seed{seed}"}
        lr: 0.001
        segments: {ladder: {from: 0.4, to: 0.44, step: 0.02}, hold: 1}
        evaluate: {at: segment_end}
"""
CLAIMS = """\
documents: {paper: The paper}
topics: {errors: Errors}
rows:
  grid: {experiments: [A]}
claims:
  errors:
    - id: best
      places: ["paper § 1"]
      says: the lowest error at λ = .1
      printed: 0.25
      step: 0.01
      measure: {rows: grid, where: {lambda: 0.1}, statistic: min}
    - id: each-$seed
      each: {columns: [seed, value], rows: [[0, 0.2], [1, 0.3]]}
      places: ["paper § 2"]
      says: the error of seed $seed
      printed: $value
      step: 0.1
      measure: {experiments: [A], where: {seed: $seed}, over: lambda, take: max}
conclusions:
  - title: It works
    question: Does it?
    text: "Lowest error {low}."
    values: {low: {rows: grid, statistic: min}}
    claims: [best]
"""
MAPPING = """\
shapes:
  grid:
    fields: {lambda: {factor: lambda}, noise_rate: {factor: noise_rate}, seed: {factor: seed}}
experiments:
  A:
    - file: results/a.json
      like: grid
      fields:
        test_error: test_error
        test_acc: {one_minus: test_error}
        time_seconds: seconds
        note: {skip: words}
        history: {skip: read as a block}
      blocks:
        - from: history
          stage: main
          item: {epoch: {to: epoch}, error: {to: trajectories.test_error}}
"""


def rows() -> list[dict]:
    """The published rows of A, made up."""
    return [
        {
            **{"lambda": lam, "noise_rate": 0.4, "seed": seed},
            **{"test_error": 0.25, "test_acc": 0.75, "time_seconds": 1.5, "note": "x"},
            "history": [{"epoch": 1, "error": 0.5}, {"epoch": 2, "error": 0.25}],
        }
        for lam in (0.1, 0.3)
        for seed in (0, 1)
    ]


def write_archive(root: Path, content: bytes | None = None) -> None:
    """The published archive with its manifest, which fits *content* whatever that is."""
    content = json.dumps(rows()).encode() if content is None else content
    path = root / "released_archive" / "notebooks" / "Paper-A" / "results" / "a.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    with (root / "config" / "released" / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["path", "bytes", "sha256"])
        lines.writerow(["results/a.json", len(content), hashlib.sha256(content).hexdigest()])


def write_words(root: Path) -> None:
    """What people write: settings, editions, census, claims, mapping, with the real protocols."""
    for folder in ("config/census", "config/released"):
        (root / folder).mkdir(parents=True)
    for folder in ("editions", "datasets"):
        shutil.copytree(ROOT / "config" / folder, root / "config" / folder)
    shutil.copy(ROOT / "config" / "census" / "protocols.yaml", root / "config" / "census")
    shutil.copy(ROOT / "config" / "config.yaml", root / "config")
    (root / "Snakefile").touch()
    (root / "config" / "census" / "A-Q.yaml").write_text(CENSUS, encoding="utf-8")
    (root / "config" / "census" / "totals.yaml").write_text("totals: {A-Q: 6, all: 6}\n")
    (root / "config" / "claims.yaml").write_text(CLAIMS, encoding="utf-8")
    (root / "config" / "released" / "A-Q.yaml").write_text(MAPPING, encoding="utf-8")
    write_archive(root)


def build(root: Path) -> Path:
    """Everything, made with the commands that people use; the trained runs take a second."""
    from dualgrad.cli import main

    write_words(root)
    census = yaml.safe_load(CENSUS)["experiments"]
    for command in (
        ["train", "A/lam0.1_eta0.4_seed0"],
        ["train", "A/lam0.1_eta0.4_seed1"],
        ["train", "A/lam0.3_eta0.4_seed0"],
        ["train", "A/lam0.3_eta0.4_seed1"],
        ["train", "Prep/seed0"],
        ["train", "Sweep/seed0"],
        *(["tables", name] for name in census),
        ["tables", "--merge"],
        ["ingest", "A"],
        ["tables", "A", "--merge", "--edition", "released"],
    ):
        status = main([*command, "--root", str(root)])
        assert status == 0, command
    return root


def tree(folder: Path) -> dict[str, str]:
    """Every file and link below a folder with what it is: its hash, or its target."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[path.relative_to(folder).as_posix()] = str(path.readlink())
        elif path.is_file():
            found[path.relative_to(folder).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
