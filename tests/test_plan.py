"""Plans: counts against the trainer and the census, seconds against the recorded ones, schedules against bounds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.lab import MLP, Lab, continued, run_of, sentences, stage, vectors

from dualgrad.census import load_census
from dualgrad.census.run import Stage
from dualgrad.cli import main
from dualgrad.models import build_model, needs_two_passes
from dualgrad.planning import calibrate as calibration
from dualgrad.planning import own_networks
from dualgrad.planning.given import BENCHMARK
from dualgrad.planning.networks import NETWORKS, SMALL, network_of
from dualgrad.planning.plan import make_plan
from dualgrad.planning.rates import (
    ASSUMED,
    ASSUMED_FACTORS,
    OWN_NETWORK,
    OWN_OPERATIONS,
    completed,
    known_seconds,
    rates_of_epochs,
    seconds,
)
from dualgrad.planning.recorded import OWN, SAME_NETWORK, rates_of_records, read_recorded
from dualgrad.planning.schedule import simulate
from dualgrad.planning.selection import select
from dualgrad.planning.storage import memory
from dualgrad.planning.work import DROPOUT, Work, work_of
from dualgrad.training import trainer as training
from dualgrad.training.batches import batches_per_pass
from dualgrad.training.plan import plan_stage
from dualgrad.training.session import Session

ROOT = Path(__file__).resolve().parents[1]


# Work ----------------------------------------


def counted_apart(run: dict) -> tuple[int, int, int]:
    """Epochs, steps and evaluations of a run, from the epochs that the trainer would go through one by one."""
    task = run["task"]
    n = task["subset"] or run["data"]["train"]
    if task.get("validation"):
        n -= int(task["validation"]["share"] * n)
    usual = task["steps_per_epoch"] or batches_per_pass(n, task["batch_size"], task["drop_last"])
    epochs = [
        one for each in run["stages"] for one in plan_stage(Stage.model_validate(each), run["max_steps"])
    ]
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
    """100 epochs of 196 steps with 1,225 refreshes in all (S-T.md#0.7); 250 updates an epoch for text (X-Y.md#1)."""
    work = {name: work_of(run) for name, run in census.runs.items()}
    one = work["S1/lam0.42_seed0"]
    assert (one.epochs, one.steps, one.evaluations, one.evaluated) == (100, 19_600, 1, 10_000)
    assert one.passes == 100 * 50_000 and one.shared == pytest.approx(1225 * 256, rel=0.005)
    every_ten = work["A/lam0.1_eta0.4_seed0"]
    assert (every_ten.steps, every_ten.evaluations) == (19_500, 10)
    assert work["X1/lam0.1_seed0"].steps == 750  # docs/specification/X-Y.md#1: total_steps
    # A trusted batch beside each; the last of 53 batches is smaller.
    assert work["X1/lam0.1_seed0"].passes == pytest.approx(2 * 750 * 64, rel=0.005)
    counted = [name for name, run in census.runs.items() if run["counted"]]
    assert len(counted) == 3916 and sum(work[name].runs for name in counted) == 3916 - 72


@pytest.fixture
def made(monkeypatch) -> Counter:
    """What the trainer's networks are made to do, counted where they do it."""
    counts: Counter = Counter()

    def gradients(self, inputs, *targets, own=Session._gradients):
        counts["passes"] += len(inputs[0])
        counts["shared"] += len(inputs[0]) * (len(targets) - 1)
        return own(self, inputs, *targets)

    def logits(self, inputs, own=Session._logits):
        if self.run.method == "lossmix":  # which has one loss of two parts, and one backward pass
            counts["passes"] += len(inputs[0])
        return own(self, inputs)

    def evaluate(model, task, batch, own=training.evaluate, **more):
        counts["evaluations"] += 1
        counts["evaluated"] += task.n_test
        return own(model, task, batch, **more)

    monkeypatch.setattr(Session, "_gradients", gradients)
    monkeypatch.setattr(Session, "_logits", logits)
    monkeypatch.setattr(training, "evaluate", evaluate)
    monkeypatch.setattr(calibration, "evaluate", evaluate)
    return counts


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("vectors", {"value": {"period": 4}}),
        ("vectors", {"value": {"period": 4, "fresh_every_step": True}}),
        ("vectors", {"value": {"period": 4}, "task": {"model": {"name": "simplecnn_p2"}}}),
        ("vectors", {"value": {"period": 1, "synthetic": {"about": "struct", "cosine": 0.3}}}),
        ("vectors", {"method": "ce", "task": {"drop_last": True}}),
        ("vectors", {"method": "lossmix"}),
        ("sentences", {"task": {"steps_per_epoch": 5}}),
    ],
)
def test_counted_passes_are_those_that_the_trainer_makes(tmp_path, monkeypatch, made, kind, changes):
    lab = Lab(tmp_path, monkeypatch)
    task = lab.add(vectors() if kind == "vectors" else sentences(masked=False))
    model = MLP if kind == "vectors" else {"name": "textcnn", "dim": 6, "filters": 4, "vocab_size": 30}
    stages = [
        stage("main", [(0.2, 2), (0.4, 1)], evaluate={"at": "segment_end"}),
        continued("more", "main", [(0.3, 3)], evaluate={"every": 2, "before": True}),
        stage("again", [{"lambda": 0.1, "steps": 3}], evaluate={"every": 1}),
    ]
    run = run_of(task, model, stages, **changes) | {"max_steps": None, "synthetic": False}
    run["task"]["synthetic"] = False
    run["data"] = {"train": task.n_train, "test": task.n_test}
    record, _ = lab.train(run)
    work = work_of(run)
    assert work.steps == record["outcome"]["steps"]
    # A pass ends with a smaller batch, and which steps refresh decides how many of those are passed twice.
    assert made["passes"] == pytest.approx(work.passes, rel=0.05)
    assert made["shared"] == pytest.approx(work.shared, rel=0.1)
    assert (made["evaluations"], made["evaluated"]) == (work.evaluations, work.evaluated)


