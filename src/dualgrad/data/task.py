"""A task as the trainer sees it: model inputs and labels on a device, by example index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dualgrad.data.errors import DataError
from dualgrad.data.images import SETS as IMAGE_SETS
from dualgrad.data.images import load_images

Inputs = tuple[Tensor, ...]


@dataclass
class Task:
    """Training and test examples of one task, on one device.

    train_labels, test_labels: clean labels, int64, (n_train,) and (n_test,), on the device.
    train, test: stored model inputs, one tensor per model argument, first axis = example.
    padding: width of the zero border around stored training images that are still to be cropped, or None
    where the stored inputs are final. Stored images that are still to be cropped are uint8, (n, H + 2p, W +
    2p, C).
    """

    name: str
    kind: str
    classes: int
    train_labels: Tensor
    test_labels: Tensor
    train: Inputs
    test: Inputs
    padding: int | None = None
    flip: bool = False
    dtype: torch.dtype = torch.float32
    mean: Tensor | None = None
    std: Tensor | None = None
    _grid: tuple[Tensor, Tensor] | None = field(default=None, repr=False)

    @property
    def n_train(self) -> int:
        """Number of training examples."""
        return len(self.train_labels)

    @property
    def n_test(self) -> int:
        """Number of test examples."""
        return len(self.test_labels)

    @property
    def augments(self) -> bool:
        """Whether `inputs` draws random numbers."""
        return self.padding is not None

    def inputs(self, indices: Tensor, generator: torch.Generator | None = None) -> Inputs:
        """Model inputs of the training examples `indices` (int64, (b,), on the device).

        Images: one tensor (b, C, H, W) of the task's dtype, randomly cropped and flipped, each on its own,
        where the task augments; exactly one draw of b numbers is taken from `generator` per call. Text:
        (input ids, attention mask), both int64 (b, length), or (input ids,).
        """
        if self.padding is None:
            return tuple(stored[indices] for stored in self.train)
        if generator is None:
            raise ValueError(f"task {self.name} augments its training images: inputs() needs a generator")
        return (self._augmented(indices, generator),)

    def test_inputs(self, start: int, stop: int) -> Inputs:
        """Model inputs of the test examples start <= i < stop, never augmented."""
        part = tuple(stored[start:stop] for stored in self.test)
        if self.padding is None:
            return part
        return (self._normalised(part[0]).permute(0, 3, 1, 2),)

    def _normalised(self, images: Tensor) -> Tensor:
        # ToTensor, then Normalize: the same three operations in the same order, so float32 is bit-identical.
        return images.to(self.dtype).div_(255).sub_(self.mean).div_(self.std)

    def _augmented(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        stored, padding = self.train[0], self.padding
        offsets = 2 * padding + 1
        # One number per example holds flip, row and column: one draw, one copy to the device.
        draws = torch.randint(
            0,
            offsets * offsets * (2 if self.flip else 1),
            indices.shape,
            generator=generator,
            device=generator.device,
        ).to(stored.device, non_blocking=True)
        height, width = stored.shape[1] - 2 * padding, stored.shape[2] - 2 * padding
        if self._grid is None:
            self._grid = (
                torch.arange(height, device=stored.device),
                torch.arange(width, device=stored.device),
            )
        rows, columns = self._grid
        place = draws % (offsets * offsets)
        rows = (place // offsets)[:, None] + rows
        columns = columns.expand(len(indices), width)
        if self.flip:
            flipped = (draws >= offsets * offsets)[:, None]
            columns = torch.where(flipped, width - 1 - columns, columns)
        columns = (place % offsets)[:, None] + columns
        crops = stored[indices[:, None, None], rows[:, :, None], columns[:, None, :]]
        # Stored with channels last: a pixel is gathered at once, and the result is already in channels_last
        # layout.
        return self._normalised(crops).permute(0, 3, 1, 2)


# Prepared tasks of this process: a warm worker fills it before forking, so its children share the memory.
_TASKS: dict[tuple, Task] = {}


def _normalisation(task: Mapping[str, Any], channels: int) -> tuple[np.ndarray, np.ndarray]:
    default = IMAGE_SETS[task["dataset"]]
    given = task.get("normalize") or {"mean": default.mean, "std": default.std}
    mean, std = np.asarray(given["mean"], dtype=np.float64), np.asarray(given["std"], dtype=np.float64)
    if len(mean) != channels or len(std) != channels:
        raise DataError(
            f"task.normalize has {len(mean)} means and {len(std)} standard deviations, "
            f"but {task['dataset']} has {channels} channel(s)"
        )
    return mean, std


def _image_task(task: Mapping[str, Any], device: torch.device, dtype: torch.dtype, data_dir: Path) -> Task:
    arrays = load_images(task["dataset"], data_dir)
    mean, std = _normalisation(task, arrays["train_images"].shape[1])
    labels = tuple(torch.from_numpy(arrays[f"{part}_labels"]).to(device) for part in ("train", "test"))
    augment = task.get("augment")
    common = {"name": task["dataset"], "kind": "image", "classes": int(task["classes"])}
    # NumPy, not torch, does the arithmetic: it starts no OpenMP threads, which would not survive a fork.
    if not augment:
        real = np.float64 if dtype == torch.float64 else np.float32
        stored = []
        for part in ("train", "test"):
            images = arrays[f"{part}_images"].astype(real) / real(255)
            images = (images - mean.astype(real)[:, None, None]) / std.astype(real)[:, None, None]
            stored.append(torch.from_numpy(images).to(device=device, dtype=dtype))
        return Task(
            **common, train_labels=labels[0], test_labels=labels[1], train=(stored[0],), test=(stored[1],)
        )
    padding = int(augment["crop_padding"])
    border = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    train = np.pad(arrays["train_images"].transpose(0, 2, 3, 1), border)
    test = np.ascontiguousarray(arrays["test_images"].transpose(0, 2, 3, 1))
    return Task(
        **common,
        train_labels=labels[0],
        test_labels=labels[1],
        train=(torch.from_numpy(train).to(device),),
        test=(torch.from_numpy(test).to(device),),
        padding=padding,
        flip=bool(augment["flip"]),
        dtype=dtype,
        mean=torch.tensor(mean, dtype=dtype, device=device),
        std=torch.tensor(std, dtype=dtype, device=device),
    )


def load_task(
    run: Mapping[str, Any],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    data_dir: Path | str = "data",
) -> Task:
    """The task of a resolved run (or of its `task` block), with its examples on `device`.

    Prepared once per process for equal data, normalisation, augmentation, device and dtype.
    Raises DataError where the data are missing, damaged or do not fit the run.
    """
    task = run.get("task", run)
    device, data_dir = torch.device(device), Path(data_dir)
    key = (
        repr(
            sorted(
                (k, task.get(k))
                for k in (
                    "kind",
                    "dataset",
                    "classes",
                    "normalize",
                    "augment",
                    "max_length",
                    "synthetic",
                    "split",
                )
            )
        ),
        repr(task.get("model", {}).get("name")),
        device,
        dtype,
        str(data_dir.resolve()),
    )
    if key not in _TASKS:
        if task["kind"] == "image":
            _TASKS[key] = _image_task(task, device, dtype, data_dir)
        else:
            raise DataError(f"unknown task kind {task['kind']!r}; expected image or text")
    return _TASKS[key]


def preload(
    runs: Iterable[Mapping[str, Any]],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    data_dir: Path | str = "data",
) -> None:
    """Prepare the tasks of these runs now, so that processes forked later find them in memory."""
    for run in runs:
        load_task(run, device, dtype, data_dir)
