"""``dualgrad bench epoch``: one epoch with its data, steps and an evaluation, ours beside the published loop's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from dualgrad.bench.baseline import published_switches
from dualgrad.bench.sides import Sides, make_sides
from dualgrad.bench.timing import measurement, repeats_for, take_turns
from dualgrad.census.run import Run

PIECE = 0.2  # seconds of one piece, or a single epoch


def bench_epoch(
    run: Run, data_dir: Path, device: torch.device, threads: int, rounds: int, workers: int
) -> dict:
    """Return the measurement of an epoch of a run in milliseconds; both sides evaluate at its end.

    Args:
        run: a resolved run.
        data_dir: folder of prepared data sets.
        device, threads: where, and with how many threads.
        rounds: how often each side takes its turn.
        workers: processes of the published image loaders.
    """
    sides = make_sides(run, data_dir, device, threads, workers, endless=True)
    pieces, repeats = {}, {}
    for side, piece in (("ours", our_epoch(sides)), ("baseline", published_epoch(sides))):
        # The first epoch starts loaders' processes that are then kept, if the notebook kept them.
        count = repeats[side] = repeats_for(piece, device, PIECE)
        pieces[side] = lambda p=piece, n=count: [p() for _ in range(n)]
    seconds = take_turns(pieces, rounds, device)
    values = {side: [1000 * s / repeats[side] for s in times] for side, times in seconds.items()}
    task = run.task
    text = task.kind == "text"
    return measurement(
        f"epoch of {run.experiment}/{run.run}: {task.dataset}, {task.model.name}",
        "ms",
        values,
        steps=sides.trainer.order.steps_per_epoch,
        batch=task.batch_size,
        test_examples=sides.trainer.task.n_test,
        loader_processes=0 if text else workers,
        loader_processes_kept=None if text else sides.loop.train.persistent_workers,
    )


def our_epoch(sides: Sides) -> Callable[[], None]:
    """Return our epoch as a piece of work: the trainer's own, with an evaluation."""
    planned = replace(sides.plan[0], evaluate=True)
    return lambda: sides.trainer.run_epoch(sides.stage, planned)


def published_epoch(sides: Sides) -> Callable[[], None]:
    """Return the published epoch as a piece of work."""

    def piece() -> None:
        with published_switches(sides.run.experiment):
            sides.loop.epoch(sides.lam)
            sides.loop.evaluate()

    return piece