def test_tables_about_data_sets_and_networks_are_right(census, demo):
    """Sizes as built: parameters, dropout, and what autograd keeps. (Of data sets: tests/test_data.py.)"""
    tasks = {network_of(run["task"]): run["task"] for run in [*census.runs.values(), *demo.runs.values()]}
    assert tasks.keys() == NETWORKS.keys()
    for name, task in tasks.items():
        if name in ("distilbert", "resnet18_own x2", "mlp"):  # large; as large as each run says
            continue
        spec = {**task["model"], "vocab_size": 2000 if name in SMALL else 25_000}
        model = build_model(spec, task["classes"], seed=0)
        if task["classes"] != 100:
            assert sum(one.numel() for one in model.parameters()) == NETWORKS[name].parameters, name
        assert needs_two_passes(model) == (task["model"]["name"] in DROPOUT), name
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
    known = as_published.seconds_recorded
    published = {name: run for name, run in as_published.runs.items() if run["series"] != "controls"}
    hours = sum(seconds(run, beside=0, recorded=known.get(name)) for name, run in published.items()) / 3600
    assert hours == pytest.approx(630, rel=0.02)
    recorded, units = defaultdict(float), defaultdict(int)
    for name, run in census.runs.items():
        stops = any(each["stop"] for each in run["stages"])
        if name in known and not run["copy_of"] and not stops:
            recorded[network_of(run["task"])] += known[name]
            units[network_of(run["task"])] += work_of(run).units_published
    for name in recorded:
        assert NETWORKS[name].seconds == pytest.approx(recorded[name] / units[name] * 1e6, rel=0.01), name
    # The protocol's own estimates, in hours, of what nobody recorded (Td-W).
    for experiment, estimate in {"Td1": 3.0, "V2": 2.1, "W1": 0.6}.items():
        runs = [as_published.runs[name] for name in as_published.experiments[experiment]["runs"]]
        assert sum(map(seconds, runs)) / 3600 == pytest.approx(estimate, rel=0.25), experiment


