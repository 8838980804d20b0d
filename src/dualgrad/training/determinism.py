"""Precision and determinism switches of one training process (docs/specification/contract.md#determinism)."""

from __future__ import annotations

import os

import torch

DTYPES = {"float64": torch.float64, "float32": torch.float32, "published": torch.float32}


def configure(precision: str, device: torch.device, threads: int) -> torch.dtype:
    """Set every switch that could change a result, and return the dtype of weights and arithmetic.

    Args:
        precision: ``float64`` (the contract's default), ``float32`` (strict single precision: no TF32) or
            ``published`` (float32 with TF32 convolutions, as the published runs were in fact computed).
        device: where the run trains.
        threads: intra-op threads; fixed per job, because the order of sums depends on it.

    Raises:
        ValueError: unknown precision.
    """
    if precision not in DTYPES:
        raise ValueError(f"precision {precision!r}: expected one of {', '.join(DTYPES)}")
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    # cuBLAS needs a fixed workspace to be deterministic; read when CUDA starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # It would fill every new tensor with NaN, so that a bug repeats; nothing here reads what it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = precision == "published"
    torch.backends.cuda.matmul.allow_tf32 = False
    return DTYPES[precision]


def arithmetic(precision: str, task_kind: str, device: torch.device) -> dict[str, object]:
    """Return what a precision comes to on this device, for the record's provenance.

    TF32 and bfloat16 are matters of the GPU: on a CPU ``published`` computes what ``float32`` computes.
    """
    autocast = autocast_dtype(precision, task_kind, device)
    return {
        "dtype": str(DTYPES[precision]).removeprefix("torch."),
        "tf32_convolutions": precision == "published" and device.type == "cuda",
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
