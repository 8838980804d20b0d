"""Floating-point operations of training, and the rate of a matrix product to hold them against."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dualgrad.bench.timing import seconds_of
from dualgrad.census.run import LISTED, Aggregated, ValueSignal


def pass_flops(model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[int, int]:
    """Return the operations of one forward pass, and of a forward and a backward pass (a multiply-add counts two)."""
    with FlopCounterMode(display=False) as counter:
        logits = model(*inputs)
        forward = counter.get_total_flops()
        labels = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
        torch.autograd.grad(F.cross_entropy(logits.float(), labels), list(model.parameters()))
        return forward, counter.get_total_flops()


def update_flops(
    forward: int, training: int, value: ValueSignal, method: str | Aggregated, shared: bool
) -> float:
    """Return the operations of a mean update.

    Args:
        forward, training: of one pass over a batch (see ``pass_flops``).
        value: the run's value signal: a gradient of it every ``period`` updates, or at each.
        method: ``dual``, or a method with one gradient.
        shared: both gradients come from one forward pass where they are of one batch.
    """
    one_gradient = isinstance(method, str) and method != "dual"
    if one_gradient or (value.synthetic is not None and value.synthetic.about == "struct"):
        return training
    period = 1 if value.fresh_every_step else value.period
    same_batch = value.labels not in ("trusted", "trusted_batches")
    second: float = training - forward if shared and same_batch else training
    if value.labels == "trusted" and value.trusted is not None:
        second *= value.trusted.ratio or LISTED
    return training + second / period


# Square matrices whose product may be the fastest on a device.
SIZES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192, 16384)}
LONGEST = 0.5  # seconds of a product than which no larger one is tried: cards for games take many in float64


def fastest_matmul(device: torch.device, dtype: torch.dtype, tf32: bool) -> tuple[Callable[[], None], float]:
    """Return the matrix product that reaches the highest rate here, and its operations."""
    found: list[tuple[float, Callable[[], None], float]] = []
    for size in SIZES[device.type]:
        product, operations = matmul(device, dtype, size, tf32)
        product()
        seconds = min(seconds_of(product, device) for _ in range(3))
        found.append((operations / seconds, product, operations))
        if seconds > LONGEST:
            break
    _, product, operations = max(found, key=lambda one: one[0])
    return product, operations


def matmul(
    device: torch.device, dtype: torch.dtype, size: int, tf32: bool
) -> tuple[Callable[[], None], float]:
    """Return a square matrix product, and its operations. TF32 is allowed for it alone."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)

    def product() -> None:
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.mm(a, b, out=out)
        torch.backends.cuda.matmul.allow_tf32 = before

    return product, 2.0 * size**3