def test_what_nobody_has_measured_is_estimated_all_the_same(census):
    """A new data set, a new network and another width must not keep a workflow from starting."""
    known = census.runs["A/lam0.1_eta0.4_seed0"]

    def changed(**task) -> dict:
        return {**known, "task": {**known["task"], **task}}

    assert seconds(changed(dataset="svhn")) == seconds(changed())
    assert seconds(changed(model={"name": "mixer"})) > seconds(changed())  # as for the largest of its kind
    wide, narrow = ({"name": "resnet18_own", "width": width} for width in (4, 0.25))
    assert seconds(changed(model=wide)) > 10 * seconds(changed()) > seconds(changed(model=narrow))
    assert memory(changed(model=wide)).device > memory(changed(dataset="svhn")).device
    assert memory(changed(dataset="svhn")) == memory(changed())
    # Pictures of one's own size: as floats where they are not cropped.
    large = {**changed(augment=None), "data": {**known["data"], "shape": [3, 224, 224]}}
    pictures = (known["data"]["train"] + known["data"]["test"]) * 3 * 224 * 224 * 8
    assert memory(large).host > 2 * pictures and memory(large).device > pictures


def test_estimates_for_a_cluster_are_light(census):
    for run in census.runs.values():
        assert seconds(run) > 0 and memory(run).device > 0
    code = "import sys, dualgrad.planning.rates, dualgrad.planning.storage; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "pandas", "numpy"} & set(loaded)


def test_rates_given_for_one_network_are_scaled_to_others(census):
    """1.5 s for an epoch of ResNet-18 makes 100 of them, ten evaluations and 1,225 refreshes take about 150 s."""
    runs = census.runs
    tasks = {network_of(run["task"]): run for run in runs.values()}
    rates = completed(rates_of_epochs({"resnet18": 1.5}, runs.values(), "given"), tasks)
    assert rates.keys() == tasks.keys()
    every_epoch = runs["K/lam0.3_eta0.4_seed0"]
    assert rates["resnet18_own"].seconds(work_of(every_epoch)) == pytest.approx(150, rel=0.01)
    assert rates["resnet18_tv"].seconds(work_of(runs["S2/eta0.4_lam0.5_seed0"])) == pytest.approx(
        143, rel=0.02
    )
    # Wider: as much longer as when published, and by its own number where one is given.
    wide = NETWORKS["resnet18_own x2"].seconds / NETWORKS["resnet18_own"].seconds
    assert rates["resnet18_own x2"].step == pytest.approx(wide * rates["resnet18_own"].step)
    both = rates_of_epochs({"resnet18": 1.5, "resnet18_own x2": 9}, runs.values(), "given")
    assert both["resnet18_own x2"].step == pytest.approx(6 * both["resnet18_own"].step, rel=0.01)
    # A second network makes text follow text.
    text = completed(rates_of_epochs({"resnet18": 1.5, "textcnn": 7}, runs.values(), "given"), tasks)
    slower = text["textcnn"].step / (3 * NETWORKS["textcnn"].seconds)
    assert text["distilbert"].step == pytest.approx(3 * slower * NETWORKS["distilbert"].seconds)


