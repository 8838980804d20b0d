"""Rates measured here and now, by a few steps of each network on synthetic data. Only this module needs torch."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from dualgrad.census.run import read, trusted_share
from dualgrad.planning.own_networks import Measured
from dualgrad.planning.rates import Rate
from dualgrad.records import definition
from dualgrad.training.plan import PlannedEpoch
from dualgrad.training.session import evaluate
from dualgrad.training.trainer import Context, Trainer

# Seconds of one measurement and how many there are; the median counts.
PIECE, ROUNDS = 0.3, 3
# A network whose step takes longer than this is measured in smaller batches.
LONGEST_STEP = 2.0
NOWHERE = Path("/nonexistent")  # no folder of results is read or written


def calibrate(
    runs: Mapping[str, Mapping[str, Any]], device: torch.device, threads: int, root: Path = Path()
) -> Iterator[tuple[str, Rate, int]]:
    """Measure networks one after another.

    Args:
        runs: network -> a resolved run that uses it; its batch size, precision and optimizer count.
        device: where to measure.
        threads: intra-op threads.
        root: the workflow's folder, where modules of one's own lie.

    Yields:
        Network, its rate, and the bytes that it took on the GPU (0 on a CPU).
    """
    for network, run in runs.items():
        yield network, *_measured(run, device, threads, root)


def device_name(device: torch.device) -> str:
    """Return what a record would call the device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def forward_pass(run: Mapping[str, Any], root: Path, examples: int) -> Measured:
    """Measure the network of a resolved run by one forward pass in training, on a core of the CPU.

    Args:
        run: its network, precision and data's shape count.
        root: the workflow's folder.
        examples: in the pass, at most.
    """
    n = min(examples, run["task"]["batch_size"])
    bench = _Bench(run, n, torch.device("cpu"), 1, root)
    model, task = bench.session.model, bench.trainer.task
    index = torch.arange(n)
    inputs = task.inputs(index, task.crops(n, torch.Generator()) if task.augments else None)
    kept: dict[
        int, tuple[int, torch.Tensor]
    ] = {}  # storage -> its numbers; held, so that its place stays its own

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes() // tensor.element_size(), tensor
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, FlopCounterMode(display=False) as counter:
        model(*inputs)
    weights = {one.untyped_storage().data_ptr() for one in model.parameters()}
    saved = sum(numbers for place, (numbers, _) in kept.items() if place not in weights)
    began = time.perf_counter()
    model(*inputs)
    seconds = time.perf_counter() - began
    return Measured(
        parameters=sum(one.numel() for one in model.parameters()),
        saved=saved // n,
        operations=counter.get_total_flops() // n,
        seconds=seconds / n * 1e6,
        apart=not bench.session.shares_forward,
    )


def _measured(run: Mapping[str, Any], device: torch.device, threads: int, root: Path) -> tuple[Rate, int]:
    batch = run["task"]["batch_size"]
    small = min(batch, 4)
    taken = _Bench(run, small, device, threads, root).steps(1)
    if taken * batch / small > LONGEST_STEP:
        batch = max(small, int(LONGEST_STEP / taken * small))
    bench = _Bench(run, batch, device, threads, root)
    source = f"measured just now, {device_name(device)}"
    if batch < run["task"]["batch_size"]:
        source += f" (some in batches of {batch} for {run['task']['batch_size']})"
    step = bench.per_example(lambda count: bench.steps(count, refresh=False), bench.passes)
    second = 0.0
    if bench.shares:
        both = bench.per_example(lambda count: bench.steps(count, refresh=True), bench.passes)
        second = max(0.0, both - step)
    tested = bench.trainer.task.n_test
    forward = bench.per_example(bench.evaluations, tested)
    peak = torch.cuda.max_memory_reserved(device) if device.type == "cuda" else 0
    return Rate(step * 1e6, second * 1e6, forward * 1e6, source), peak


def _without_files(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return blocks of a run that draw what it reads from files of one's own: those are about other examples."""
    blocks: dict[str, Any] = {}
    if run["noise"]["kind"] == "file":
        blocks["noise"] = {"kind": "symmetric", "rate": 0.4, "seed_offset": 0}
    value = run["value"]
    if (value.get("trusted") or {}).get("path") is not None:
        blocks["value"] = {**value, "trusted": {"ratio": trusted_share(value), "seed_offset": 0}}
    return blocks


class _Bench:
    """The trainer with one open session of a run on synthetic data."""

    def __init__(
        self, resolved: Mapping[str, Any], batch: int, device: torch.device, threads: int, root: Path
    ):
        run: dict[str, Any] = copy.deepcopy(definition(resolved))
        task = run["task"]
        task["model"].pop("body_from", None)
        if task["model"]["name"] == "distilbert":
            task["model"]["pretrained"] = False  # other weights take no other time
        text = task["kind"] == "text"
        run |= _without_files(run)
        tested = min(task["eval_batch_size"], 4 * batch)
        # A text run takes its trusted examples out of the pool that it draws its subset from.
        task |= {"synthetic": {"train": 4 * batch if not text else 2000, "test": tested}, "batch_size": batch}
        if shape := resolved["data"]["shape"]:
            task["synthetic"]["shape"] = shape
            channels = shape[0]
            task["normalize"] = task["normalize"] or {"mean": [0.5] * channels, "std": [0.25] * channels}
        task |= {"subset": 1000 if text else None, "steps_per_epoch": None, "eval_batch_size": tested}
        stage = {**run["stages"][0], "start": {"kind": "fresh"}, "session": "main", "save": False}
        stage["segments"] = [{"lambda": 0.3, "epochs": 1, "direction": None}]
        stage["schedule"] = {"kind": "constant"}
        run |= {"stages": [stage], "lr_scale": None, "copy_of": None, "seed": run["seed"] or 0}
        self.run, self.device = read(run), device
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        self.trainer = Trainer(self.run, Context(NOWHERE, NOWHERE, NOWHERE, device, threads, root=root))
        self.stage = self.run.stages[0]
        self.trainer.open_session(self.stage)
        self.session = self.trainer.session
        self.apart = self.run.value.labels == "trusted_batches" or not self.session.shares_forward
        self.shares = not self.apart
        # Where the value gradient has a pass of its own, each step below does both.
        self.passes = 2 * batch if self.apart else batch

    def steps(self, count: int, refresh: bool = True) -> float:
        """Seconds of so many steps, each with a value gradient or (but the first ever) without."""
        value = self.run.value.model_copy(update={"period": 1 if refresh or self.apart else 2**62})
        self.session.run = self.run.model_copy(update={"value": value})
        planned = PlannedEpoch(0, 0.3, None, count, True, False)
        if self.session.pair.cache is None:
            self.trainer.run_epoch(self.stage, PlannedEpoch(0, 0.3, None, 1, True, False))
        return self._seconds(lambda: self.trainer.run_epoch(self.stage, planned))

    def evaluations(self, count: int) -> float:
        """Seconds of so many evaluations."""
        size = self.run.task.eval_batch_size
        return self._seconds(
            lambda: [evaluate(self.session.model, self.trainer.task, size) for _ in range(count)]
        )

    def per_example(self, piece: Callable[[int], float], examples: int) -> float:
        """Median seconds per example of a piece that is repeated until it can be timed."""
        piece(1)
        count = max(1, round(PIECE / max(piece(1), 1e-6)))
        return median(piece(count) for _ in range(ROUNDS)) / count / examples

    def _seconds(self, work: Callable[[], object]) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        began = time.perf_counter()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - began
