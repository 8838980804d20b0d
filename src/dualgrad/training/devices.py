"""Where a run trains: a GPU that can really be used, or the CPU."""

from __future__ import annotations

import os
import sys
import warnings

import torch

from dualgrad.gpus import local_gpus
from dualgrad.validation import InputError

# SLURM's words for GPUs that it has given to a job.
GRANTED = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_GPUS_ON_NODE")
_ANNOUNCED = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
_NOTHING = ("", "0", "-1", "none", "void")


class DeviceError(InputError):
    """The GPU that a run is to be trained on cannot be used."""


def choose_device(wanted: str, edition: str) -> torch.device:
    """Return the device for the setting ``device`` and the edition's own (demo and smoke: always the CPU).

    CUDA is started to know: drivers are too old, and nodes are broken, without a word until then. Not for a process
    that forks.

    Raises:
        DeviceError: CUDA does not start, although it is asked for, a scheduler has granted a GPU, or its driver
            works: then the GPU is full, taken, or of a kind that torch was not built for, and the same run would
            be another one on the CPU. (With a GPU announced by other means, that is said on standard error, and the
            CPU trains.)
    """
    if "cpu" in (wanted, edition):
        return torch.device("cpu")
    reason = why_not_cuda()
    if reason is None:
        return torch.device("cuda")
    if wanted == "cuda":
        raise DeviceError("device", "cuda", f"CUDA does not start: {reason}")
    if granted := _said(GRANTED):
        raise DeviceError(
            "device", "auto",
            f"a GPU was granted to this job ({granted}), but CUDA does not start: {reason}; "
            "device=cpu trains without one",
        )  # fmt: skip
    if torch.cuda.is_available():
        raise DeviceError(
            "device", "auto",
            f"there is a GPU, but it cannot be used: {reason}; where it is full or taken, fewer runs on it "
            "(--resources gpu=N) help; device=cpu trains without one",
        )  # fmt: skip
    if announced := _said(_ANNOUNCED):
        print(
            f"dualgrad: a GPU is announced ({announced}), but CUDA does not start: {reason}; the CPU trains",
            file=sys.stderr,
        )
    elif local_gpus():
        print(f"dualgrad: there is a GPU, but CUDA does not start: {reason}; the CPU trains", file=sys.stderr)
    return torch.device("cpu")


def why_not_cuda() -> str | None:
    """Return torch's reason why no GPU can be used, in one line, or None where one can."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the same, at length
        try:
            torch.cuda.init()  # type: ignore[no-untyped-call]
            torch.zeros(1, device="cuda")
        except (RuntimeError, AssertionError) as error:
            return (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0].rstrip(".")
    return None


def shortages(device: torch.device) -> int:
    """Return how often this process was given no memory on a device, whoever caught the error."""
    if device.type != "cuda":
        return 0
    return int(torch.cuda.memory_stats_as_nested_dict(device).get("num_ooms", 0))


def _said(names: tuple[str, ...]) -> str | None:
    """The first of these variables that names a GPU, as NAME=VALUE."""
    for name in names:
        value = os.environ.get(name, "").strip()
        # A plain 0 is a number of GPUs in one variable, and the first GPU in the others.
        empty = _NOTHING if name == "SLURM_GPUS_ON_NODE" else tuple(one for one in _NOTHING if one != "0")
        if value.lower() not in empty:
            return f"{name}={value}"
    return None