def test_seconds_from_records(demo, tmp_path):
    """Own seconds for what is done, its network's for the rest; other precisions and devices say nothing."""

    def write(name: str, seconds: float, device: str = "gpu A", precision: str = "float64") -> None:
        file = tmp_path / f"{name}.json"
        file.parent.mkdir(exist_ok=True)
        provenance = {"device": device, "seconds": seconds}
        file.write_text(json.dumps({"spec": {"precision": precision}, "provenance": provenance}))

    a = demo.experiments["A"]["runs"]
    for name in a[:3]:
        write(name, 2.0)
    write(a[3], 50.0, device="gpu B")
    write(a[4], 70.0, precision="float32")
    (tmp_path / f"{a[5]}.json").write_text('{"spec": ')
    recorded = read_recorded(tmp_path, demo.runs, "float64")
    assert (recorded.device, recorded.seconds) == ("gpu A", dict.fromkeys(a[:3], 2.0))
    assert recorded.done == set(a[:5])
    rate = rates_of_records(recorded, demo.runs)["mlp"]
    assert rate.seconds(work_of(demo.runs[a[0]])) == pytest.approx(2.0)

    plan = make_plan(demo, [*a, *demo.experiments["R1b"]["runs"], "X1/lam0.1_seed0"], "cpu", recorded)
    assert plan.device_name == "gpu A"
    assert plan.estimates[a[0]].source == OWN
    loop = next(name for name in plan.runs if name.startswith("R1b"))
    assert plan.estimates[loop].source == SAME_NETWORK
    units = {name: work_of(demo.runs[name]).units for name in (loop, a[0])}
    assert plan.estimates[loop].seconds == pytest.approx(2.0 * units[loop] / units[a[0]])
    # Nobody has timed the text model here: it is as much slower than the other as it was when both were measured.
    slower = rate.step / (3 * NETWORKS["mlp"].seconds)
    text = work_of(demo.runs["X1/lam0.1_seed0"]).units * NETWORKS["distilbert_mini"].seconds * 1e-6 * slower
    assert plan.estimates["X1/lam0.1_seed0"].seconds == pytest.approx(text)


def test_calibration_measures_what_a_network_does(monkeypatch, made, census, demo):
    """With a clock that counts passes (a backward pass is two forward passes), a rate says exactly 3, 2 and 1."""

    def passes(self, work):
        made.clear()
        work()
        return float(3 * made["passes"] + 2 * made["shared"] + made["evaluated"])

    monkeypatch.setattr(calibration._Bench, "_seconds", passes)
    monkeypatch.setattr(calibration, "LONGEST_STEP", 64.0)
    runs = {
        "mlp": demo.runs["A/lam0.1_eta0.4_seed0"],
        "textcnn, small": demo.runs["X1c/lam0.1_seed0"],
        "simplecnn_p": census.runs["P/simplecnn_lam0.15_eta0.4_seed0"],
    }
    for network, rate, peak in calibration.calibrate(runs, torch.device("cpu"), threads=1):
        shared = 0 if network.startswith("textcnn") else 2e6
        assert (rate.step, rate.second, rate.evaluate, peak) == (3e6, shared, 1e6, 0), network
        assert "batches of" in rate.source  # smaller ones, as each step takes longer than this test allows


# Networks of one's own ----------------------------------------

NETWORK = """
from torch import nn

def build(options, classes):
    layers = [nn.Flatten(), nn.Linear(options["inputs"], options["units"]), nn.ReLU()]
    return nn.Sequential(*layers, nn.Dropout(options.get("dropout", 0)), nn.Linear(options["units"], classes))
"""


