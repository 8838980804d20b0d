"""Precision: what float64, float32 and published switch, where they apply, and what a record says about it.

TF32 and bfloat16 act on GPUs only; their switches are tested here, their arithmetic needs a GPU.
"""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from oracles.lab import BERT, MLP, Lab, run_of, sentences, stage, vectors

from dualgrad.census.run import Constant, read
from dualgrad.cli import main
from dualgrad.data.task import Task
from dualgrad.models import build_model
from dualgrad.records import read_record
from dualgrad.training import determinism
from dualgrad.training.batches import trusted_batches
from dualgrad.training.determinism import arithmetic, autocast_dtype, configure, surroundings
from dualgrad.training.session import Session, evaluate, new_model

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def switches() -> Iterator[None]:
    """Put every switch back as it was."""
    before = (
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        torch.backends.cuda.matmul.allow_tf32,
        torch.are_deterministic_algorithms_enabled(),
    )
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = (
        before[:3]
    )
    torch.backends.cuda.matmul.allow_tf32 = before[3]
    torch.use_deterministic_algorithms(before[4])


# Switches ----------------------------------------


@pytest.mark.parametrize(
    ("precision", "dtype", "tf32"),
    [
        ("float64", torch.float64, False),
        ("float32", torch.float32, False),  # strict: no TF32 anywhere
        ("published", torch.float32, True),  # convolutions only: PyTorch's default when it was computed
    ],
)
def test_switches_of_a_precision(precision, dtype, tf32):
    torch.backends.cudnn.allow_tf32 = not tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    assert configure(precision, 1) is dtype
    assert torch.backends.cudnn.allow_tf32 is tf32
    assert torch.backends.cuda.matmul.allow_tf32 is False
    assert torch.backends.cudnn.deterministic is True and torch.backends.cudnn.benchmark is False
    assert torch.are_deterministic_algorithms_enabled()


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="'double': expected one of float64, float32, published"):
        configure("double", 1)


def test_bfloat16_is_for_published_text_on_a_gpu():
    """X-Y.md#1.5: bf16 training passes; 6.15: without CUDA the original fell back to full float32."""
    wanted = {("published", "text", CUDA): torch.bfloat16}
    for precision in ("float64", "float32", "published"):
        for kind in ("image", "text"):
            for device in (CPU, CUDA):
                assert autocast_dtype(precision, kind, device) is wanted.get((precision, kind, device))


def test_what_the_provenance_says():
    assert arithmetic("published", "text", CUDA) == {
        "dtype": "float32",
        "tf32_convolutions": True,
        "training_autocast": "bfloat16",
    }
    assert arithmetic("published", "image", CPU) == arithmetic("float32", "image", CPU)
    assert arithmetic("float64", "image", CUDA)["dtype"] == "float64"
    assert arithmetic("float32", "text", CUDA) == {
        "dtype": "float32",
        "tf32_convolutions": False,
        "training_autocast": None,
    }


def test_a_record_knows_of_tf32_that_nvidias_own_variable_forbids(monkeypatch):
    for value, allowed in (("0", False), ("1", True)):
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", value)
        assert arithmetic("published", "image", CUDA)["tf32_convolutions"] is allowed


def test_a_gpu_record_names_the_libraries_that_computed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Abacus 3")
    shared = SimpleNamespace(multi_processor_count=66)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: shared)
    monkeypatch.setattr(torch.version, "cuda", "13.9")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91900)
    on_gpu = surroundings("published", "image", CUDA, 1)
    assert on_gpu["device"] == "Abacus 3" and on_gpu["gpu"] == {"multiprocessors": 66}
    assert (on_gpu["versions"]["cuda"], on_gpu["versions"]["cudnn"]) == ("13.9", 91900)
    assert {"cuda", "cudnn"}.isdisjoint(surroundings("published", "image", CPU, 1)["versions"])


# Arithmetic ----------------------------------------


@pytest.fixture
def lab(tmp_path, monkeypatch):
    return Lab(tmp_path, monkeypatch)


def single(task: Task) -> Task:
    """The task with inputs in single precision."""
    task.train, task.test = (tuple(part.float() for part in parts) for parts in (task.train, task.test))
    task.dtype = torch.float32
    return task


