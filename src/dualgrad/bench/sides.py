"""Both sides of a benchmark, made from one resolved run: our trainer and the published loop, with equal weights."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dualgrad.bench import baseline
from dualgrad.census.run import MeasuredScale, Normalize, Run, Stage
from dualgrad.data import synthetic
from dualgrad.data.prepare import content_path
from dualgrad.data.store import load_arrays, read_note
from dualgrad.models.distilbert import Classifier
from dualgrad.training.batches import batches_per_pass, trusted_batches
from dualgrad.training.plan import PlannedEpoch
from dualgrad.training.session import Session, new_model
from dualgrad.training.trainer import Context, Trainer
from dualgrad.validation import InputError

# Updates that a warm-up schedule is stretched over: a benchmark goes on for longer than the run would.
_ENDLESS = 1_000_000


@dataclass
class Sides:
    """Our trainer with an open session, and the published loop.

    Attributes:
        run: the run as benchmarked.
        stage: the stage that is trained, the first.
        plan: its epochs.
        trainer: ours, as training uses it.
        published: the published one, if it was asked for.
    """

    run: Run
    stage: Stage
    plan: list[PlannedEpoch]
    trainer: Trainer
    published: baseline.Loop | None

    @property
    def loop(self) -> baseline.Loop:
        """The published loop, where it was asked for."""
        assert self.published is not None
        return self.published

    @property
    def session(self) -> Session:
        """Our session."""
        return self.trainer.session

    @property
    def lam(self) -> float:
        """λ of the first epoch."""
        return self.plan[0].lam or 0.0


def trainable(run: Run) -> Run:
    """Return the run as a benchmark trains it: by itself, from fresh weights.

    Raises:
        InputError: the published loop is kept for runs that start fresh and whose value gradient comes from labels.
    """
    name, stage = f"{run.experiment}/{run.run}", run.stages[0]
    problem = None
    if stage.start.kind != "fresh" or isinstance(run.lr_scale, MeasuredScale):
        problem = "starts from another run; name one that starts fresh"
    elif run.value.synthetic or run.value.fresh_every_step:
        problem = "has value gradients (random directions, probes) that the published loop here does not know"
    elif not isinstance(run.method, str):
        problem = "combines its gradients by an aggregator, which the published loop does not know"
    elif not stage.segments or run.seed is None:
        problem = "trains nothing in its first stage"
    if problem:
        raise InputError("bench", name, problem)
    network = run.task.model.model_copy(update={"body_from": None})  # other weights take no other time
    task = run.task.model_copy(update={"model": network})
    return run.model_copy(update={"task": task, "copy_of": None, "prefix_epochs": None})


def make_sides(
    run: Run,
    data_dir: Path,
    device: torch.device,
    threads: int,
    workers: int = baseline.WORKERS,
    *,
    published: bool = True,
    endless: bool = False,
) -> Sides:
    """Build both sides of a run.

    Args:
        run: the run, as the census has it.
        data_dir: folder of prepared data sets.
        device, threads: where and with how many intra-op threads both sides compute.
        workers: processes of the published image loaders.
        published: build the published loop.
        endless: stretch a warm-up schedule, for benchmarks that do more updates than the run.

    Raises:
        InputError: no benchmark is made of this run. DataError: its data are missing.
    """
    run = trainable(run)
    nowhere = Path("/nonexistent")  # nothing is read from or written to a folder of results
    trainer = Trainer(run, Context(nowhere, nowhere, data_dir, device, threads))
    stage = run.stages[0]
    trainer.open_session(stage)
    total = _ENDLESS if endless else trainer.session.total_updates
    trainer.session.total_updates = total
    sides = Sides(run, stage, trainer.plans[stage.name], trainer, None)
    if published:
        sides.published = _published(sides, data_dir, device, workers, total)
    return sides


def _published(sides: Sides, data_dir: Path, device: torch.device, workers: int, total: int) -> baseline.Loop:
    run, trainer = sides.run, sides.trainer
    task, labels, streams = run.task, trainer.labels, trainer.session.streams
    model = new_model(run, trainer.task, trainer.seed + sides.stage.seed_offset, trainer.dtype).train()
    # As the notebooks have it: weights as they come, and BatchNorm counts on the device.
    model = model.to(device).to(memory_format=torch.contiguous_format)
    if isinstance(model, Classifier):
        model.short = False  # the library's own forward pass
    text = task.kind == "text"
    train, test = _sentences(sides) if text else _pictures(sides, data_dir)
    size = task.batch_size
    processes = 0 if text else workers
    kept = processes > 0 and baseline.keeps_workers(run.experiment)

    def loader(data: Dataset, order: baseline.Passes | None) -> DataLoader:
        batches = {"batch_size": size} if order is None else {"batch_sampler": order}
        pinned = device.type == "cuda"
        return DataLoader(data, **batches, num_workers=processes, pin_memory=pinned, persistent_workers=kept)

    def structure(epoch: int, again: int) -> Iterable[Tensor]:
        return trainer.order.epoch(epoch, sides.plan[min(epoch, len(sides.plan) - 1)].steps)

    def values(epoch: int, again: int) -> Iterator[Tensor]:
        assert labels.trusted is not None
        count = batches_per_pass(len(labels.trusted), size, False)
        batches = trusted_batches(labels.trusted, size, epoch, streams)
        return islice(batches, again * count, (again + 1) * count)

    # The notebooks' four processes, however few cores there are: torch says that they are many.
    warnings.filterwarnings("ignore", message="This DataLoader will create", category=UserWarning)
    separate = run.value.labels == "trusted_batches"
    order, value_order = baseline.Passes(structure), baseline.Passes(values)
    return baseline.Loop(
        run=run,
        model=model,
        noisy=labels.noisy,
        value=labels.value,
        trusted=labels.trusted_mask,
        train=loader(train, order),
        test=loader(test, None),
        values=loader(train, value_order) if separate else None,
        order=order,
        value_order=value_order,
        device=device,
        total=total,
        min_trusted=trainer.min_trusted,
        autocast=trainer.autocast,
    )


def _pictures(sides: Sides, data_dir: Path) -> tuple[baseline.Images, baseline.Images]:
    task = sides.run.task
    path = content_path(data_dir, task.dataset)
    if task.synthetic:
        arrays = synthetic.images(task.plain())
    else:
        arrays = load_arrays(path, remedy=f"run: dualgrad data {task.dataset}")
    normalize = task.normalize or Normalize(**read_note(path)["set"]["normalize"])
    size = arrays["train_images"].shape[2:]

    def split(name: str) -> baseline.Images:
        steps = baseline.transforms(task.augment, normalize, size, sides.trainer.dtype, name == "train")
        return baseline.Images(arrays[f"{name}_images"], np.asarray(arrays[f"{name}_labels"]), steps)

    return split("train"), split("test")


def _sentences(sides: Sides) -> tuple[baseline.Sentences, baseline.Sentences]:
    task = sides.trainer.task
    return baseline.Sentences(task.train, task.train_labels), baseline.Sentences(task.test, task.test_labels)
