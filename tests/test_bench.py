"""The benchmarks: the published loop computes what the trainer computes; every benchmark runs at its smallest.

No test looks at a time.
"""

from __future__ import annotations

import copy
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from jsonschema import validate
from oracles.lab import (
    BERT,
    CNN,
    Lab,
    multistep,
    run_of,
    sentences,
    stage,
)
from workflows import snakemake

from dualgrad.bench import against, flops, kernels, library, mps, pipeline, processes, whole_run
from dualgrad.bench.gpu import PUBLISHED, WINDOW, Gpu, _one_of_several, _together, census_epochs
from dualgrad.bench.pipeline import _grow, copy_workflow
from dualgrad.bench.sides import make_sides
from dualgrad.bench.synthetic import synthetic_run
from dualgrad.bench.timing import lines_of, measurement, spread, take_turns
from dualgrad.bench.within import within_epoch
from dualgrad.census import load_census
from dualgrad.census.datasets import load_datasets
from dualgrad.census.run import read
from dualgrad.cli import main
from dualgrad.data.prepare import content_path, prepare
from dualgrad.data.store import save_arrays
from dualgrad.data.task import IMAGE_FORMATS
from dualgrad.models import build_model
from dualgrad.planning.given import BENCHMARK, given_in_words
from dualgrad.planning.plan import make_plan
from dualgrad.planning.recorded import Recorded
from dualgrad.planning.selection import select
from dualgrad.records import definition
from dualgrad.replicate.build import KEPT, WITHIN
from dualgrad.training.session import evaluate
from dualgrad.training.trajectory import StepStatistics
from dualgrad.validation import InputError

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = yaml.safe_load((ROOT / "src" / "dualgrad" / "schemas" / "bench.schema.yaml").read_text())
CPU = torch.device("cpu")
A = "A/lam0.35_eta0.4_seed0"


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """A folder of data sets, with the digits in it."""
    folder = tmp_path_factory.mktemp("data")
    sets = load_datasets(ROOT)
    prepare(sets["digits"], sets, folder)
    return folder


@pytest.fixture
def lab(tmp_path, monkeypatch) -> Lab:
    return Lab(tmp_path, monkeypatch)


@pytest.fixture
def small_products(monkeypatch) -> None:
    """Matrix products that take no second: which of them is the fastest, no test asks."""
    monkeypatch.setattr(flops, "SIZES", {"cpu": (64, 128)})


# ------------------------------------------------------------------------------------ both sides train the same


def assert_same_training(sides, epochs: int) -> None:
    """Train both sides and compare weights, running statistics and errors."""
    for _ in range(epochs):
        sides.trainer.train_epoch(sides.plan[0], StepStatistics(), sides.stage)
        sides.session.epoch += 1
        sides.loop.epoch(sides.lam)
    assert sides.session.update == sides.loop.t > 16
    ours, published = sides.session.model.state_dict(), sides.loop.model.state_dict()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, published[name], rtol=0, atol=1e-10, msg=name)
    error = evaluate(sides.session.model, sides.trainer.task, 50)["test_error"]
    assert sides.loop.evaluate() == pytest.approx(error, abs=1e-12)


@pytest.mark.parametrize(
    "name",
    [
        A,
        "B/lam0.3_eta0.4_seed0",
        "B2/lam0.3_eta0.4_seed0",
        "B3/trueanti-k1_lam0.2_eta0.4_seed0",
        "B3/renorm_lam0.3_eta0.4_seed0",
        "C/ce_lam0_eta0.4_seed0",
        "C/loss-mix_lam0.3_eta0.4_seed0",
        "D1/trusted0.1_lam0.3_eta0.4_seed0",
        "M2/lam0.48_eta0.4_seed0",
    ],
)
def test_images_are_trained_alike(name: str, demo, data) -> None:
    """The demo's run, through loaders, pictures and transforms: 20 steps with two refreshes, in float64."""
    sides = make_sides(read(definition(demo.run(name))), data, CPU, 1, workers=0)
    assert_same_training(sides, 5)
    assert bool(sides.loop.cosines) == name.startswith("M2")


