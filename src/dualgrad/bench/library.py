"""``dualgrad bench library``: a step of plain autograd, of the library and of TorchJD, its time and its memory.

All three do the same: one forward pass, the gradients of two losses, both normalised and mixed, and a step of the
same optimizer. Plain autograd is what one writes by hand: a norm over all parameters, and the sum.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dualgrad.bench.timing import measurement, repeats_for, take_turns
from dualgrad.method.dual_gradient import DualGradient
from dualgrad.models import build_model

LAM = 0.35
SIDES = ("library", "autograd", "torchjd")
# Network -> specification, inputs, classes, batch, and what it is called.
NETWORKS: dict[str, tuple[dict[str, Any], tuple[int, ...], int, int, str]] = {
    "mlp": ({"name": "mlp", "hidden": [24, 24, 24], "inputs": 64}, (64,), 10, 128, "MLP of the demo"),
    "resnet18": ({"name": "resnet18_own"}, (3, 32, 32), 10, 32, "ResNet-18"),
    "distilbert": ({"name": "distilbert", "pretrained": False}, (32,), 2, 8, "DistilBERT, 32 tokens"),
}
Step = Callable[[], object]
Losses = Callable[[], tuple[Tensor, Tensor]]
_PIECE = 0.05  # seconds of one turn, or a single step
_TURNS = {"mlp": 120}  # short turns scatter more
_USUAL_TURNS = 11


def make_step(network: str, side: str, batch: int, device: torch.device, dtype: torch.dtype) -> Step:
    """Return a function that does one step of a side on a batch of made-up examples."""
    spec, shape, classes, *_ = NETWORKS[network]
    model = build_model(spec, classes, seed=0).to(device=device, dtype=dtype)
    draw = torch.Generator().manual_seed(1)
    noisy, trusted = (torch.randint(0, classes, (batch,), generator=draw).to(device) for _ in range(2))
    inputs: tuple[Tensor, ...]
    if network == "distilbert":
        ids = torch.randint(1000, 20_000, (batch, *shape), generator=draw).to(device)
        inputs = (ids, torch.ones_like(ids, dtype=torch.bool))
    else:
        inputs = (torch.randn(batch, *shape, generator=draw).to(device=device, dtype=dtype),)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, fused=True)

    def losses() -> tuple[Tensor, Tensor]:
        logits = model(*inputs)
        return F.cross_entropy(logits, noisy), F.cross_entropy(logits, trusted)

    return {"library": _library, "autograd": _autograd, "torchjd": _torchjd}[side](model, optimizer, losses)


def _library(model: nn.Module, optimizer: torch.optim.Optimizer, losses: Losses) -> Step:
    dual = DualGradient(model, optimizer, LAM)
    return lambda: dual.step(*losses())


def _autograd(model: nn.Module, optimizer: torch.optim.Optimizer, losses: Losses) -> Step:
    params = list(model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        struct, value = losses()
        g_struct = torch.autograd.grad(struct, params, retain_graph=True)
        g_value = torch.autograd.grad(value, params)
        norms = [
            torch.linalg.vector_norm(torch.stack(torch._foreach_norm(one))) for one in (g_struct, g_value)
        ]
        mixed = torch._foreach_mul(g_struct, (1 - LAM) / (norms[0] + 1e-12))
        torch._foreach_add_(mixed, torch._foreach_mul(g_value, LAM / (norms[1] + 1e-12)))
        for parameter, part in zip(params, mixed, strict=True):
            parameter.grad = part
        optimizer.step()

    return step


def _torchjd(model: nn.Module, optimizer: torch.optim.Optimizer, losses: Losses) -> Step:
    from torchjd.aggregation import GramianWeightedAggregator
    from torchjd.autojac import backward, jac_to_grad

    from dualgrad.torchjd import NormalizedMix

    params, aggregator = list(model.parameters()), GramianWeightedAggregator(NormalizedMix(LAM))

    def step() -> None:
        backward(list(losses()))
        jac_to_grad(params, aggregator)
        optimizer.step()
        optimizer.zero_grad()

    return step


def bench_library(
    network: str,
    batch: int | None,
    device: torch.device,
    dtype: torch.dtype,
    threads: int,
    rounds: int | None,
) -> list[dict[str, Any]]:
    """Return the time of a step (ms) and the peak memory beyond what is there before it (MiB), of each side.

    Time is the process's own on a CPU, and the wall's on a GPU.

    Args:
        network: one of NETWORKS.
        batch: examples; None: as many as is usual for the network.
        device, dtype, threads: where and in which arithmetic, with how many threads.
        rounds: how often each side takes its turn; None: as often as gives the network's ratios to a few percent.
    """
    torch.set_num_threads(threads)
    size = batch or NETWORKS[network][3]
    title = f"{NETWORKS[network][4]}, batch {size}"
    steps = {side: make_step(network, side, size, device, dtype) for side in SIDES}
    repeats = {side: repeats_for(step, device, _PIECE) for side, step in steps.items()}
    pieces = {side: partial(_again, step, repeats[side]) for side, step in steps.items()}
    # On the CPU what the process itself has worked: other programs on the machine do the least harm so.
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    rounds = rounds or _TURNS.get(network, _USUAL_TURNS)
    seconds = take_turns(pieces, rounds, device, clock=clock)
    milliseconds = {side: [1000 * one / repeats[side] for one in seconds[side]] for side in SIDES}
    medians = {side: statistics.median(one) for side, one in milliseconds.items()}
    over = {f"median_over_{other}": medians["library"] / medians[other] for other in SIDES[1:]}
    peaks = {side: peak_of(network, side, size, device, dtype, threads) / 2**20 for side in SIDES}
    beside = {f"over_{other}": peaks["library"] / peaks[other] for other in SIDES[1:]}
    return [
        measurement(f"step, {title}", "ms", milliseconds, **over),
        measurement(
            f"peak memory of a step, {title}", "MiB", {side: [one] for side, one in peaks.items()}, **beside
        ),
    ]


def _again(step: Step, times: int) -> None:
    for _ in range(times):
        step()


def peak_of(
    network: str, side: str, batch: int, device: torch.device, dtype: torch.dtype, threads: int
) -> int:
    """Return the most bytes that three steps take beyond the network and its inputs, in a process of their own.

    On the CPU that is the growth of the process, with large blocks given back to the system when they are freed.
    """
    words = [
        sys.executable,
        "-m",
        "dualgrad.bench.library",
        network,
        side,
        str(batch),
        device.type,
        str(dtype)[6:],
    ]
    done = subprocess.run(
        [*words, str(threads)],
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    peak: int = json.loads(done.stdout)
    return peak


def _resident(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status says no {key}")


def _peak(network: str, side: str, batch: str, where: str, dtype: str, threads: str) -> int:
    torch.set_num_threads(int(threads))
    device = torch.device(where)
    # What the first step loads (libraries, kernels) is no memory of a step: a small one goes before.
    make_step(network, side, 2, device, getattr(torch, dtype))()
    step = make_step(network, side, int(batch), device, getattr(torch, dtype))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        _again(step, 3)
        return int(torch.cuda.max_memory_allocated(device) - before)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
    before = _resident("VmRSS")
    _again(step, 3)
    return max(4096, _resident("VmHWM") - before)  # the system counts in pages


if __name__ == "__main__":
    print(json.dumps(_peak(*sys.argv[1:])))
