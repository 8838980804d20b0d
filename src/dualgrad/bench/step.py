"""``dualgrad bench step``: one training step, ours beside the published loop's, on batches that are already there.

A step that computes a new value gradient and one that uses the cached one are timed apart and weighted as they occur.
With one thread on a CPU it is the process's own time that counts, so that other programs on the machine do the least
harm; else the wall's.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from dualgrad.bench import flops
from dualgrad.bench.baseline import published_switches
from dualgrad.bench.sides import Sides, make_sides
from dualgrad.bench.timing import measurement, repeats_for, take_turns
from dualgrad.census.run import Run
from dualgrad.training.batches import trusted_batches
from dualgrad.training.trajectory import StepStatistics

BATCHES = 4  # different ones, in turn
PIECE = 0.1  # seconds of one piece between two looks at the clock, or a single step
Batch = tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, tuple[Tensor, ...]] | None]


def bench_step(
    run: Run,
    data_dir: Path,
    device: torch.device,
    threads: int,
    rounds: int,
) -> dict:
    """Return the measurement of a run's training step in milliseconds (see the module's docstring).

    Args:
        run: a resolved run.
        data_dir: folder of prepared data sets.
        device, threads: where, and with how many threads.
        rounds: how often each side takes its turn.
    """
    sides = make_sides(run, data_dir, device, threads, workers=0, endless=True)
    return time_steps(sides, device, rounds, lambda: False)


def time_steps(sides: Sides, device: torch.device, rounds: int, enough: Callable[[], bool]) -> dict:
    """As ``bench_step``, for sides that are there already; ``enough`` is asked before every round but the first."""
    run, value = sides.run, sides.run.value
    batches = batches_of(sides)
    difference = _difference(sides, batches[0])
    period = value.period if run.method == "dual" else 1
    kinds = ("refresh",) if period == 1 else ("refresh", "plain")
    pieces: dict[str, Callable[[], object]] = {}
    repeats: dict[str, int] = {}
    for kind in kinds:
        one = {"ours": our_steps(sides, batches, kind), "baseline": _published(sides, batches, kind)}
        for side, piece in one.items():
            count = repeats[f"{side} {kind}"] = repeats_for(partial(piece, 1), device, PIECE)
            pieces[f"{side} {kind}"] = partial(piece, count)
    counted = _operations(sides, batches[0])
    if counted:
        tf32 = run.precision == "published"
        product, product_flops = flops.fastest_matmul(device, sides.trainer.dtype, tf32)
        product_repeats = repeats_for(product, device, PIECE)
        pieces["matmul"] = lambda: [product() for _ in range(product_repeats)]

    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    seconds = take_turns(pieces, rounds, device, enough, clock)
    weights = {"refresh": 1 / period, "plain": 1 - 1 / period}

    def milliseconds(side: str) -> list[float]:
        each = [
            [1000 * s * weights[kind] / repeats[f"{side} {kind}"] for s in seconds[f"{side} {kind}"]]
            for kind in kinds
        ]
        return [sum(parts) for parts in zip(*each, strict=True)]

    values = {side: milliseconds(side) for side in ("ours", "baseline")}
    details: dict = {"largest_difference_after_two_steps": difference}
    if len(kinds) > 1:
        for name, times in seconds.items():
            if name in repeats:
                details[f"{name}_ms".replace(" ", "_")] = statistics.median(times) / repeats[name] * 1000
    if counted:
        rate = [product_flops * product_repeats / s / 1e9 for s in seconds["matmul"]]
        details["matmul_gflop_per_s"] = statistics.median(rate)
        for side, operations in counted.items():
            reached = [operations / ms / 1e6 for ms in values[side]]
            details[f"{side}_gflop_per_s"] = statistics.median(reached)
            details[f"{side}_fraction_of_matmul"] = statistics.median(
                [a / b for a, b in zip(reached, rate, strict=True)]
            )
    task = run.task
    what = f"step of {run.experiment}/{run.run}: {task.model.name}, batch {task.batch_size}"
    return measurement(what, "ms", values, **details)


def batches_of(sides: Sides) -> list[Batch]:
    """Return batches as training makes them: indices, inputs, and a trusted batch where the run has such."""
    trainer, streams = sides.trainer, sides.session.streams

    def inputs(index: Tensor) -> tuple[Tensor, ...]:
        crops = trainer.task.crops(len(index), draw) if trainer.task.augments else None
        return trainer.task.inputs(index, crops)

    draw = streams.generator("augment", 0)
    others = None
    if trainer.labels.trusted is not None and sides.run.value.labels == "trusted_batches":
        others = trusted_batches(trainer.labels.trusted, sides.run.task.batch_size, 0, streams)
    made = []
    for index in trainer.order.epoch(0, BATCHES):
        trusted = None
        if others is not None:
            other = next(others)
            trusted = (other, inputs(other))
        made.append((index, inputs(index), trusted))
    return made


def our_steps(sides: Sides, batches: list[Batch], kind: str) -> Callable[[int], None]:
    """Return a function that does so many of our steps, each a ``refresh`` or ``plain``."""
    session, minimum = sides.session, sides.trainer.min_trusted

    def steps(count: int) -> None:
        statistics = StepStatistics()
        for number in range(count):
            session.update = 0 if kind == "refresh" else 1
            index, inputs, trusted = batches[number % len(batches)]
            statistics.add(session.step(index, inputs, sides.lam, trusted=trusted, min_trusted=minimum))

    return steps


def _published(sides: Sides, batches: list[Batch], kind: str) -> Callable[[int], None]:
    loop = sides.loop
    # A DataLoader's batches: contiguous, and on the device by now.
    mine = [
        (index, [part.contiguous() for part in inputs], trusted and (list(trusted[1]), trusted[0]))
        for index, inputs, trusted in batches
    ]

    def steps(count: int) -> None:
        with published_switches(sides.run.experiment):
            for number in range(count):
                loop.t = 0 if kind == "refresh" else 1
                index, inputs, trusted = mine[number % len(mine)]
                loop.step(inputs, index, sides.lam, trusted)

    return steps


def _difference(sides: Sides, batch: Batch) -> float | None:
    """Return the largest difference between the two sides' weights after a refresh and a plain step on one batch.

    None where dropout makes them differ anyway. Both models are left as they were, optimizers with a used state.
    """
    if not sides.session.shares_forward:
        return None
    models = (sides.session.model, sides.loop.model)
    before = [copy.deepcopy(model.state_dict()) for model in models]
    for kind in ("refresh", "plain"):
        our_steps(sides, [batch], kind)(1)
        _published(sides, [batch], kind)(1)
    pairs = zip(*(model.state_dict().values() for model in models), strict=True)
    largest = max((a - b).abs().max().item() for a, b in pairs if a.is_floating_point())
    for model, state in zip(models, before, strict=True):
        model.load_state_dict(state)
    return largest


def _operations(sides: Sides, batch: Batch) -> dict[str, float] | None:
    """Operations of a mean step of either side, for networks of two-dimensional convolutions."""
    model, run = sides.session.model, sides.run
    if not any(isinstance(module, nn.Conv2d) for module in model.modules()):
        return None
    blank = copy.deepcopy(model).to("meta")
    inputs = tuple(torch.empty_like(part, device="meta") for part in batch[1])
    counted = flops.pass_flops(blank, inputs)
    return {
        side: flops.update_flops(*counted, run.value, run.method, shared)
        for side, shared in (("ours", sides.session.shares_forward), ("baseline", False))
    }
