"""All that is one's own, through the workflow: pictures in a folder, labels from a file, a network by import path.

They are YAML and one module outside the package; no file of the package knows them.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from workflows import copy_workflow, snakemake

from dualgrad.cli import main
from dualgrad.explorer.data import gather
from dualgrad.planning import own_networks
from dualgrad.planning.rates import OWN_NETWORK
from dualgrad.project import load_project
from dualgrad.records import read_record
from dualgrad.tables.read import read_tables

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
    title: Three textures with labels from a crowd
    count: 4
    extends: [base, fixed]
    let: {epochs: 4, milestones: [3]}
    factors: {lambda: [0.1, 0.3], seed: 0..1}
    name: lam{lambda}_seed{seed}
    task:
      {dataset: stripes, classes: 3, normalize: null, augment: {crop_padding: 2, flip: true},
       model: {import: "mynets.small:build", width: 2}, batch_size: 30}
    noise: {kind: file, path: labels/crowd.csv, column: worse}
    value: {labels: trusted, trusted: {path: labels/trusted.npy}, period: 2}
"""
MODULE = '''
"""A small network of somebody's."""

from torch import nn

from mynets.parts import act

__version__ = "3.1"


def build(options, classes):
    """A convolution and a linear head; `width`: factor on its channels."""
    channels = 4 * options["width"]
    colours = options["shape"][0]
    return nn.Sequential(
        nn.Conv2d(colours, channels, 3, padding=1), nn.BatchNorm2d(channels), act(),
        nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.1), nn.Linear(16 * channels, classes),
    )
'''  # fmt: skip


def draw(folder: Path) -> np.ndarray:
    """Pictures of three textures, numbered through all classes; returns the training labels."""
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
    return np.arange(150) % 3


