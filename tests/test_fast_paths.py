"""Ways that are shorter than a library's, against the library's own."""

from __future__ import annotations

import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from dualgrad import project
from dualgrad.cli import main
from dualgrad.commands import train
from dualgrad.data import task as task_module
from dualgrad.models import build_model


def sentences(batch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(3, 500, (batch, 24), generator=generator)
    ids[torch.arange(24) >= torch.randint(1, 25, (batch, 1), generator=generator)] = 0
    return ids, ids != 0, torch.randint(0, 2, (batch,), generator=generator)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("batch", [32, 5])
def test_first_position_alone_gives_what_transformers_gives(layers, batch):
    spec = {"name": "distilbert_mini", "dim": 24, "layers": layers, "heads": 2, "max_position": 24}
    model = build_model({**spec, "dropout": 0.0, "vocab_size": 500}, 2, 0).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    ids, mask, labels = sentences(batch)
    assert model.short
    found = []
    for model.short in (False, True):
        logits = model(ids, mask)
        gradients = torch.autograd.grad(F.cross_entropy(logits, labels), list(model.parameters()))
        found.append([logits.detach(), *gradients])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)


def test_dropout_is_drawn_in_training_and_only_there():
    spec = {"name": "distilbert_mini", "dim": 24, "heads": 2, "vocab_size": 500}
    model = build_model(spec, 2, 0)
    ids, mask, _ = sentences(32)
    assert not torch.equal(model(ids, mask), model(ids, mask))
    model.eval()
    assert torch.equal(model(ids, mask), model(ids, mask))


@pytest.mark.parametrize("batch", [128, 7, 2])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_an_mlp_knows_its_gradients(batch, dtype):
    model = build_model({"name": "mlp", "hidden": [24, 16], "inputs": 64}, 10, 0).to(dtype)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.randn(batch, 1, 8, 8, dtype=dtype)
    targets = [torch.randint(0, 10, (batch,)) for _ in range(2)]
    found = []
    for own in (True, False):
        model.load_state_dict(start)
        found.append([])
        if own:
            with torch.no_grad():
                pair = [model.training_pass(images).gradient(target) for target in targets]
        else:
            losses = [F.cross_entropy(model(images), target) for target in targets]
            pair = [(loss.detach(), torch.autograd.grad(loss, list(model.parameters()))) for loss in losses]
        for loss, gradient in pair:
            found[-1] += [loss, *gradient]
        found[-1] += [value.clone() for value in model.state_dict().values()]
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_one_image_is_left_to_the_modules():
    model = build_model({"name": "mlp", "hidden": [24], "inputs": 64}, 10, 0)
    assert model.training_pass(torch.zeros(1, 1, 8, 8)) is None


def test_what_a_child_of_the_worker_needs_is_read_before_it_is_forked(workspace, tmp_path, monkeypatch):
    overrides = {"edition": "smoke"}
    run = "A/lam0.1_eta0.4_seed0"
    assert main(["data", "digits", "--root", str(workspace)]) == 0
    assert train.read_for(workspace, overrides, [run])
    assert not train.read_for(workspace, overrides, [run]), "nothing new"
    for name in ("load_edition", "load_census"):
        monkeypatch.setattr(project, name, lambda *_: pytest.fail("read in the child"))
    monkeypatch.setattr(task_module, "load_arrays", lambda *_, **__: pytest.fail("data read in the child"))
    args = SimpleNamespace(output=tmp_path / "run.json", checkpoint=None, needs=None, data=None, files=None)
    assert train.execute(project.load_project(workspace, overrides), args, run, train.StopSignals()) == 0


def test_training_on_pictures_imports_neither_a_compiler_nor_what_text_is_made_of(workspace, tmp_path):
    """Each would take seconds, of every job."""
    words = ["train", "A/lam0.1_eta0.4_seed0", "--root", str(workspace), "--edition", "smoke"]
    words += ["--output", str(tmp_path / "x.json")]
    code = (
        f"import sys; from dualgrad.cli import main; status = main({words!r}); "
        "print(status, [name for name in ('torch._dynamo', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["0 []"], done.stdout + done.stderr


PAGE_FAULTS = """
import resource, sys
import numpy as np
from dualgrad.training.allocator import keep_freed_memory

def rounds(count):
    for _ in range(count):
        arrays = [np.ones(int(sys.argv[2]) << 17) for _ in range(8)]
        del arrays

if sys.argv[1] == "kept":
    keep_freed_memory()
rounds(3)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
rounds(int(sys.argv[3]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


GIVEN_BACK = """
import numpy as np
from dualgrad.training import allocator

allocator.keep_freed_memory()
arrays = [np.ones(1 << 21) for _ in range(8)]
del arrays
allocator.give_back_freed_memory()
kept = allocator._resident()
allocator._LARGE = 0
allocator.give_back_freed_memory()
print(kept - allocator._resident() >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library's memory is left to it")
@pytest.mark.parametrize(("mebibytes", "rounds"), [(1, 100), (64, 4)])
def test_freed_memory_is_kept(mebibytes, rounds):
    faults = {}
    for how in ("kept", "given back"):
        command = [sys.executable, "-c", PAGE_FAULTS, how, str(mebibytes), str(rounds)]
        faults[how] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    # Rounds of 8 arrays of 256 pages a mebibyte, or of a page for two mebibytes where numpy gets such large ones.
    assert faults["kept"] < 500
    assert faults["given back"] > 1_000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library's memory is left to it")
def test_freed_memory_of_a_large_process_is_given_back():
    done = subprocess.run([sys.executable, "-c", GIVEN_BACK], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 64, "of 128 MiB"