@pytest.mark.parametrize(("model", "optimizer"), [(BERT, "adamw"), (CNN, "adam")])
@pytest.mark.parametrize("schedule", [None, {"kind": "warmup_linear", "warmup": 0.1}])
def test_sentences_are_trained_alike(model: dict, optimizer: str, schedule, lab) -> None:
    task = lab.add(sentences(masked=model is BERT))
    run = run_of(
        task,
        {**model, "dropout": 0.0},
        [stage("main", [(0.4, 4)], **({"schedule": schedule} if schedule else {}))],
        optimizer={"name": optimizer, "lr": 2e-3, "weight_decay": 0.01},
    )
    sides = make_sides(read(run), lab.context.data_dir, CPU, 1)
    assert_same_training(sides, 4)
    assert len(sides.loop.losses) == sides.loop.t and len(sides.loop.cosines) == sides.loop.t // 3


def test_a_smaller_rate_after_a_milestone(demo, data) -> None:
    run = demo.run(A)
    stages = [{**run["stages"][0], "schedule": multistep(2, 4)}]
    assert_same_training(make_sides(read({**definition(run), "stages": stages}), data, CPU, 1, workers=0), 5)


def test_processes_of_the_loader_deliver_the_same_batches(demo, data) -> None:
    one, two = (
        make_sides(read(definition(demo.run(A))), data, CPU, 1, workers=workers).loop for workers in (0, 2)
    )
    assert two.train.persistent_workers
    for _ in range(2):
        one.train.batch_sampler.begin(1)
        two.train.batch_sampler.begin(1)
        for first, second in zip(one.train, two.train, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    "change", [{"synthetic": {"about": "struct", "cosine": 0.1}}, {"fresh_every_step": True}]
)
def test_what_the_published_loop_does_not_know_is_refused(change: dict, demo, data) -> None:
    run = demo.run(A)
    with pytest.raises(ValueError, match="does not know"):
        make_sides(read({**definition(run), "value": {**run["value"], **change}}), data, CPU, 1)


# --------------------------------------------------------------------------------------------- each benchmark


def bench(capsys, *words: str) -> dict:
    """Run a benchmark from the command line; returns its JSON, checked."""
    status = main(["bench", *words, "--root", str(ROOT), "--json"])
    out = capsys.readouterr()
    assert status == 0, out.err
    report = json.loads(out.out)
    validate(report, SCHEMA)
    assert len(lines_of(report)) > 5
    return report


def test_bench_step(capsys, data) -> None:
    settings = ("--config", f"data_dir={data}", "--rounds", "2")
    (result,) = bench(capsys, "step", A, *settings)["results"]
    assert set(result["values"]) == {"ours", "baseline"} and result["ratios"]["baseline/ours"]["n"] == 2
    assert result["details"]["largest_difference_after_two_steps"] < 1e-10
    assert "ours_plain_ms" in result["details"] and "matmul_gflop_per_s" not in result["details"]


@pytest.mark.parametrize("layout", [torch.preserve_format, torch.channels_last])
def test_bench_step_of_a_network_on_made_up_pictures(capsys, small_products, monkeypatch, layout) -> None:
    """On a GPU our weights lie in channels_last; the published loop's never do, and it is measured all the same."""
    monkeypatch.setitem(IMAGE_FORMATS, "cpu", layout)
    words = ("--model", "simplecnn", "--batch", "4", "--precision", "float64", "--rounds", "1")
    (result,) = bench(capsys, "step", *words)["results"]
    details = result["details"]
    assert details["largest_difference_after_two_steps"] < 1e-10
    ours, published = (details[f"{side}_gflop_per_s"] for side in ("ours", "baseline"))
    fraction = details["ours_fraction_of_matmul"]
    assert ours > 0 and published > 0
    assert fraction == pytest.approx(ours / details["matmul_gflop_per_s"])


def test_bench_epoch(capsys, data, tmp_path) -> None:
    words = (
        A,
        "--rounds",
        "1",
        "--workers",
        "1",
        "--config",
        f"data_dir={data}",
        "--output",
        f"{tmp_path}/e.json",
    )
    report = bench(capsys, "epoch", *words)
    assert report == json.loads((tmp_path / "e.json").read_text())
    assert report["results"][0]["details"]["steps"] == 4
    assert report["results"][0]["details"]["loader_processes"] == 1


