"""The label tables of one run on the device it trains on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dualgrad.census.run import LabelFile, Run
from dualgrad.data.given import as_indices, as_labels, digest, measured, read_column
from dualgrad.data.noise import label_tables
from dualgrad.data.task import Task
from dualgrad.training.errors import TrainingError
from dualgrad.training.streams import Streams


@dataclass(frozen=True)
class Labels:
    """Label tables over the n training examples (int64 tensors on the task's device).

    Attributes:
        structure: (m,) indices of the examples the structure gradient sees.
        noisy: (n,) labels with noise.
        value: (n,) labels of the value gradient.
        trusted: (k,) indices of the trusted examples, or None.
        trusted_mask: (n,) whether an example is trusted, or None.
        validation: (v,) indices of the examples set aside, which are in no other set of indices; or None.
    """

    structure: Tensor
    noisy: Tensor
    value: Tensor
    trusted: Tensor | None
    trusted_mask: Tensor | None
    validation: Tensor | None = None


@dataclass(frozen=True)
class OwnLabels:
    """What a run takes from files of one's own.

    Attributes:
        given: (n,) noisy labels, or None.
        listed: (k,) indices of trusted examples, or None.
        about: ``labels`` and ``trusted`` as a record's provenance has them: file, digest of what it holds, and,
            against the data set's labels, the share of wrong ones and the transition matrix.
    """

    given: np.ndarray | None = None
    listed: np.ndarray | None = None
    about: dict[str, Any] = field(default_factory=dict)


def read_own(run: Run, task: Task, names: Sequence[str], place: Callable[[str], Path]) -> OwnLabels:
    """Read the files that a run names.

    Args:
        run: the run.
        task: its task.
        names: names of the data set's classes, if it has some.
        place: where a file lies that the run names.

    Raises:
        DataError: a file is missing or malformed, or does not fit the data set.
    """
    noisy: np.ndarray | None = None
    listed: np.ndarray | None = None
    about: dict[str, Any] = {}

    def source(path: str, column: str | None, values: np.ndarray) -> dict[str, Any]:
        return {"path": path, "column": column, "sha256": digest(values)}

    if isinstance(run.noise, LabelFile):
        path, column = run.noise.path, run.noise.column
        where = f"{path}, for the data set {task.name}"
        noisy = as_labels(read_column(place(path), column), task.n_train, task.classes, names, where)
        true = task.train_labels.cpu().numpy()
        about["labels"] = source(path, column, noisy) | measured(noisy, true, task.classes)
    if run.value.trusted is not None and run.value.trusted.path is not None:
        path, column = run.value.trusted.path, run.value.trusted.column
        where = f"{path}, for the data set {task.name}"
        listed = as_indices(read_column(place(path), column), task.n_train, where)
        about["trusted"] = source(path, column, listed) | {"examples": len(listed)}
    return OwnLabels(noisy, listed, about)


def make_labels(run: Run, clean: Tensor, seed: int, own: OwnLabels | None = None) -> Labels:
    """Build the label tables of a run from its base seed s, by the published procedures, and from its own files.

    Validation examples are set aside after noise and trusted examples were drawn, so that the others keep their
    labels.

    Random value labels without a fixed seed (B, C) came from the CUDA generator, which no other machine repeats;
    here they have a private stream.
    """
    own = own or OwnLabels()
    streams = Streams(run.streams.group, run.streams.replicate, seed, "run")
    tables = label_tables(
        run.noise,
        run.value,
        clean.cpu().numpy(),
        run.task.classes,
        seed,
        subset=run.task.subset,
        generator=streams.generator("random_labels"),
        given=own.given,
        listed=own.listed,
    )
    device = clean.device
    structure, chosen, aside = tables.structure, tables.trusted, None
    if held := run.task.validation:
        order = torch.randperm(len(clean), generator=streams.generator("validation")).numpy()
        aside = np.sort(order[: int(held.share * len(clean))])
        structure = structure[~np.isin(structure, aside)]
        chosen = None if chosen is None else chosen[~np.isin(chosen, aside)]
        for what, left in (("validation", aside), ("structure", structure), ("trusted", chosen)):
            if left is not None and not len(left):
                raise TrainingError(f"task.validation: a share of {held.share:g} leaves no {what} example")
    trusted = mask = None
    if chosen is not None:
        trusted = torch.from_numpy(chosen).to(device)
        mask = torch.zeros(len(clean), dtype=torch.bool, device=device)
        mask[trusted] = True
    return Labels(
        structure=torch.from_numpy(structure).to(device),
        noisy=torch.from_numpy(tables.noisy).to(device),
        value=torch.from_numpy(tables.value).to(device),
        trusted=trusted,
        trusted_mask=mask,
        validation=None if aside is None else torch.from_numpy(aside).to(device),
    )