@contextlib.contextmanager
def changed(file: Path, old: str, new: str) -> Iterator[None]:
    """A file with other words in it, for a while; afterwards it is as it was, and as old."""
    kept, when = file.read_text(), file.stat()
    assert old in kept
    file.write_text(kept.replace(old, new, 1))
    yield
    file.write_text(kept)
    os.utime(file, ns=(when.st_atime_ns, when.st_mtime_ns))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workflow's folder with all that is one's own."""
    folder = copy_workflow(tmp_path_factory.mktemp("own"))
    true = draw(folder / "pictures")
    (folder / "config" / "datasets" / "stripes.yaml").write_text(yaml.safe_dump(ENTRY))
    (folder / "config" / "census" / "mine.yaml").write_text(CENSUS)
    nets = folder / "mynets"
    nets.mkdir()
    (nets / "__init__.py").write_text("")
    (nets / "parts.py").write_text("from torch.nn import ReLU as act\n")
    (nets / "small.py").write_text(MODULE)
    (folder / "labels").mkdir()
    wrong = np.where(np.arange(150) % 5 == 0, (true + 1) % 3, true)  # 30 of 150
    with (folder / "labels" / "crowd.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["place", "worse"])
        table.writerows((place, ENTRY["classes"][label]) for place, label in enumerate(wrong))
    np.save(folder / "labels" / "trusted.npy", np.arange(0, 150, 2))
    return folder


def test_pictures_labels_and_network_of_ones_own_through_the_workflow(
    own: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = snakemake(own, "own", "--cores", "2")
    assert done.returncode == 0, done.stdout
    path = own / "results" / "demo" / "runs" / "stripes" / "lam0.3_seed0.json"
    record = read_record(path)
    assert record["spec"]["task"]["dataset"] == "stripes" and record["outcome"]["status"] == "completed"
    assert record["spec"]["task"]["model"]["width"] == 2
    about = record["provenance"]
    note = json.loads((own / "data" / "stripes" / "stripes.json").read_text())
    assert about["data"]["set"] == "stripes"
    assert about["data"]["content_sha256"] == note["content_sha256"]
    labels = about["labels"]
    assert (labels["path"], labels["column"], labels["noise_rate"]) == ("labels/crowd.csv", "worse", 0.2)
    assert labels["transition"] == [[0.8, 0.2, 0.0], [0.0, 0.8, 0.2], [0.2, 0.0, 0.8]]
    assert about["trusted"]["examples"] == 75 and len(about["trusted"]["sha256"]) == 64
    network = about["network"]
    named = (network["module"], network["version"], network["file"])
    assert named == ("mynets.small", "3.1", "mynets/small.py")
    runs = read_tables(own / "results" / "demo", ["stripes"], "runs")
    assert runs["dataset"].tolist() == ["stripes"] * 4 and set(runs["noise_rate"]) == {0.2}
    assert runs["test_error"].max() < 0.67, "three classes: guessing errs twice of three times"

    # A changed label, or a line of the network, trains again what it changes.
    for file, old, new in (("mynets/parts.py", "ReLU", "GELU"), ("labels/crowd.csv", "1,columns", "1,rows")):
        with changed(own / file, old, new):
            planned = snakemake(own, "own", "--cores", "2", "-n").stdout
        assert re.search(r"^train +4$", planned, re.M) and "updated input files" in planned.lower(), planned

    # So does the set's entry, where it says how its pictures are read; a job alone refuses what was prepared before.
    half = "normalize: {mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}\n"
    with changed(own / "config" / "datasets" / "stripes.yaml", "layout:\n", f"{half}layout:\n"):
        planned = snakemake(own, "own", "--cores", "2", "-n").stdout
        assert re.search(r"^data_set +1$", planned, re.M) and re.search(r"^train +4$", planned, re.M), planned
        assert main(["train", "stripes/lam0.3_seed0", "--root", str(own)]) == 1
    assert "was prepared before the entry of stripes changed (normalize)" in capsys.readouterr().err

    # What does not fit is said before any job.
    with changed(own / "labels" / "crowd.csv", "3,rows\n", ""):
        refused = snakemake(own, "own", "--cores", "2")
    said = "expected 150 labels, one for each training example; got 149"
    assert refused.returncode and refused.stdout.count(said) == 1
    assert "Traceback" not in refused.stdout and ".smk" not in refused.stdout, refused.stdout

    # Trained by hand it is the same, and once more under verification.
    where = ["--root", str(own)]
    by_hand = own / "by_hand.json"
    assert main(["train", "stripes/lam0.3_seed0", *where, "--output", str(by_hand)]) == 0
    assert read_record(by_hand)["digest"] == record["digest"]
    assert main(["verify", "stripes/lam0.3_seed0", *where]) == 0

    # And it is shown: in statistics and results, which Snakemake has made beside the records,
    means = runs.groupby("lam")["test_error"].mean().to_dict()
    assert len(means) == 2
    statistics = pd.read_parquet(own / "results" / "demo" / "statistics" / "own.parquet")
    of_errors = statistics[(statistics["field"] == "test_error") & (statistics["quantity"] == "mean")]
    assert set(of_errors["experiment"]) == {"stripes"} and set(of_errors["n"]) == {2}
    assert dict(zip(of_errors["condition"], of_errors["value"], strict=True)) == {
        f"lambda={lam:g}": pytest.approx(mean) for lam, mean in means.items()
    }
    kept = json.loads((own / "results" / "demo" / "experiments" / "stripes" / "results.json").read_text())
    capsys.readouterr()
    assert main(["results", "stripes", *where, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == kept and (found["made"], found["planned"]) == (4, 4)
    assert {row["levels"]["lambda"]: (row["n"], row["mean"]) for row in found["conditions"]} == {
        lam: (2, pytest.approx(mean)) for lam, mean in means.items()
    }

    # in the explorer, with every run's result,
    page = own / "explorer.html"
    assert main(["explorer", *where, "--output", str(page)]) == 0
    project = load_project(own, {"edition": "demo"})
    shown = gather(project.census, project.results)
    (mine,) = (one for one in shown["experiments"] if one["name"] == "stripes")
    assert (mine["series"], mine["count"]) == ("mine", 4)

    # in the report, with its numbers, the way to its runs, and its figure,
    report = own / "report"
    assert main(["report", *where, "--pages", str(page), "--output", str(report)]) == 0
    index = (report / "index.html").read_text()
    article = index.partition('<article class="figure" id="stripes">')[2].partition("</article>")[0]
    assert "4 of 4 runs" in article and 'href="explorer.html#exp=stripes"' in article
    assert 'href="statistics.html#table=own' in article
    for mean in means.values():
        assert f"{mean:.4f}" in article, article
    assert (report / "experiments" / "stripes" / "results.png").stat().st_size > 1000
    assert (report / "explorer.html").is_file() and (report / "statistics.html").is_file()
    assert set(pd.read_csv(report / "tables" / "runs.csv")["experiment"]) == {"stripes"}

    # among what was trained again,
    assert main(["replicate", *where]) == 0
    text = (own / "results" / "demo" / "replication" / "replication.html").read_text()
    assert "stripes/lam0.3_seed1" in text and "stripes and noise (stripes): data of no published run." in text

    # and in plans, by a network that was measured once.
    assert (own / "results" / "demo" / own_networks.FILE).is_file()
    monkeypatch.setattr(own_networks, "_known", {})
    monkeypatch.setattr(own_networks, "_in_another_process", lambda *_: pytest.fail("measured twice"))
    (own / "results" / "demo" / "runs").rename(own / "aside")
    capsys.readouterr()
    assert main(["plan", "stripes", *where, "--json"]) == 0
    (source,) = json.loads(capsys.readouterr().out)["sources"]
    assert (source["source"], source["runs"]) == (OWN_NETWORK, 4)


def test_at_the_scale_of_the_paper_it_stays_as_it_is(own: Path) -> None:
    from dualgrad.census import load_census

    demo, paper = (
        load_census(own, {"edition": name}).runs["stripes/lam0.1_seed0"] for name in ("demo", "paper")
    )
    for run in (demo, paper):
        assert run["task"]["model"] == {
            "name": "mynets.small:build",
            "import": "mynets.small:build",
            "width": 2,
        }
        assert run["task"]["dataset"] == "stripes" and run["noise"]["path"] == "labels/crowd.csv"
    assert demo["task"]["steps_per_epoch"] == 4 and paper["task"]["steps_per_epoch"] is None


def test_trained_from_scratch_in_the_paper_edition(own: Path) -> None:
    """Through Snakemake on its own data, and shown as in the miniature: in tables, explorer and replication page."""
    settings = {"edition": "paper", "precision": "float32"}
    words = [f"{key}={value}" for key, value in settings.items()]
    done = snakemake(own, "own", "--cores", "2", "--config", *words, "device=cpu")
    assert done.returncode == 0, done.stdout
    folder = own / "results" / "paper"
    record = read_record(folder / "runs" / "stripes" / "lam0.1_seed1.json", edition="paper")
    assert record["outcome"]["status"] == "completed" and record["provenance"]["data"]["set"] == "stripes"
    assert record["spec"]["task"]["steps_per_epoch"] is None and record["outcome"]["epochs"] == 4
    assert read_tables(folder, ["stripes"], "runs")["dataset"].tolist() == ["stripes"] * 4
    project = load_project(own, settings)
    shown = gather(project.census, project.results)
    (mine,) = (one for one in shown["experiments"] if one["name"] == "stripes")
    assert (mine["series"], mine["count"]) == ("mine", 4)
    where = ["--root", str(own), "--config", words[0], "--config", words[1]]
    assert main(["replicate", *where]) == 0
    text = (folder / "replication" / "replication.html").read_text()
    assert "stripes/lam0.1_seed1" in text and "stripes and noise (stripes): data of no published run." in text


def test_what_was_prepared_stays_until_other_content_is_wanted(own: Path) -> None:
    """An entry that reads its files in another order asks for other content under one name, which is refused."""
    content = own / "data" / "stripes" / "stripes.npz"
    target = ("data/stripes/stripes.npz", "--cores", "1")
    assert snakemake(own, *target).returncode == 0
    before = content.read_bytes()
    with changed(
        own / "config" / "datasets" / "stripes.yaml", "format: pictures", "format: pictures\n  order: name"
    ):
        refused = snakemake(own, *target)
        assert refused.returncode and content.read_bytes() == before
        assert "recorded when it was first prepared" in refused.stdout
        assert "to take the new content instead, delete" in refused.stdout
        shutil.rmtree(content.parent)
        assert snakemake(own, *target).returncode == 0 and content.read_bytes() != before