def test_training_passes_run_in_bfloat16_and_nothing_else_does(lab):
    """Autocast for both forwards; float32 weights, losses, gradients and optimizer state; evaluation without it."""
    task = lab.add(sentences(masked=True))
    run = run_of(task, BERT, [stage(segments=[(0.4, 1)])], precision="published", head_cosine_every=1)
    bench = lab.session(run)
    model = new_model(read(run), task, run["seed"], torch.float32)
    model.short = False  # the CPU's way through the last block, which autocast (a GPU's matter) does not take
    session = Session(
        read(run), model, lab.labels(run), bench.streams, 2e-3, Constant(kind="constant"), 4, torch.bfloat16
    )
    seen: list[tuple[bool, torch.dtype]] = []
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda m, _, out: seen.append((m.training, out.dtype)))
    model.train()
    others = trusted_batches(lab.labels(run).trusted, run["task"]["batch_size"], 0, bench.streams)
    for index in bench.order.epoch(0, 2):
        other = next(others)
        log = session.step(index, task.inputs(index), 0.4, trusted=(other, task.inputs(other)))
    assert {dtype for training, dtype in seen if training} == {torch.bfloat16}
    assert {p.dtype for p in session.params} == {torch.float32}
    assert all(isinstance(value, float) for value in log.values())  # numbers of the CPU; losses were float32
    cached, optimizer = session.pair.state(), session.optimizer.state()
    assert {s.dtype for s in (cached["vector"], *optimizer["averages"])} == {torch.float32}
    seen.clear()
    loss = evaluate(model, task, 20)["test_loss"]
    assert seen and {(training, dtype) for training, dtype in seen} == {(False, torch.float32)}
    assert loss is not None and model.training


def test_precisions_start_from_the_same_weights(lab):
    task = lab.add(vectors())
    run = run_of(task, MLP, [stage(segments=[(0.4, 1)])])
    drawn = build_model(MLP, 4, run["seed"]).state_dict()
    for dtype in (torch.float32, torch.float64):
        model = new_model(read(run), task, run["seed"], dtype)
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                assert tensor.dtype == dtype
                assert torch.equal(tensor, drawn[name].to(dtype)), "drawn in float32, then cast"


def test_on_a_cpu_published_is_float32(lab):
    task = lab.add(single(vectors()))
    records = {
        precision: lab.train(run_of(task, MLP, [stage(segments=[(0.4, 3)])], precision=precision))[0]
        for precision in ("float32", "published")
    }
    first, second = records.values()
    assert first["outcome"] == second["outcome"] and first["trajectory"] == second["trajectory"]
    assert first["checkpoint"] == second["checkpoint"]
    assert first["digest"] != second["digest"], "the record says which was asked for"


@pytest.mark.parametrize("precision", ["float64", "float32", "published"])
def test_a_record_says_its_precision_and_was_computed_in_it(workspace, precision, capsys):
    where = ["--root", str(workspace), "--config", f"precision={precision}"]
    assert main(["train", "Ta-prep-O/seed0", *where]) == 0
    folder = workspace / "results" / "demo"
    record = read_record(folder / "runs" / "Ta-prep-O" / "seed0.json", edition="demo")
    assert record["spec"]["precision"] == precision
    dtype = torch.float64 if precision == "float64" else torch.float32
    assert record["provenance"]["arithmetic"] == {
        "dtype": str(dtype).removeprefix("torch."),
        "tf32_convolutions": False,
        "training_autocast": None,
    }
    stages = torch.load(folder / "checkpoints" / "Ta-prep-O" / "seed0.pt", weights_only=True)["stages"]
    kept = {tensor.dtype for tensor in stages["main"].values() if tensor.is_floating_point()}
    assert kept == {dtype}
    capsys.readouterr()


@pytest.mark.parametrize("python", [sys.executable, "python3.12", "python3.13", "python3.14"])
def test_the_name_of_the_code_is_the_same_in_every_python(python: str) -> None:
    """Their syntax trees have other fields: records of the same code would be told apart after an upgrade."""
    if shutil.which(python) is None or subprocess.run([python, "-c", ""], check=False).returncode:
        pytest.skip(f"{python} is not here")
    code = f"from __future__ import annotations\nimport ast, sys\n{inspect.getsource(determinism._as_text)}"
    code += "print(_as_text(ast.parse('def f(): pass')))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "Module(body=[FunctionDef(name='f', args=arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], "
        "defaults=[]), body=[Pass()], decorator_list=[])], type_ignores=[])"
    )


@pytest.mark.surroundings
def test_hidden_files_are_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor's lock, which is a link to nowhere, what macOS writes beside files on shares, Jupyter's copies."""
    folder = tmp_path / "training"
    folder.mkdir()
    (folder / "determinism.py").write_text("x = 1\n")
    monkeypatch.setattr(determinism, "__file__", str(folder / "determinism.py"))
    before = determinism.code_digest.__wrapped__()
    (folder / ".#determinism.py").symlink_to("me@host.123:456")
    (folder / "._determinism.py").write_bytes(b"\0\5\26\7")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "determinism-checkpoint.py").write_text("x = 2\n")
    assert determinism.code_digest.__wrapped__() == before
