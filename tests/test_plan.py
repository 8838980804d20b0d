"""Plans: counts against the trainer and the census, seconds against the recorded ones, schedules against bounds."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from oracles.lab import MLP, Lab, continued, run_of, sentences, stage, vectors

from dualgrad.census import load_census
from dualgrad.models import build_model, has_dropout
from dualgrad.planning import work as counting
from dualgrad.planning.networks import NETWORKS, SMALL, network_of
from dualgrad.planning.rates import seconds
from dualgrad.planning.storage import memory
from dualgrad.planning.work import DROPOUT, EXAMPLES, Work, work_of
from dualgrad.training import run as training
from dualgrad.training.batches import batches_per_pass
from dualgrad.training.plan import plan_stage
from dualgrad.training.session import Session

ROOT = Path(__file__).resolve().parents[1]


# Work ----------------------------------------


def counted_apart(run: dict) -> tuple[int, int, int]:
    """Epochs, steps and evaluations of a run, from the epochs that the trainer would go through one by one."""
    task = run["task"]
    n = task["subset"] or EXAMPLES[task["dataset"]][0]
    usual = task["steps_per_epoch"] or batches_per_pass(n, task["batch_size"], task["drop_last"])
    epochs = [one for each in run["stages"] for one in plan_stage(each, run["max_steps"])]
    before = sum(bool(each["evaluate"].get("before")) for each in run["stages"])
    return (
        len(epochs),
        sum(one.steps or usual for one in epochs),
        before + sum(one.evaluate for one in epochs),
    )


@pytest.mark.parametrize(
    "settings", [{"edition": "paper"}, {"edition": "demo"}, {"edition": "paper", "max_steps": 2}]
)
def test_epochs_steps_and_evaluations_of_every_run(settings):
    census = load_census(ROOT, settings)
    for name, run in census.runs.items():
        if run["copy_of"]:
            assert work_of(run) == Work(), name
        else:
            work = work_of(run)
            assert (work.epochs, work.steps, work.evaluations) == counted_apart(run), name


def test_the_published_census_in_numbers(census):
    """100 epochs of 196 steps with 1,225 refreshes in all (S-T §0.7); 250 updates an epoch for text (X-Y §1)."""
    work = {name: work_of(run) for name, run in census.runs.items()}
    one = work["S1/lam0.42_seed0"]
    assert (one.epochs, one.steps, one.evaluations, one.evaluated) == (100, 19_600, 1, 10_000)
    assert one.passes == 100 * 50_000 and one.shared == pytest.approx(1225 * 256, rel=0.005)
    every_ten = work["A/lam0.1_eta0.4_seed0"]
    assert (every_ten.steps, every_ten.evaluations) == (19_500, 10)
    assert work["X1/lam0.1_seed0"].steps == 750  # X-Y §1: total_steps
    # A trusted batch beside each; the last of 53 batches is smaller.
    assert work["X1/lam0.1_seed0"].passes == pytest.approx(2 * 750 * 64, rel=0.005)
    counted = [name for name, run in census.runs.items() if run["counted"]]
    assert len(counted) == 3916 and sum(work[name].runs for name in counted) == 3916 - 72


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("vectors", {"value": {"period": 4}}),
        ("vectors", {"value": {"period": 4, "fresh_every_step": True}}),
        ("vectors", {"value": {"period": 4}, "task": {"model": {"name": "tiny_dropout"}}}),
        ("vectors", {"value": {"period": 1, "synthetic": {"about": "struct", "cosine": 0.3}}}),
        ("vectors", {"method": "ce", "task": {"drop_last": True}}),
        ("vectors", {"method": "lossmix"}),
        ("sentences", {"task": {"steps_per_epoch": 5}}),
    ],
)
def test_counted_passes_are_those_that_the_trainer_makes(tmp_path, monkeypatch, kind, changes):
    lab = Lab(tmp_path, monkeypatch)
    task = lab.add(vectors() if kind == "vectors" else sentences(masked=False))
    model = MLP if kind == "vectors" else {"name": "textcnn", "dim": 6, "filters": 4, "vocab_size": 30}
    stages = [
        stage("main", [(0.2, 2), (0.4, 1)], evaluate={"at": "segment_end"}),
        continued("more", "main", [(0.3, 3)], evaluate={"every": 2, "before": True}),
        stage("again", [{"lambda": 0.1, "epochs": 0, "steps": 3}], evaluate={"every": 1}),
    ]
    run = run_of(task, model, stages, **changes) | {"max_steps": None, "synthetic": False}
    run["task"]["synthetic"] = False
    monkeypatch.setitem(EXAMPLES, task.name, (task.n_train, task.n_test))
    monkeypatch.setattr(counting, "DROPOUT", DROPOUT | {"tiny_dropout"})
    made = {"passes": 0, "shared": 0, "evaluations": 0, "evaluated": 0}

    def gradients(self, inputs, *targets, own=Session._gradients):
        made["passes"] += len(inputs[0])
        made["shared"] += len(inputs[0]) * (len(targets) - 1)
        return own(self, inputs, *targets)

    def logits(self, inputs, own=Session._logits):
        if run["method"] == "lossmix":  # which has one loss of two parts, and one backward pass
            made["passes"] += len(inputs[0])
        return own(self, inputs)

    def evaluate(model, task, batch, own=training.evaluate):
        made["evaluations"] += 1
        made["evaluated"] += task.n_test
        return own(model, task, batch)

    monkeypatch.setattr(Session, "_gradients", gradients)
    monkeypatch.setattr(Session, "_logits", logits)
    monkeypatch.setattr(training, "evaluate", evaluate)
    record, _ = lab.train(run)
    work = work_of(run)
    assert work.steps == record["outcome"]["steps"]
    # A pass ends with a smaller batch, and which steps refresh decides how many of those are passed twice.
    assert made["passes"] == pytest.approx(work.passes, rel=0.05)
    assert made["shared"] == pytest.approx(work.shared, rel=0.1)
    assert (made["evaluations"], made["evaluated"]) == (work.evaluations, work.evaluated)


def test_tables_about_data_sets_and_networks_are_right(census, demo):
    """Sizes as built: data sets that come with a package, parameters, dropout, and what autograd keeps."""
    from dualgrad.data.images import digit_pairs, digits
    from dualgrad.data.sst2 import COUNTS

    for name, build in (("digits", digits), ("digit_pairs", digit_pairs)):
        arrays = build()
        assert EXAMPLES[name] == (len(arrays["train_labels"]), len(arrays["test_labels"]))
    assert EXAMPLES["sst2"] == tuple(map(sum, COUNTS.values()))

    tasks = {network_of(run["task"]): run["task"] for run in [*census.runs.values(), *demo.runs.values()]}
    assert tasks.keys() == NETWORKS.keys()
    for name, task in tasks.items():
        if name in ("distilbert", "mlp"):  # 67 million weights; as many as the edition's runs say
            continue
        spec = {**task["model"], "vocab_size": 2000 if task["dataset"] in SMALL else 25_000}
        model = build_model(spec, task["classes"], seed=0)
        if task["classes"] != 100:
            assert sum(one.numel() for one in model.parameters()) == NETWORKS[name].parameters, name
        assert has_dropout(model) == (task["model"]["name"] in DROPOUT), name
        if name in ("resnet18_tv", "textcnn"):
            image = torch.rand(2, 3, 32, 32)
            inputs = image if task["kind"] == "image" else torch.randint(0, 99, (2, task["max_length"]))
            assert kept_by(model, inputs) == pytest.approx(NETWORKS[name].saved, rel=0.02), name


def kept_by(model: torch.nn.Module, inputs: torch.Tensor) -> float:
    """Numbers that a forward pass keeps for the backward pass, per example, without the weights."""
    kept: dict[int, tuple[int, torch.Tensor]] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(inputs)
    weights = {one.untyped_storage().data_ptr() for one in model.parameters()}
    return sum(size for place, (size, _) in kept.items() if place not in weights) / 4 / len(inputs)


# Seconds ----------------------------------------


def test_recorded_seconds_come_back(census):
    """The census took about 630 hours; a network's rate is its recorded seconds over its passes."""
    as_published = load_census(ROOT, {"edition": "paper", "precision": "published"})
    hours = sum(seconds(run) for run in as_published.runs.values()) / 3600
    assert hours == pytest.approx(630, rel=0.02)
    recorded, units = defaultdict(float), defaultdict(int)
    for run in census.runs.values():
        stops = any(each["stop"] for each in run["stages"])
        if run["seconds_recorded"] and not run["copy_of"] and not stops:
            recorded[network_of(run["task"])] += run["seconds_recorded"]
            units[network_of(run["task"])] += work_of(run).units_published
    for name in recorded:
        assert NETWORKS[name].seconds == pytest.approx(recorded[name] / units[name] * 1e6, rel=0.01), name
    # The protocol's own estimates, in hours, of what nobody recorded (Td-W).
    for experiment, estimate in {"Td1": 3.0, "V2": 2.1, "W1": 0.6}.items():
        runs = [as_published.runs[name] for name in as_published.experiments[experiment]["runs"]]
        runs += [as_published.runs[f"{experiment}-search/{i}"] for i in ()]
        assert sum(map(seconds, runs)) / 3600 == pytest.approx(estimate, rel=0.25), experiment


def test_estimates_for_a_cluster_are_quick_and_light(census):
    begin = time.process_time()
    for run in census.runs.values():
        assert seconds(run) > 0 and memory(run).device > 0
    assert time.process_time() - begin < 0.3
    code = "import sys, dualgrad.planning.rates, dualgrad.planning.storage; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "pandas", "numpy"} & set(loaded)