def of_ones_own(run: dict, **options) -> dict:
    """A resolved run with a network from an import path."""
    path = "own_planned:build"
    return {**run, "task": {**run["task"], "model": {"name": path, "import": path, **options}}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "own_planned.py").write_text(NETWORK)
    monkeypatch.setattr(own_networks, "_known", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("own_planned", None)


@pytest.mark.parametrize(("units", "dropout"), [(16, 0.0), (300, 0.5)])
def test_one_forward_pass_tells_the_size_of_a_network(census, folder, units, dropout):
    run = of_ones_own(census.runs["A/lam0.1_eta0.4_seed0"], units=units, dropout=dropout)
    run |= {"noise": {"kind": "file", "path": "labels.csv", "column": "label"}}
    run |= {"value": {**run["value"], "labels": "trusted", "trusted": {"path": "trusted.npy"}}}
    found = calibration.forward_pass(run, folder, 4)
    inputs = 3 * 32 * 32
    assert found.parameters == units * inputs + units + 10 * units + 10
    assert found.operations == 2 * (units * inputs + 10 * units)
    # Each linear layer keeps its input, ReLU and dropout their results, dropout a mask of a byte a number.
    assert found.saved == pytest.approx(inputs + (2 if dropout else 1) * units, abs=2 * units)
    assert found.apart == bool(dropout) and 0 < found.seconds < 1e6


def test_a_network_of_ones_own_is_planned_as_measured(census, folder, monkeypatch):
    run = of_ones_own(census.runs["A/lam0.1_eta0.4_seed0"], units=16)
    small, other = run, of_ones_own(run, units=20)
    assert known_seconds(run, "cpu", None).source == ASSUMED  # nobody has measured it
    huge = known_seconds(run, "cpu", None).seconds
    size = own_networks.Measured(50_000, 3_100, 98_000, 12.0, apart=False)
    big = own_networks.Measured(50_000_000, 9_000_000, 2_226_000_000, 5e4, apart=True)
    monkeypatch.setattr(
        own_networks, "_known", {own_networks._key(small): size, own_networks._key(other): big}
    )
    work = work_of(small)
    here = known_seconds(small, "cpu", None)
    assert (here.source, here.seconds) == (
        OWN_NETWORK,
        pytest.approx(12e-6 * work.units),
    ) and here.seconds < huge
    # On a GPU: twice the operations of ResNet-18 are twice its seconds, and few do not make it fast.
    factor = ASSUMED_FACTORS["cuda", small["precision"]]
    waits, computes = (known_seconds(one, "cuda", None) for one in (small, other))
    assert waits.seconds == pytest.approx(
        NETWORKS["simplecnn_p"].seconds * 1e-6 * work.units_published * factor
    )
    assert computes.source == OWN_OPERATIONS
    assert computes.seconds == pytest.approx(
        2 * NETWORKS["resnet18_own"].seconds * 1e-6 * work_of(other).units_published * factor, rel=1e-3
    )
    # What a second pass would change is passed twice; and memory follows the size.
    assert work.shared and not work_of(other).shared and work_of(other).passes == work.passes + work.shared
    assert memory(other, "cuda").device > 10 * memory(small, "cuda").device
    # Other options are another network, with a rate of its own.
    assert network_of(small["task"]) != network_of(other["task"])


def test_a_network_that_cannot_be_built_is_planned_with_the_reason(census, folder, capsys):
    good, bad = (of_ones_own(census.runs["A/lam0.1_eta0.4_seed0"], **units) for units in ({"units": 8}, {}))
    project = SimpleNamespace(
        census=SimpleNamespace(runs={"good": good, "bad": bad}), results=folder / "results", root=folder
    )
    own_networks.measure(project)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "task.model.import: own_planned:build: not measured, and planned as a larger network"
    )
    assert line.endswith("KeyError: 'units' (own_planned.py, line 5)")
    assert own_networks.measured(good).parameters > 0 and own_networks.measured(bad) is None


# Selections ----------------------------------------