@pytest.fixture
def executed(monkeypatch, capsys) -> list[list[str]]:
    """Commands that a benchmark times; `python -m dualgrad`, which many tests start, is called in this process."""
    commands: list[list[str]] = []

    def execute(command, *where, own=whole_run.execute):
        if where:
            return own(command, *where)
        commands.append(command)
        if command[:3] != [sys.executable, "-m", "dualgrad"]:
            return own(command)
        assert main(command[3:]) == 0
        return capsys.readouterr().out

    for module in (whole_run, pipeline):
        monkeypatch.setattr(module, "execute", execute)
    return commands


def test_bench_run(capsys, data, executed) -> None:
    words = ("--rounds", "1", "--workers", "1", "--edition", "smoke", "--config", f"data_dir={data}")
    (result,) = bench(capsys, "run", "A/lam0.1_eta0.4_seed0", *words)["results"]
    assert list(result["values"]) == ["warm worker", "fresh process", "baseline"]
    assert result["details"]["of_which_training"] > 0
    client, again, fresh, published = executed  # the first prepares the worker
    assert client == again and client[1:] == fresh[3:] and published[1:3] == ["-m", "dualgrad.bench.baseline"]


def test_bench_pipeline(capsys, data, executed, monkeypatch) -> None:
    """Dry runs are commands, as all are; Snakemake's other starts are forks of a process that has imported it."""

    def command(folder, *words, more=None, own=pipeline._command):
        if "--dry-run" in words:
            return own(folder, *words, more=more)
        done = snakemake(folder, *words, more=more)
        assert done.returncode == 0, done.stdout
        return processes.Took(seconds=1.0, cpu=1.0, memory=1.0)

    monkeypatch.setattr(pipeline, "_command", command)
    made = {"data", ".snakemake", ".hypothesis"}  # by other tests beside this one
    before = {path.name for path in ROOT.glob("*")} - made
    report = bench(capsys, "pipeline", "--jobs", "4", "--rounds", "1", "--config", f"data_dir={data}")
    found = {result["what"].split(":")[0]: result for result in report["results"]}
    assert [command[3] for command in executed] == ["train"]
    assert found["overhead of a fresh process per run"]["values"]["fresh process"]["n"] == 1
    assert found["overhead of a job"]["values"]["worker"]["n"] == 1
    assert found["4 runs, dry run"]["unit"] == "s"
    rate = found["4 runs, with training that takes no time"]
    assert rate["details"]["jobs"] == 4 and rate["unit"] == "1/s"
    if Path("/proc/self/smaps_rollup").exists():
        memory = found["memory of worker and children with two jobs at once (peak PSS)"]
        assert 50 < memory["values"]["worker"]["median"] < 50_000
    assert {path.name for path in ROOT.glob("*")} - made == before


def test_bench_demo(monkeypatch, tmp_path, capsys) -> None:
    """What was trained is counted; the commands themselves take minutes."""
    asked = []

    def command(folder, target, *words, more=None):
        asked.append((target, *words))
        for name in ("first", ".half") if target == "figures/main" else ("second", "third"):
            (folder / "results/demo/runs/A").mkdir(parents=True, exist_ok=True)
            (folder / f"results/demo/runs/A/{name}.json").touch()
        return processes.Took(seconds=3.0, cpu=5.0, memory=1.0)

    monkeypatch.setattr(pipeline, "_command", command)
    report = bench(capsys, "pipeline", "--demo", "--config", f"data_dir={tmp_path}")
    figures, census, both = report["results"]
    assert report["command"].startswith("dualgrad bench pipeline --demo")
    assert [one[0] for one in asked] == ["figures/main", "census"] and "edition=demo" in asked[0]
    assert (figures["details"]["runs"], census["details"]["runs"]) == (1, 2)
    assert figures["values"]["wall"]["median"] == 3.0 and both["values"]["processor"]["median"] == 10.0
    assert not any(result["ratios"] for result in report["results"])


def test_a_version_is_set_beside_another_one(capsys, data, monkeypatch) -> None:
    if subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True).returncode:
        pytest.skip("no repository")
    monkeypatch.setattr(against, "PIECE", 0.01)
    words = ("step", A, "--against", "HEAD", "--rounds", "1", "--config", f"data_dir={data}")
    (result,) = bench(capsys, *words)["results"]
    first, *others = result["values"]
    assert first == "ours" and [name.partition(", ")[2] for name in others] == ["", "autograd"]
    for name in others:
        ratio = result["values"]["ours"]["median"] / result["values"][name]["median"]
        assert result["details"][f"ours_over_{name}"] == pytest.approx(ratio)
    assert main(["bench", "step", "--against", "nowhere", "--root", str(ROOT)]) == 2
    assert "--against: expected a commit of the repository" in capsys.readouterr().err


