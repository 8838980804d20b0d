"""A data set that is a folder of PNGs and an entry: prepared, trained in two editions, shown, all by the workflow.

No file of the package knows it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from dualgrad.cli import main
from dualgrad.records import read_record
from dualgrad.tables.read import read_tables

ROOT = Path(__file__).resolve().parents[1]
ENTRY = {
    "title": "stripes and noise",
    "kind": "image",
    "classes": ["rows", "columns", "noise"],
    "shape": [3, 16, 16],
    "splits": {"train": {"examples": 150}, "test": {"examples": 30}},
    "layout": {"format": "pictures"},
    "sources": [{"path": "pictures"}],
}
CENSUS = """
series: mine
experiments:
  stripes:
    title: Three textures
    count: 2
    extends: [base, fixed]
    let: {epochs: 4, milestones: [3], noise_rate: 0.2}
    factors: {lambda: 0.3, seed: 0..1}
    name: lam{lambda}_seed{seed}
    task:
      {dataset: stripes, classes: 3, normalize: null, augment: {crop_padding: 2, flip: true},
       model: {name: mlp, hidden: [16]}, batch_size: 30}
"""


def draw(folder: Path) -> None:
    """Pictures of three textures, numbered through all classes."""
    state = np.random.RandomState(3)
    for split, count in (("train", 150), ("test", 30)):
        for number in range(count):
            label = number % 3
            image = state.randint(0, 60, (16, 16, 3)).astype(np.uint8)
            if label == 0:
                image[::2] += 150
            elif label == 1:
                image[:, ::2] += 150
            path = folder / split / ENTRY["classes"][label] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)


def test_a_folder_of_pictures_through_the_workflow(tmp_path: Path, capsys) -> None:
    for name in ("Snakefile", "config", "workflow"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    (tmp_path / "profiles").symlink_to("workflow/profiles")
    draw(tmp_path / "pictures")
    (tmp_path / "config" / "datasets" / "stripes.yaml").write_text(yaml.safe_dump(ENTRY))
    (tmp_path / "config" / "census" / "mine.yaml").write_text(CENSUS)
    demo = tmp_path / "config" / "editions" / "demo.yaml"
    edition = yaml.safe_load(demo.read_text())
    edition["datasets"]["stripes"], edition["models"]["mlp"] = {}, {}
    edition["kinds"]["image"]["task"].pop("augment")
    demo.write_text(yaml.safe_dump(edition, sort_keys=False))

    for name, more in (("demo", []), ("paper", ["precision=float32"])):
        part = f"results/{name}/tables/parts/stripes/runs.parquet"
        words = ["--cores", "2", "--config", f"edition={name}", *more]
        done = subprocess.run(
            [sys.executable, "-c", "from dualgrad.jobs.launcher import main; main()", part, *words],
            cwd=tmp_path,
            env={key: value for key, value in os.environ.items() if not key.startswith("DUALGRAD_")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        record = read_record(tmp_path / "results" / name / "runs" / "stripes" / "lam0.3_seed0.json")
        assert record["spec"]["task"]["dataset"] == "stripes" and record["outcome"]["status"] == "completed"
        assert record["provenance"]["data"]["set"] == "stripes"
        note = json.loads((tmp_path / "data" / "stripes" / "stripes.json").read_text())
        assert record["provenance"]["data"]["content_sha256"] == note["content_sha256"]
        runs = read_tables(tmp_path / "results" / name, ["stripes"], "runs")
        assert runs["dataset"].tolist() == ["stripes", "stripes"]
        assert runs["test_error"].max() < 0.67, "three classes: guessing errs twice of three times"

    where = ["--root", str(tmp_path), "--edition", "paper", "--config", "precision=float32"]
    page = tmp_path / "explorer.html"
    assert main(["explorer", *where, "--output", str(page)]) == 0
    assert main(["replicate", *where]) == 0
    capsys.readouterr()
    text = (tmp_path / "results" / "paper" / "replication" / "replication.html").read_text()
    assert "stripes/lam0.3_seed1" in text and "stripes and noise" in text
    from dualgrad.explorer.data import gather
    from dualgrad.project import load_project

    project = load_project(tmp_path, {"edition": "paper", "precision": "float32"})
    shown = gather(project.census, project.results)
    assert any(one["name"] == "stripes" and one["count"] == 2 for one in shown["experiments"])
