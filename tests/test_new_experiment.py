"""A new experiment is a YAML entry: expanded, trained and tabulated without a line of Python."""

from __future__ import annotations

import json

from dualgrad.cli import main
from dualgrad.records import read_record

# A task of 100 classes, a deeper network, λ on a cosine ramp, and a factor that no published experiment has.
ENTRY = """
series: mine
experiments:
  deep-cosine:
    title: A deeper network on a task of 100 classes, λ on a cosine ramp
    count: 2
    extends: [base, cifar100, fixed]
    let: {epochs: 60, milestones: [30, 45], noise_rate: 0.4}
    task: {model: {name: resnet34_own}}
    factors:
      highest: {low: {let: {top: 0.3}}, high: {let: {top: 0.5}}}
      seed: 0
    name: "{highest}_seed{seed}"
    stages: {main: {segments: {ramp: {from: 0.2, to: $top, shape: cosine}, epochs: $epochs}}}
"""


def test_an_entry_of_fifteen_lines_is_enough(workspace, capsys):
    assert len(ENTRY.strip().splitlines()[2:]) <= 15
    (workspace / "config" / "census" / "mine.yaml").write_text(ENTRY)
    where = ["--root", str(workspace)]
    assert main(["data", "digit_pairs", *where]) == 0
    errors = {}
    for level in ("low", "high"):
        assert main(["train", f"deep-cosine/{level}_seed0", *where]) == 0
        path = workspace / "results" / "demo" / "runs" / "deep-cosine" / f"{level}_seed0.json"
        record = read_record(path, edition="demo", name=f"deep-cosine/{level}_seed0")
        assert record["outcome"]["status"] == "completed" and record["outcome"]["epochs"] == 60
        lambdas = record["trajectory"]["evaluations"]["lambda"]
        assert lambdas == sorted(lambdas) and lambdas[0] > 0.2 and not record["counted"]
        errors[level] = record["outcome"]["test_error"]
    assert max(errors.values()) < 0.9, "100 classes: guessing errs 99 times of 100"

    assert main(["tables", "deep-cosine", *where]) == 0
    from dualgrad.tables.read import read_tables

    runs = read_tables(workspace / "results" / "demo", ["deep-cosine"], "runs")
    assert [json.loads(text)["highest"] for text in runs["factors"]] == ["low", "high"]
    assert dict(zip(("low", "high"), runs["test_error"], strict=True)) == errors
    capsys.readouterr()