def test_a_synthetic_census_adds_up(tmp_path) -> None:
    copy_workflow(ROOT, tmp_path)
    total, last = _grow(tmp_path, 3916 + 3600 + 50)
    census = load_census(tmp_path, {"edition": "demo"})
    counted = [run for run in census.runs.values() if run["counted"]]
    assert len(counted) == total == 3916 + 3600 + 36  # full grids of 18
    assert last == "Synthetic-1" and census.experiments[last]["count"] == 36
    with pytest.raises(InputError, match=r"--census: expected more than the published 7552 runs; got 3920"):
        _grow(tmp_path, 3920)


def test_bench_gpu_on_the_cpu(capsys, small_products, monkeypatch) -> None:
    monkeypatch.setattr("dualgrad.bench.gpu.LONGEST", 2 * WINDOW)
    words = (
        "--device",
        "cpu",
        "--model",
        "simplecnn",
        "--images",
        "16",
        "--batch",
        "8",
        "--packed",
        "2",
        "--rounds",
        "1",
    )
    report = bench(capsys, "gpu", *words, "--workers", "1", "--census-epochs", "1000")
    what = " ".join(result["what"] for result in report["results"])
    expected = ("hours of the census", "to compile for a CPU takes minutes")
    assert not [note for note in report["notes"] if not any(one in note for one in expected)]
    parts = ("epoch with an evaluation", "step of", "kernels of a refresh step", "kernels of a plain step")
    more = ("steps and an evaluation, twice", "in other ways", "2 run(s) at once", "float64", "float32")
    assert all(part in what for part in (*parts, *more)), what
    found = {result["what"]: result for result in report["results"]}
    packed = next(result for what, result in found.items() if "at once" in what)["details"]
    assert len(packed["steps_per_second_of_each"]) == 2 and packed["seconds_measured"] >= WINDOW
    twice = next(result for what, result in found.items() if "twice" in what)
    assert twice["details"]["digests_equal"] is True
    others = found["plain step, in other ways"]
    assert list(others["values"]) == ["as is", "images contiguous", "cudnn_benchmark"]
    differences = [value for name, value in others["details"].items() if "difference" in name]
    assert differences == [0.0, 0.0]
    assert found["kernels of a plain step"]["details"]["launches"] > 50
    assert "hours of the census left out: measured with another" in report["notes"][-1]


def test_bench_gpu_does_what_time_allows(capsys) -> None:
    words = ("--device", "cpu", "--model", "simplecnn", "--images", "8", "--batch", "4", "--rounds", "1")
    report = bench(capsys, "gpu", *words, "--workers", "1", "--census-epochs", "1000", "--minutes", "0.01")
    assert any("seconds were left" in note for note in report["notes"])
    assert "packed runs left out: less than 5 seconds were left" in report["notes"]  # no process is started
    assert "epoch with an evaluation" in report["results"][-1]["what"]


def test_packed_processes_train_for_what_is_left_of_their_time(monkeypatch) -> None:
    """What one of them does, done here; that they are processes, and several, is tried above."""
    monkeypatch.setattr("dualgrad.bench.gpu.WINDOW", 0.5)
    # By this clock getting ready takes no time, however busy the machine is.
    still = SimpleNamespace(time=lambda: 100.0, perf_counter=time.perf_counter)
    monkeypatch.setattr("dualgrad.bench.gpu.time", still)
    run = synthetic_run("simplecnn", 4, 8, 4, "float32")

    def window(until: float) -> float:
        answers: queue.Queue = queue.Queue()
        _one_of_several(run, "cpu", 1, until, threading.Barrier(1), answers)
        rate, took = answers.get()
        assert rate > 0
        return took

    assert window(99.0) >= 0.5, "getting ready took all of it"
    assert window(101.0) >= 1.0


