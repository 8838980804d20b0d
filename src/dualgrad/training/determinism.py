"""Precision and determinism switches of one training process (docs/specification/contract.md#determinism)."""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dualgrad import __version__
from dualgrad.files import visible

DTYPES = {"float64": torch.float64, "float32": torch.float32, "published": torch.float32}


def configure(precision: str, threads: int, *, cudnn_benchmark: bool = False) -> torch.dtype:
    """Set every switch that could change a result, and return the dtype of weights and arithmetic.

    Args:
        precision: ``float64`` (the contract's default), ``float32`` (strict single precision: no TF32) or
            ``published`` (float32 with TF32 convolutions, as the published runs were in fact computed).
        threads: intra-op threads; fixed per job, because the order of sums depends on it.
        cudnn_benchmark: let cuDNN choose among its deterministic algorithms by trying them; the choice may differ
            from process to process, and with it the last bits.

    Raises:
        ValueError: unknown precision.
    """
    if precision not in DTYPES:
        raise ValueError(f"precision {precision!r}: expected one of {', '.join(DTYPES)}")
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    # cuBLAS needs a fixed workspace to be deterministic; it is read when the first handle is made.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # What torch.use_deterministic_algorithms does, which would import the compiler too: seconds of every job.
    torch.set_deterministic_debug_mode("error")
    # It would fill every new tensor with NaN, so that a bug repeats; nothing here reads what it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = cudnn_benchmark
    torch.backends.cudnn.allow_tf32 = precision == "published"
    torch.backends.cuda.matmul.allow_tf32 = False
    return DTYPES[precision]


def arithmetic(precision: str, task_kind: str, device: torch.device) -> dict[str, object]:
    """Return what a precision comes to on this device, for the record's provenance.

    TF32 and bfloat16 are matters of the GPU: on a CPU ``published`` computes what ``float32`` computes. NVIDIA's own
    variable forbids TF32 behind torch's back.
    """
    autocast = autocast_dtype(precision, task_kind, device)
    allowed = os.environ.get("NVIDIA_TF32_OVERRIDE") != "0"
    return {
        "dtype": str(DTYPES[precision]).removeprefix("torch."),
        "tf32_convolutions": precision == "published" and device.type == "cuda" and allowed,
        "training_autocast": None if autocast is None else str(autocast).removeprefix("torch."),
    }


def autocast_dtype(precision: str, task_kind: str, device: torch.device) -> torch.dtype | None:
    """Return the autocast dtype of training passes, or None.

    The published text runs trained under bfloat16 autocast and evaluated without (X-Y.md#1.5, X-Y.md#6.15);
    without CUDA they fell back to float32.
    """
    if precision == "published" and task_kind == "text" and device.type == "cuda":
        return torch.bfloat16
    return None


def surroundings(precision: str, task_kind: str, device: torch.device, threads: int) -> dict[str, Any]:
    """Return what may change a result beside the run itself, as a record's provenance says it.

    Records with equal ones of these are promised to be equal (records.conditions names those that count).
    """
    on_gpu = device.type == "cuda"
    cudnn: Any = torch.backends.cudnn
    libraries = {"cuda": torch.version.cuda, "cudnn": cudnn.version()} if on_gpu else {}
    gpu = {}
    if on_gpu:
        # Fewer than the card has where NVIDIA's service shares it out, and sums are then divided otherwise.
        gpu = {"gpu": {"multiprocessors": torch.cuda.get_device_properties(device).multi_processor_count}}
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        **gpu,
        "arithmetic": arithmetic(precision, task_kind, device),
        "threads": threads,
        "cpu": {"capability": torch.backends.cpu.get_cpu_capability(), "model": cpu_model()},
        "code": code_digest(),
        "versions": {
            "dualgrad": __version__,
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "python": platform.python_version(),
            **libraries,
        },
    }


@functools.cache
def cpu_model() -> str:
    """Return the name of this machine's CPU, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model") and value.strip():
                return " ".join(value.split())
    except OSError:
        pass
    return platform.processor() or platform.machine()


@functools.cache
def code_digest() -> str:
    """Return twelve hex digits that name the code that trains: data, models, method and training, but for comments.

    A version says too little where the code is a clone that people edit.
    """
    package = Path(__file__).parents[1]
    found = hashlib.sha256()
    for folder in ("data", "method", "models", "training"):
        for path in visible(package / folder, "**/*.py"):
            tree = ast.parse(path.read_bytes())
            for node in ast.walk(tree):
                body = getattr(node, "body", None)
                if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
                    value = body[0].value
                    if isinstance(value, ast.Constant) and isinstance(value.value, str):
                        value.value = ""
            found.update(f"{path.relative_to(package).as_posix()}|{_as_text(tree)}|".encode())
    return found.hexdigest()[:12]


def _as_text(tree: ast.AST) -> str:
    """Return what the code is, in the words of Python 3.11: 3.12 has one more field, 3.13 leaves out empty ones."""
    for node in ast.walk(tree):
        if not getattr(node, "type_params", True):
            delattr(node, "type_params")
    options: dict[str, Any] = {"show_empty": True} if sys.version_info >= (3, 13) else {}
    return ast.dump(tree, **options)
