"""A run's first epoch by the published loop over the same batches: how much chance and the moment make out.

They hold the examples of the run's own. Where a task augments, the loop crops and flips them by draws of its own,
from torch's global generator, as the notebooks did: the pictures differ then, and not the rounding alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch

from dualgrad.bench.baseline import published_switches
from dualgrad.bench.sides import make_sides
from dualgrad.census.run import Run
from dualgrad.models.generators import forked_generator
from dualgrad.progress import progress
from dualgrad.records import write_atomically
from dualgrad.validation import InputError

RUN = ["dataset", "experiment", "run"]
SOURCE = "the published loop in plain PyTorch (src/dualgrad/bench/baseline.py) over the batches of this run, "


def within_epoch(
    run: Run, data_dir: Path, device: torch.device, threads: int, after: Sequence[int]
) -> pd.DataFrame:
    """Train the first epoch of a run by the published loop, and evaluate after some of its steps.

    Args:
        run: a resolved run.
        data_dir: folder of prepared data sets.
        device, threads: where, and with how many threads.
        after: numbers of steps; the last step of the epoch is added.

    Returns:
        A row for each, as ``replicate.build.within_epochs`` reads them.

    Raises:
        InputError: the epoch has fewer steps, or the loop does not know such runs.
    """
    sides = make_sides(run, data_dir, device, threads, workers=0)
    loop, steps = sides.loop, sides.trainer.order.steps_per_epoch
    if wrong := [step for step in after if not 1 <= step <= steps]:
        raise InputError("bench", "--at", f"expected steps of the epoch, 1 to {steps}; got {wrong[0]}")
    found: list[dict[str, float]] = []

    def look() -> None:
        if loop.t in (*after, steps):
            cosine = sum(loop.cosines) / len(loop.cosines) if loop.cosines else float("nan")
            # A loader draws a number when it begins: the crops that follow would depend on when one looks.
            with forked_generator(device):
                error = loop.evaluate()
            found.append({"step": loop.t, "steps": steps, "error": error, "cosine": cosine})

    loop.train = cast(Any, progress(loop.train, steps, "step", lambda _: ""))
    with published_switches(run.experiment):
        loop.epoch(sides.lam, look)
    precision = str(sides.trainer.dtype).removeprefix("torch.")
    rows = pd.DataFrame(found).round({"error": 4, "cosine": 4})
    source = f"{SOURCE}{precision} on the {device.type.upper()}"
    for place, text in enumerate((run.task.dataset, run.experiment, run.run, source)):
        rows.insert(place, [*RUN, "source"][place], text)
    return rows


def keep(path: Path, rows: pd.DataFrame) -> None:
    """Write rows into a file, in place of those that it has of the same run."""
    if path.is_file():
        kept = pd.read_csv(path)
        others = ~kept.set_index(RUN).index.isin(rows.set_index(RUN).index)
        rows = pd.concat([kept[others], rows])
    write_atomically(path, rows.to_csv(index=False, lineterminator="\n").encode())