def test_the_first_epoch_of_k_beside_the_published_one(tmp_path) -> None:
    folder = tmp_path / "pictures"
    images = {
        f"{split}_images": np.zeros((n, 3, 32, 32), np.uint8) for split, n in (("train", 9), ("test", 4))
    }
    labels = {f"{split}_labels": np.zeros(n, np.int64) for split, n in (("train", 9), ("test", 4))}
    folder.mkdir()
    save_arrays(content_path(tmp_path, "pictures"), images | labels, {"set": {"name": "pictures"}})
    gpu = Gpu(CPU, 1, "simplecnn", 4, 9, 4, 1, 1, "float32", [1], 60.0, None, folder)
    gpu._first_epoch(1e-9)
    (result,) = gpu.results
    assert (
        len(result["details"]["test_errors"]) == 1 and result["details"]["test_errors_published"][0] == 0.6927
    )
    gpu.pictures = tmp_path / "nothing"
    gpu._part("the first epoch of K", 0.0, 1.0, gpu._first_epoch)
    assert "holds no prepared data set" in gpu.notes[-1]


def test_another_network_is_not_called_k(monkeypatch) -> None:
    gpu = Gpu(CPU, 1, "simplecnn", 4, 9, 4, 1, 1, "float32", [1], 60.0, None, Path("pictures"))
    parts = []
    monkeypatch.setattr(gpu, "_part", lambda name, *_: parts.append(name))
    gpu.measure()
    assert "the first epoch of K" not in parts and any("left out: K is a ResNet-18" in n for n in gpu.notes)


def test_k_of_the_benchmark_is_k_of_the_census(census) -> None:
    mine = Gpu(CPU, 1, *PUBLISHED, 1, 4, census.edition["precision"], [1], 1.0, None)._k("cifar10", 3)
    run = read(definition(census.run("K/lam0.3_eta0.4_seed3"))).plain()
    different = {key for key in mine if key in run and mine[key] != run[key]}
    assert different <= {"series", "counted", "edition", "factors", "labels", "thresholds", "task"}
    task = {key: value for key, value in run["task"].items() if mine["task"][key] != value}
    assert task == {"model": {"name": "resnet18_own", "width": 1.0}}


def test_the_service_for_several_processes_is_ours_and_ends(tmp_path, monkeypatch) -> None:
    calls = tmp_path / "calls"
    stub = tmp_path / mps.CONTROL
    stub.write_text(
        f'#!/bin/sh\necho "$CUDA_MPS_PIPE_DIRECTORY $*" >> {calls}\n[ $# -gt 0 ] || cat >> {calls}\n'
    )
    stub.chmod(0o755)
    assert not mps.available()
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert mps.available()
    with mps.serving():
        pipe = os.environ["CUDA_MPS_PIPE_DIRECTORY"]
        assert Path(pipe).is_dir()
    assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ and not Path(pipe).exists()
    assert calls.read_text().split("\n") == [f"{pipe} -d", f"{pipe} ", "quit -t 5", ""]
    stub.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(RuntimeError, match="does not start"), mps.serving():
        pass


def test_a_service_that_keeps_what_it_was_given_to_write_to_is_not_waited_for(tmp_path, monkeypatch) -> None:
    stub = tmp_path / mps.CONTROL
    stub.write_text(f"#!/bin/sh\nif [ $# -gt 0 ]; then sleep 30 & echo $! > {tmp_path}/service; fi\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(mps, "_PATIENCE", 5.0)
    try:
        with mps.serving():
            assert (tmp_path / "service").exists()
    finally:
        os.kill(int((tmp_path / "service").read_text()), signal.SIGKILL)


def test_the_gpu_is_measured_without_the_workflow() -> None:
    """A machine lent for minutes may have torch and little else."""
    blocked = (
        "snakemake jsonschema pandas pyarrow matplotlib scipy statsmodels diptest transformers torchvision"
    )
    small = "--model simplecnn --images 4 --batch 2 --rounds 1 --packed 1 --minutes 0.01"
    words = f"bench gpu --device cpu {small} --json"
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r}.split())); "
        f"from dualgrad.cli import main; sys.exit(main({words!r}.split()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["results"] and any("without the published loop" in note for note in report["notes"])


def test_a_packed_process_that_fails_ends_the_others_wait() -> None:
    run = synthetic_run("simplecnn", 8, 16, 4, "float32")
    run = run.model_copy(update={"task": run.task.model_copy(update={"synthetic": False})})
    with pytest.raises(RuntimeError, match=r"1 at once: DataError: .*run: dualgrad data cifar10"):
        _together(run, CPU, 1, 1, 1.0, 60.0)


