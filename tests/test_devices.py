"""A GPU that cannot be used: asked for, granted, announced, or not there at all. Torch's words are made up here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dualgrad import gpus
from dualgrad.cli import main
from dualgrad.training import devices

OLD = "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver"


@pytest.fixture(autouse=True)
def broken(monkeypatch: pytest.MonkeyPatch):
    """CUDA does not start, and no variable speaks of a GPU."""

    def init() -> None:
        raise RuntimeError(f"{OLD}\nand more")

    monkeypatch.setattr(torch.cuda, "init", init)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(devices, "local_gpus", list)
    for name in (*devices.GRANTED, "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


def test_a_gpu_that_is_asked_for_is_needed(tmp_path, workspace, capsys):
    with pytest.raises(
        devices.DeviceError, match=r"CUDA does not start: The NVIDIA driver on your system is too old"
    ):
        devices.choose_device("cuda", "auto")
    where = ["--root", str(workspace), "--edition", "paper", "--config", "device=cuda"]
    for command in (["train", "A/lam0.35_eta0.4_seed0"], ["bench", "epoch"]):
        assert main([*command, *where]) in (1, 2)
        errors = capsys.readouterr().err
        assert "driver on your system is too old" in errors and len(errors.strip().splitlines()) == 1, errors


@pytest.mark.parametrize("name", devices.GRANTED)
def test_a_gpu_that_was_granted_is_needed(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    with pytest.raises(devices.DeviceError, match=rf"granted to this job \({name}=1\).*too old.*device=cpu"):
        devices.choose_device("auto", "auto")
    assert devices.choose_device("cpu", "auto").type == "cpu"
    assert devices.choose_device("auto", "cpu").type == "cpu"


@pytest.mark.parametrize("value", ["NoDevFiles", "0"])
def test_a_gpu_that_is_announced_is_missed(monkeypatch, capsys, value):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert devices.choose_device("auto", "auto").type == "cpu"
    said = capsys.readouterr().err
    assert f"announced (CUDA_VISIBLE_DEVICES={value})" in said and "too old" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "reason", ["CUDA out of memory", "CUDA error: CUDA-capable device(s) is/are busy or unavailable"]
)
def test_a_gpu_that_is_full_or_taken_is_not_replaced_by_the_cpu(monkeypatch, reason):
    """A census whose runs share a GPU would be of the GPU and of the CPU, as it happens."""

    def full(*_: object, **__: object) -> None:
        raise torch.AcceleratorError(f"{reason}\nand more")

    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch, "zeros", full)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(devices.DeviceError, match=r"cannot be used: CUDA.*--resources gpu=N.*device=cpu"):
        devices.choose_device("auto", "auto")


def test_a_gpu_that_no_driver_serves_is_missed(monkeypatch, capsys):
    monkeypatch.setattr(devices, "local_gpus", lambda: ["0"])
    assert devices.choose_device("auto", "auto").type == "cpu"
    said = capsys.readouterr().err
    assert "there is a GPU, but CUDA does not start" in said and said.count("\n") == 1


def test_a_run_without_room_on_its_gpu_says_what_helps(workspace, monkeypatch, capsys):
    words = "CUDA out of memory. Tried to allocate 9.00 GiB. GPU 0 has a total capacity of 8.00 GiB of which 1.00 MiB"

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError(
            f"{words} is free. Of the allocated memory 7.00 GiB is allocated by PyTorch."
        )

    monkeypatch.setattr("dualgrad.training.trainer.train", full)
    assert main(["train", "A/lam0.35_eta0.4_seed0", "--root", str(workspace)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "not enough memory on the GPU (CUDA out of memory. Tried" in line and "--cores" not in line
    assert line.endswith(
        "1.00 MiB is free); run the same target again with fewer runs on it (--resources gpu=N), or "
        "on a larger one; an experiment of your own needs less with a smaller task.batch_size or "
        "task.eval_batch_size"
    )


def test_without_a_gpu_nothing_is_said(monkeypatch, capsys):
    assert devices.choose_device("auto", "auto").type == "cpu"
    for name, value in {"CUDA_VISIBLE_DEVICES": "-1", "SLURM_GPUS_ON_NODE": "0"}.items():
        monkeypatch.setenv(name, value)
    assert devices.choose_device("auto", "auto").type == "cpu"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("0,1", ["0", "1"]),
        ("GPU-8932f937,MIG-1/0", ["GPU-8932f937", "MIG-1/0"]),
        ("1,-1,2", ["1"]),
        ("NoDevFiles", []),
        ("", []),
    ],
)
def test_gpus_are_counted_as_cuda_counts_them(monkeypatch, visible, names):
    """No run is planned for a GPU, or sent to one, that CUDA does not see."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus.local_gpus() == names


def test_gpus_are_found_in_linux_within_windows(tmp_path, monkeypatch):
    """There /dev has no file for each: no run would have asked for a GPU, and all of them would have shared one."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))
    driver = tmp_path / "libcuda.so.1"
    monkeypatch.setattr(gpus, "WINDOWS_DRIVER", driver)
    assert gpus.local_gpus() == []
    driver.touch()
    assert gpus.local_gpus() == ["0"]