def test_selections_are_what_snakemake_would_train(demo, census):
    assert (
        len(select(demo, ["figures/main"])) == 1737
    )  # snakemake -n figures/main: 1695 train, 42 train_and_save
    assert set(select(demo, ["census"])) >= {name for name, run in demo.runs.items() if run["counted"]}
    assert select(demo, ["Figure1"]) == select(demo, ["K", "A", "S2", "M2"])
    assert select(demo, ["figures/audited/ED_Fig3.pdf"]) == select(demo, ["N1", "N2"])
    one = select(census, ["results/paper/runs/Ta1-1/seed0.json"])
    assert one == select(census, ["Ta1-1/seed0"]) and one == ["Ta-prep-O/seed0", "Ta1-1/seed0"]
    assert set(select(census, ["Y1B"])) >= {"Y1A/seed0", "Y1B/seed0"}  # copies need what they copy


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["Figur2"], "did you mean 'Figure2'?"),
        (["ta1-1"], "did you mean 'Ta1-1'?"),
        (["cenus"], "did you mean 'census'?"),
        (["A/lam0.35_eta0.4_sed0"], "did you mean 'A/lam0.35_eta0.4_seed0'?"),
        (["results/paper/runs/A/lam0.35_eta0.4_seed0.json"], "add --edition paper"),
        (["A", "--seconds-per-epoch", "mpl=1"], "did you mean 'mlp'?"),
        (["A", "--seconds-per-epoch", "mlp=-1"], "expected NETWORK=SECONDS"),
        (["A", "--edition", "released"], "nothing is trained"),
        (["A", "--rates", "README.md"], "seconds_per_epoch"),
        (["A", "--gpus", "0"], "whole numbers"),
        (["A", "--packed", "2:3"], "between 0 and N"),
        (["A", "--calibrate", "--config", "device=cuda", "--edition", "paper"], "device=cpu"),
    ],
)
def test_what_cannot_be_planned_is_refused(words, hint, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    try:
        status = main(["plan", *words])
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert hint in capsys.readouterr().err


# Schedules ----------------------------------------


def test_schedules_worked_out_by_hand():
    """On two slots: a and b start; c follows a at 3; d needs a and b and gets b's slot at 5; e waits for c."""
    seconds = {"a": 3.0, "b": 5.0, "c": 4.0, "d": 2.0, "e": 1.0}
    needs = {"c": ["a"], "d": ["a", "b"], "e": ["c", "made before"]}
    two = simulate(seconds, needs, 2)
    assert two.starts == {"a": 0, "b": 0, "c": 3, "d": 5, "e": 7}
    assert (two.makespan, two.total, two.critical_path) == (8, 15, 8)
    assert two.efficiency == pytest.approx(15 / 16)
    assert simulate(seconds, needs, 1).makespan == 15
    assert simulate(seconds, needs, 9).makespan == two.critical_path
    # A list schedule does not look ahead: a long run that comes last runs alone.
    assert simulate({"x": 1.0, "y": 1.0, "z": 4.0}, {}, 2).makespan == 5
    assert simulate({"z": 4.0, "x": 1.0, "y": 1.0}, {}, 2).makespan == 4
    assert simulate({}, {}, 3).makespan == 0
    with pytest.raises(ValueError, match="circle"):
        simulate({"a": 1.0, "b": 1.0}, {"a": ["b"], "b": ["a"]}, 1)
    with pytest.raises(ValueError, match="at least 1"):
        simulate({"a": 1.0}, {}, 0)


@settings(deadline=None, derandomize=True, database=None)
@given(
    times=st.lists(st.integers(0, 20), min_size=1, max_size=14),
    edges=st.sets(st.tuples(st.integers(0, 13), st.integers(0, 13)), max_size=30),
    slots=st.integers(1, 5),
)
def test_no_schedule_breaks_its_bounds(times, edges, slots):
    seconds = {str(number): float(value) for number, value in enumerate(times)}
    needs: dict[str, list[str]] = defaultdict(list)
    for one, other in edges:
        if one < other < len(times):
            needs[str(other)].append(str(one))
    found = simulate(seconds, needs, slots)
    longest = {}
    for name in seconds:
        longest[name] = seconds[name] + max((longest[need] for need in needs[name]), default=0.0)
        assert all(found.starts[need] + seconds[need] <= found.starts[name] for need in needs[name])
    assert found.critical_path == max(longest.values())
    for moment in found.starts.values():
        running = [
            name for name in seconds if found.starts[name] <= moment < found.starts[name] + seconds[name]
        ]
        assert len(running) <= slots
    least = max(found.critical_path, found.total / slots)
    assert least <= found.makespan + 1e-9
    assert found.makespan <= found.total / slots + (1 - 1 / slots) * found.critical_path + 1e-9  # Graham 1969


# The command ----------------------------------------


def test_the_plan_of_the_census_as_json(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = [
        "--edition",
        "paper",
        "--config",
        "precision=published",
        "--json",
        "--config",
        "results_dir=none",
    ]
    assert main(["plan", "census", *words]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["jobs"], plan["counted"], plan["copies"], plan["recorded"]) == (3939, 3916, 72, 0)
    assert plan["hours"] == pytest.approx(630, rel=0.02)
    assert sum(one["hours"] for one in plan["experiments"]) == pytest.approx(plan["hours"])
    assert sum(one["runs"] for one in plan["sources"]) == 3939 and plan["assumed_factor"] is None
    for one in plan["schedules"]:
        assert one["hours"] >= one["critical_path_hours"]
        assert plan["hours"] / one["slots"] <= one["hours"] < 1.05 * plan["hours"] / one["slots"]
    assert 10 < plan["memory"]["device_bytes"] / 2**30 * 2 < 32  # a run fits an A100, twice
    assert plan["disk"]["total"] == sum(size for name, size in plan["disk"].items() if name != "total")


def test_rates_travel_in_a_file(tmp_path, capsys, monkeypatch):
    """What is measured on one machine plans on another; a file that a benchmark writes will do as well."""
    monkeypatch.chdir(ROOT)
    file, words = tmp_path / "rates.json", ["--config", "results_dir=none", "--json"]
    rate = {"step": 30.0, "second": 20.0, "evaluate": 10.0}
    report = {"precision": "float64", "device": "cpu", "device_name": "a fast one", "rates": {"mlp": rate}}
    file.write_text(json.dumps(report))
    assert main(["plan", "K", "--rates", str(file), *words]) == 0
    plan = json.loads(capsys.readouterr().out)
    work = plan["work"]
    expected = 3 * work["passes"] + 2 * work["shared"] + work["evaluated"]
    assert plan["hours"] * 3600 == pytest.approx(expected * 1e-5 + 0.15 * 60)
    assert plan["device_name"] == "a fast one"

    file.write_text(json.dumps({"seconds_per_epoch": {"mlp": 2}}))
    assert main(["plan", "K", "--rates", str(file), "--packed", "2:1.6", "--jobs", "1", *words]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["hours"] * 3600 == pytest.approx(60 * (200 + 0.15), rel=0.05)
    (one,) = plan["schedules"]  # 60 runs, two by two, each taking 2 / 1.6 times as long
    assert one["hours"] == pytest.approx(plan["hours"] / 1.6)

    result = {"what": f"{BENCHMARK}, float64", "unit": "s", "values": {"ours": {"median": 2.0}}}
    machine = {"precision": "float64", "device": "a fast one"}
    file.write_text(json.dumps({"benchmark": "gpu", "machine": machine, "results": [result]}))
    assert main(["plan", "K", "--edition", "paper", "--rates", str(file), *words]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["hours"] * 3600 == pytest.approx(60 * (200 + 5), rel=0.01)
    assert (measured["device"], measured["device_name"]) == ("cuda", "a fast one")

    file.write_text(json.dumps(report | {"precision": "float32"}))
    assert main(["plan", "K", "--rates", str(file), *words]) == 2
    assert "was measured in float32" in capsys.readouterr().err


def test_a_plan_without_torch_names_its_sources():
    code = (
        "import sys\nfrom dualgrad.cli import main\nmain(sys.argv[1:])\n"
        "assert not {'torch', 'pandas', 'numpy'} & set(sys.modules)"
    )
    words = ["plan", "figures/main", "Td1", "--edition", "paper", "--root", str(ROOT)]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert "recorded by the publication for the run itself" in done.stdout
    assert "times 6 for float64: an assumption" in done.stdout
    assert "No number is faster than" in done.stdout