def test_hours_of_the_census() -> None:
    gpu = Gpu(CPU, 1, *PUBLISHED, 1, 4, "published", [1], 1.0, census_epochs=360_000.0)
    gpu._epoch_seconds, gpu._packed_rate = 1.5, 195.0
    gpu._hours()
    (result,) = gpu.results
    assert result["values"]["one run at a time"]["median"] == pytest.approx(150)
    assert result["values"]["packed"]["median"] == pytest.approx(100)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["steps"], "did you mean 'step'?"),
        (["step", "--jobs", "3"], "does not know --jobs (known by: pipeline)"),
        (
            ["pipeline", "--census", "10000", "--jobs", "3"],
            "--census: takes no --jobs; leave out one of them",
        ),
        (["pipeline", "--demo", "--rounds", "3"], "--demo: takes no --rounds"),
        (["pipeline", A], "does not know EXPERIMENT/RUN (known by: step, epoch, run, loop)"),
        (["step", "--batch", "8"], "--batch: is for --model"),
        (["step", A, "--model", "resnet18"], "expected a model or runs, not both"),
        (["step", "--rounds", "0"], "expected a positive whole number; got '0'"),
        (["step", "A/lam0.35_eta0.4_sed0"], "did you mean 'A/lam0.35_eta0.4_seed0'?"),
        (["step", "Td2/trap1_baseline"], "starts from another run"),
        (["run", "Q2/low_high_eta0.4_seed0"], "no such run"),
        (["gpu", "--device", "cpu", "--images", "8"], "expected at least one batch (256); got 8"),
        (["setup"], "expected --against COMMIT"),
        (["step", "--against", "HEAD", "--model", "vgg11"], "as it is, without --model"),
        (["gpu", "--minutes", "-1"], "expected a positive number; got '-1'"),
        (["step", "--output", "{nowhere}/x.json"], "does not exist"),
        (["step", "X1d/lam0.3_seed0", "--config", "data_dir={nowhere}"], "dualgrad data reviews"),
    ],
)
def test_bad_arguments_are_refused_in_words(words: list[str], message: str, tmp_path, capsys) -> None:
    words = [word.replace("{nowhere}", str(tmp_path / "nowhere")) for word in words]
    try:
        status = main(["bench", *words, "--root", str(ROOT)])
    except SystemExit as end:
        status = end.code
    assert status == 2
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err


def test_a_gpu_that_is_not_there_is_said_so(capsys) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert main(["bench", "gpu", "--root", str(ROOT)]) == 2
    assert "no GPU here; try --device cpu" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------- the numbers


def test_pieces_take_turns() -> None:
    order = []
    pieces = {name: lambda name=name: order.append(name) for name in "ab"}
    times = take_turns(pieces, 3, CPU)
    assert order == list("abbaab") and len(times["a"]) == len(times["b"]) == 3
    assert len(take_turns(pieces, 9, CPU, enough=lambda: len(order) >= 10)["a"]) == 2


def test_ratios_are_of_the_same_round() -> None:
    result = measurement(
        "x", "s", {"ours": [1.0, 2.0, 10.0], "other": [3.0, 4.0, 15.0]}, kept=1, dropped=None
    )
    assert result["ratios"]["other/ours"]["median"] == 2.0
    assert result["details"] == {"kept": 1}
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == {"median": 3.0, "low": 2.0, "high": 4.0, "n": 5}
    assert spread([7.0]) == {"median": 7.0, "low": 7.0, "high": 7.0, "n": 1}


def test_kernels_of_a_gpu_are_told_from_operations_of_the_host() -> None:
    """The values of torch's enum that the profiler gives are equal to those of the enum, not the same objects."""
    kind = torch.autograd.DeviceType
    gpu, host = (copy.deepcopy(one) for one in (kind.CUDA, kind.CPU))
    assert gpu is not kind.CUDA
    events = [
        SimpleNamespace(name="conv", device_type=gpu, self_device_time_total=2.0),
        SimpleNamespace(name="conv", device_type=gpu, self_device_time_total=3.0),
        SimpleNamespace(name="aten::conv2d", device_type=host, self_cpu_time_total=9.0),
    ]
    assert kernels._times(events, True) == {"conv": [2.0, 3.0]}
    assert kernels._times(events[2:], False) == {"aten::conv2d": [9.0]}


