"""Floating-point operations of training, and the rate of a matrix product to hold them against."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dualgrad.models import build_model
from dualgrad.training.plan import plan_stage

# The network and set that a "ResNet-18 epoch" stands for: A's 195 batches of 256 CIFAR images.
REFERENCE = {"name": "resnet18_own", "width": 1.0}


@contextlib.contextmanager
def _counting() -> Iterator[FlopCounterMode]:
    with FlopCounterMode(display=False) as counter:
        yield counter


def pass_flops(model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[int, int]:
    """Return the operations of one forward pass, and of a forward and a backward pass (a multiply-add counts two)."""
    with _counting() as counter:
        logits = model(*inputs)
        forward = counter.get_total_flops()
        labels = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
        torch.autograd.grad(F.cross_entropy(logits.float(), labels), list(model.parameters()))
        return forward, counter.get_total_flops()


def update_flops(forward: int, training: int, value: Mapping, method: str, shared: bool) -> float:
    """Return the operations of a mean update.

    Args:
        forward, training: of one pass over a batch (see ``pass_flops``).
        value: the run's value signal: a gradient of it every ``period`` updates, or at each.
        method: ``dual``, or a method with one gradient.
        shared: both gradients come from one forward pass where they are of one batch.
    """
    if method != "dual" or (value.get("synthetic") or {}).get("about") == "struct":
        return training
    period = 1 if value.get("fresh_every_step") else value["period"]
    same_batch = value["labels"] not in ("trusted", "trusted_batches")
    second = training - forward if shared and same_batch else training
    if value["labels"] == "trusted":
        second *= value["trusted"]["ratio"]
    return training + second / period


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


# ------------------------------------------------------------------------------------------------- the census


@cache
def _shape_flops(name: str, options: tuple, classes: int, batch: int, length: int) -> tuple[int, int]:
    """Operations of one pass of a network over a batch of pictures (3 × 32 × 32) or of ``length`` tokens."""
    spec = {"name": name, **dict(options)}
    if length:
        spec |= {"pretrained": False, "vocab_size": 25_000}
    model = build_model(spec, classes, 0).to("meta")
    if length:
        ids = torch.ones(batch, length, dtype=torch.int64, device="meta")
        inputs = (ids,) if name == "textcnn" else (ids, None)  # looking into a mask needs values
    else:
        inputs = (torch.empty(batch, 3, 32, 32, device="meta"),)
    return pass_flops(model, inputs)


def run_flops(run: Mapping, n_train: int, n_test: int) -> float:
    """Return the operations of a whole run of edition ``paper``: its updates and its evaluations.

    Stages that may stop early count in full; a run that is a copy of another costs nothing.
    """
    if run["copy_of"]:
        return 0.0
    task = run["task"]
    batch, length = task["batch_size"], (task["max_length"] or 0) if task["kind"] == "text" else 0
    options = tuple(sorted((k, v) for k, v in task["model"].items() if k not in ("name", "body_from")))
    forward, training = _shape_flops(task["model"]["name"], options, task["classes"], batch, length)
    structure = task["subset"] or n_train
    steps = structure // batch if task["drop_last"] else -(-structure // batch)
    update = update_flops(forward, training, run["value"], run["method"], shared=True)
    total = 0.0
    for stage in run["stages"]:
        for epoch in plan_stage(stage):
            total += update * (epoch.steps or steps) + epoch.evaluate * forward * n_test / batch
    return total


def census_epochs(runs: Mapping[str, Mapping]) -> dict[str, float]:
    """Return how many epochs of the reference ResNet-18 (A, K = 16, without evaluation) the counted runs come to.

    Args:
        runs: the runs of edition ``paper`` by name.

    Returns:
        Epochs by kind of task, ``image`` and ``text``. Equal operations are taken for equal time; DistilBERT's are
        large matrix products, which run faster than convolutions, so its part is an upper bound.
    """
    forward, training = _shape_flops("resnet18_own", (("width", 1.0),), 10, 256, 0)
    reference = 195 * (training + (training - forward) / 16)
    sizes = {"image": (50_000, 10_000), "text": (16_000, 872)}
    epochs = dict.fromkeys(sizes, 0.0)
    for run in runs.values():
        if run["counted"]:
            kind = run["task"]["kind"]
            epochs[kind] += run_flops(run, *sizes[kind]) / reference
    return epochs
