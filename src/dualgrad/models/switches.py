"""PyTorch's switches that change a result for the whole process, and how they outlast somebody's module.

A run sets them before it imports a network of one's own; research code often sets them again in its first lines.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from operator import attrgetter
from typing import Any

import torch

_Get = Callable[[], Any]
_Set = Callable[[Any], object]


def _default_device(device: torch.device) -> None:
    # None is what a process begins with; naming the CPU would send each call through one more layer.
    torch.set_default_device(None if device.type == "cpu" else device)


def _assign(owner: str, name: str, value: Any) -> None:
    setattr(attrgetter(owner)(torch), name, value)


_CALLS: dict[str, tuple[_Get, _Set]] = {
    "set_num_threads": (torch.get_num_threads, torch.set_num_threads),
    "set_default_dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "set_default_device": (torch.get_default_device, _default_device),
    # That of torch.use_deterministic_algorithms, without its import of the compiler.
    "set_deterministic_debug_mode": (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    "set_float32_matmul_precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "backends.cuda.enable_flash_sdp": (
        torch.backends.cuda.flash_sdp_enabled,
        torch.backends.cuda.enable_flash_sdp,
    ),
    "backends.cuda.enable_mem_efficient_sdp": (
        torch.backends.cuda.mem_efficient_sdp_enabled,
        torch.backends.cuda.enable_mem_efficient_sdp,
    ),
    "backends.cuda.enable_math_sdp": (
        torch.backends.cuda.math_sdp_enabled,
        torch.backends.cuda.enable_math_sdp,
    ),
    "backends.cuda.enable_cudnn_sdp": (
        torch.backends.cuda.cudnn_sdp_enabled,
        torch.backends.cuda.enable_cudnn_sdp,
    ),
}
_ATTRIBUTES = (
    "utils.deterministic.fill_uninitialized_memory",
    "backends.cudnn.enabled",
    "backends.cudnn.deterministic",
    "backends.cudnn.benchmark",
    "backends.cudnn.allow_tf32",
    "backends.cuda.matmul.allow_fp16_accumulation",
    "backends.cuda.matmul.allow_fp16_reduced_precision_reduction",
    "backends.cuda.matmul.allow_bf16_reduced_precision_reduction",
    "backends.mkldnn.enabled",
    # The newer names of TF32 and bfloat16. The older ones, above, set some of them, and each follows the one before
    # it where it says nothing itself: hence the order.
    "backends.fp32_precision",
    "backends.cudnn.fp32_precision",
    "backends.cudnn.conv.fp32_precision",
    "backends.cudnn.rnn.fp32_precision",
    "backends.cuda.matmul.fp32_precision",
    "backends.mkldnn.matmul.fp32_precision",
    "backends.mkldnn.conv.fp32_precision",
    "backends.mkldnn.rnn.fp32_precision",
)
_SWITCHES: dict[str, tuple[_Get, _Set]] = _CALLS | {
    name: (partial(attrgetter(name), torch), partial(_assign, *name.rsplit(".", 1))) for name in _ATTRIBUTES
}


def _read(name: str) -> Any:
    """Return the value of a switch; None where older and newer names of one were set apart, which torch refuses."""
    try:
        return _SWITCHES[name][0]()
    except RuntimeError:
        return None


@contextlib.contextmanager
def put_back() -> Iterator[Callable[[], list[str]]]:
    """Put every switch back afterwards, whatever is set in between; yields what names those that are set by then.

    Threads, default dtype and device, deterministic algorithms, cuDNN's, attention's and oneDNN's choices, TF32 and
    reduced precision. What has no getter stays as it is set (``torch.set_flush_denormal``).
    """
    before = {name: _read(name) for name in _SWITCHES}

    def is_moved(name: str) -> bool:
        return before[name] is not None and _read(name) != before[name]

    try:
        yield lambda: [f"torch.{name}" for name in _SWITCHES if is_moved(name)]
    finally:
        for name, (_, assign) in _SWITCHES.items():
            if is_moved(name):
                assign(before[name])