def test_the_variant_with_contiguous_images_has_them_so() -> None:
    """Pictures that are augmented are stored with channels last, and come so where nothing else is asked for."""
    run = synthetic_run("simplecnn", 4, 16, 4, "float64")
    for name, wanted in (("as is", torch.channels_last), ("images contiguous", torch.contiguous_format)):
        _, batches = kernels.VARIANTS[name].sides(run, CPU, 1)
        assert all(inputs[0].is_contiguous(memory_format=wanted) for _, inputs, _ in batches)


@pytest.mark.parametrize(("seconds", "tried"), [(0.1, [4, 8, 16]), (0.7, [4])])
def test_no_larger_product_is_tried_where_one_takes_long(monkeypatch, seconds, tried) -> None:
    """A card whose float64 is a sixty-fourth of its float32 would take a minute for the largest."""
    monkeypatch.setitem(flops.SIZES, "cpu", (4, 8, 16))
    monkeypatch.setattr(flops, "seconds_of", lambda *_: seconds)
    sizes, matmul = [], flops.matmul
    monkeypatch.setattr(flops, "matmul", lambda *given: sizes.append(given[2]) or matmul(*given))
    flops.fastest_matmul(CPU, torch.float64, tf32=False)
    assert sizes == tried


def test_operations_of_a_resnet18() -> None:
    """0.555 billion multiply-adds a picture; the backward pass is twice the forward one, less the input's."""
    model = build_model({"name": "resnet18_own"}, 10, 0).to("meta")
    forward, training = flops.pass_flops(model, (torch.empty(8, 3, 32, 32, device="meta"),))
    assert forward / 8 == pytest.approx(2 * 0.5556e9, rel=1e-3)
    assert 2.99 < training / forward < 3
    value = synthetic_run("resnet18", 8, 8, 8, "float32").value
    assert flops.update_flops(1.0, 3.0, value, "dual", shared=True) == 3 + 2 / 16
    assert flops.update_flops(1.0, 3.0, value, "dual", shared=False) == 3 + 3 / 16
    assert flops.update_flops(1.0, 3.0, value, "ce", shared=True) == 3


def test_the_census_in_epochs_of_a_resnet18(census) -> None:
    """As many as a plan has seconds when an epoch of this network takes one."""
    names = select(census, ["census"])
    rates = given_in_words(["resnet18=1"], census, "").rates
    plan = make_plan(census, names, "cuda", Recorded(), rates)
    assert census_epochs(census) == pytest.approx(
        sum(one.seconds for one in plan.estimates.values()), rel=0.01
    )
    assert 300_000 < census_epochs(census) < 500_000  # about 3,000 runs of 100 epochs, and text


def test_plans_read_what_the_benchmark_calls_an_epoch() -> None:
    gpu = Gpu(CPU, 1, *PUBLISHED, 1, 4, "published", [1], 1.0, None)
    assert f"epoch with an evaluation: {gpu._sizes()}" == BENCHMARK


# --- the library ---------------------------------------------------------------------------------------------


def test_a_step_of_the_library_beside_autograd_and_torchjd(capsys, tmp_path, monkeypatch) -> None:
    """The memory of one side in a process of its own, as all are measured; of the others here, to the same end."""

    def peak(network, side, batch, device, dtype, threads, own=library.peak_of):
        if side == "torchjd":
            return own(network, side, batch, device, dtype, threads)
        return library._peak(network, side, str(batch), device.type, str(dtype)[6:], str(threads))

    monkeypatch.setattr(library, "peak_of", peak)
    file = tmp_path / "library.json"
    words = ["bench", "library", "--model", "mlp", "--batch", "8", "--rounds", "2", "--output", str(file)]
    assert main([*words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    validate(report, SCHEMA)
    assert json.loads(file.read_text()) == report
    time, memory = report["results"]
    for result in (time, memory):
        assert list(result["values"]) == ["library", "autograd", "torchjd"]
    assert time["unit"] == "ms" and memory["unit"] == "MiB"
    assert main(["bench", "library", "--model", "vgg11"]) == 2
    assert "expected --model mlp, resnet18, distilbert" in capsys.readouterr().err


@pytest.mark.parametrize("network", ["mlp", "resnet18"])
def test_what_is_measured_takes_the_same_steps(monkeypatch, network) -> None:
    """Three steps of each side, in double precision, end with the same weights; the ResNet's layers are narrow."""
    spec, *rest = library.NETWORKS["resnet18"]
    monkeypatch.setitem(library.NETWORKS, "resnet18", ({**spec, "width": 1 / 8}, *rest))
    made = []

    def kept(*given, **more):
        made.append(build_model(*given, **more))
        return made[-1]

    monkeypatch.setattr(library, "build_model", kept)
    for side in library.SIDES:
        step = library.make_step(network, side, 4, CPU, torch.float64)
        for _ in range(3):
            step()
    first, *others = (model.state_dict() for model in made)
    for other in others:
        for name, value in first.items():
            torch.testing.assert_close(other[name], value, rtol=1e-9, atol=1e-11)


def test_errors_within_an_epoch_are_those_of_the_published_loop(workspace, tmp_path, capsys):
    """After the last step it is the error that training has, and rows of other runs stay."""
    words = ["--root", str(workspace), "--config", "edition=demo"]
    run = "K/lam0.3_eta0.4_seed0"  # it is evaluated after each epoch
    kept = workspace / KEPT / WITHIN
    kept.parent.mkdir(parents=True, exist_ok=True)
    other = "cifar10,K,lam0.3_eta0.4_seed1,other code,195,195,0.5,-0.1\n"
    kept.write_text(f"dataset,experiment,run,source,step,steps,error,cosine\n{other}")
    for _ in range(2):
        assert main(["bench", "loop", run, "--at", "1,2", *words]) == 0
    rows = pd.read_csv(kept)
    own = rows[rows["run"] == run.split("/")[1]]
    assert len(rows) == 1 + len(own) and own["step"].tolist() == [1, 2, own["steps"].iloc[0]]
    assert own["source"].iloc[0].endswith("float64 on the CPU")
    record = tmp_path / "record.json"
    assert main(["train", run, "--output", str(record), *words]) == 0
    evaluations = json.loads(record.read_text())["trajectory"]["evaluations"]
    assert evaluations["epoch"][0] == 1
    assert own["error"].iloc[-1] == round(evaluations["test_error"][0], 4)
    epochs = json.loads(record.read_text())["trajectory"]["epochs"]
    assert own["cosine"].iloc[-1] == pytest.approx(epochs["cos_mean"][0], abs=1e-4)
    capsys.readouterr()
    assert main(["bench", "loop", run, "--at", "900", *words]) == 2
    assert "expected steps of the epoch, 1 to" in capsys.readouterr().err
    assert main(["bench", "loop", "--at", "900", *words]) == 2
    capsys.readouterr()
    assert main(["bench", "loop", run, *words[:3], "edition=paper"]) == 2
    assert "cifar10.npz is missing: run: dualgrad data cifar10" in capsys.readouterr().err


def test_looking_within_an_epoch_changes_nothing_of_it(demo, data):
    """Crops come from the global generator, of which an evaluation's loader takes a number as well."""
    states = []
    for after in ([], [1, 2]):
        within_epoch(read(definition(demo.run(A))), data, CPU, 1, after)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_what_benchmarks_start_knows_of_no_workflow_around_it(monkeypatch) -> None:
    from dualgrad.jobs.warm_worker import ADDRESS, GPUS, LOCKS, PYTHON, SETTINGS, WORKFLOW

    names = {ADDRESS, GPUS, LOCKS, PYTHON, SETTINGS, WORKFLOW}
    for name in names:
        monkeypatch.setenv(name, "around")
    found = processes.environment({"MORE": "1"})
    assert not names & found.keys() and found["MORE"] == "1"


def test_a_command_that_fails_shows_its_end() -> None:
    took = processes.execute([sys.executable, "-c", "print(sum(range(10**6)))"])
    assert min(took.seconds, took.cpu, took.memory) > 0
    words = [sys.executable, "-c", "print(*range(50), sep=chr(10)); raise SystemExit(3)"]
    with pytest.raises(InputError) as failed:
        processes.execute(words, key="--against abc")
    end = "\n".join(map(str, range(35, 50)))
    assert failed.value.key == "--against abc"
    assert failed.value.problem == f"`{' '.join(words)} …` ended with status 3:\n{end}"
