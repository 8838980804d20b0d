"""A task as the trainer sees it: model inputs and labels on a device, by example index."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dualgrad.census.datasets import reader_of
from dualgrad.data import synthetic
from dualgrad.data.errors import DataError
from dualgrad.data.prepare import content_path, tokens_path
from dualgrad.data.pretrained import checked_model_folder, model_folder
from dualgrad.data.store import load_arrays, read_note
from dualgrad.data.tokens import UNKNOWN

Inputs = tuple[Tensor, ...]


# How images and weights of convolutions lie in memory, where not as they come: on a GPU that is fastest.
IMAGE_FORMATS = {"cuda": torch.channels_last}


def image_format(device: torch.device, dtype: torch.dtype) -> torch.memory_format:
    """How images and weights of convolutions of a dtype lie in a device's memory.

    torch gives cuDNN those of double precision contiguous alone: each weight would be copied anew at each step, and
    each gradient be laid out otherwise than the weights.
    """
    if device.type == "cuda" and dtype is torch.float64:
        return torch.contiguous_format
    return IMAGE_FORMATS.get(device.type, torch.preserve_format)


def _laid_out(images: Tensor) -> Tensor:
    """Return images that were stored with channels last, contiguous where a device is to have them so."""
    wanted = image_format(images.device, images.dtype)
    return images.contiguous() if wanted == torch.contiguous_format else images


@dataclass
class Task:
    """Training and test examples of one task, on one device.

    train_labels, test_labels: clean labels, int64, (n_train,) and (n_test,), on the device.
    train, test: stored model inputs, one tensor per model argument, first axis = example.
    padding: width of the zero border around stored training images that are still to be cropped, or None
    where the stored inputs are final. Stored images that are still to be cropped are uint8, (n, H + 2p, W +
    2p, C).
    model_options: what a model has to know about the data (inputs, vocab_size, path), to be merged under its
    specification: build_model({**task.model_options, **spec}, ...).
    origin: which data these are: the set's name, the digest of its content, what it is a copy of; empty: synthetic.
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
    model_options: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)
    definition: dict[str, Any] | None = None
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
        """Whether `inputs` needs crops."""
        return self.padding is not None

    def to(self, device: torch.device) -> Task:
        """The same task on another device, images as its convolutions like them."""

        def moved(part: Tensor) -> Tensor:
            images = (
                part.dim() == 4 and self.padding is None
            )  # those to be cropped are stored with channels last
            kind = image_format(device, part.dtype) if images else torch.preserve_format
            return part.to(device, memory_format=kind)

        return replace(
            self,
            train_labels=moved(self.train_labels),
            test_labels=moved(self.test_labels),
            train=tuple(map(moved, self.train)),
            test=tuple(map(moved, self.test)),
            mean=None if self.mean is None else moved(self.mean),
            std=None if self.std is None else moved(self.std),
        )

    def crops(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw how `count` training images are cropped and flipped, for a task that augments.

        However they are divided over calls, a generator gives the same ones: an epoch's are drawn at once, and copied
        to the device once.

        Returns:
            (count, 3) int64, on the device: first row, first column, and the step to the next column (-1: flipped).
        """
        assert self.padding is not None
        offsets, width = 2 * self.padding + 1, self.train[0].shape[2] - 2 * self.padding
        # One number per image holds flip, row and column.
        draws = torch.randint(0, offsets * offsets * (2 if self.flip else 1), (count,), generator=generator)
        flipped, place = draws >= offsets * offsets, draws % (offsets * offsets)
        rows, columns = place // offsets, place % offsets + flipped * (width - 1)
        crops = torch.stack([rows, columns, 1 - 2 * flipped.long()], dim=1)
        device = self.train[0].device
        if device.type == "cuda":
            crops = crops.pin_memory()
        return crops.to(device, non_blocking=True)

    def inputs(self, indices: Tensor, crops: Tensor | None = None) -> Inputs:
        """Model inputs of the training examples `indices` (int64, (b,), on the device).

        Images: one tensor (b, C, H, W) of the task's dtype, cropped and flipped as `crops` (b, 3) say, where the task
        augments. Text: (input ids, attention mask), int64 and bool, both (b, length), or (input ids,) for TextCNN.
        """
        if self.padding is None:
            return tuple(stored.index_select(0, indices) for stored in self.train)
        if crops is None:
            raise ValueError(f"task {self.name} augments its training images: inputs() needs crops")
        return (self._augmented(indices, crops, self.padding),)

    def test_inputs(self, start: int, stop: int) -> Inputs:
        """Model inputs of the test examples start <= i < stop, never augmented; shapes as from `inputs`."""
        part = tuple(stored[start:stop] for stored in self.test)
        if self.padding is None:
            return part
        return (_laid_out(self._normalised(part[0]).permute(0, 3, 1, 2)),)

    def plain_inputs(self, indices: Tensor) -> Inputs:
        """Model inputs of the training examples `indices`, never augmented; shapes as from `inputs`."""
        part = tuple(stored.index_select(0, indices) for stored in self.train)
        if self.padding is None:
            return part
        height, width = (size - self.padding for size in part[0].shape[1:3])
        images = part[0][:, self.padding : height, self.padding : width]
        return (_laid_out(self._normalised(images).permute(0, 3, 1, 2)),)

    def _normalised(self, images: Tensor) -> Tensor:
        # ToTensor, then Normalize: the same three operations in the same order, so float32 is bit-identical.
        assert self.mean is not None and self.std is not None  # they come with the padding
        return images.to(self.dtype).div_(255).sub_(self.mean).div_(self.std)

    def _augmented(self, indices: Tensor, crops: Tensor, padding: int) -> Tensor:
        stored = self.train[0]
        height, width = stored.shape[1] - 2 * padding, stored.shape[2] - 2 * padding
        if self._grid is None or self._grid[0].device != stored.device:
            self._grid = (
                torch.arange(height, device=stored.device),
                torch.arange(width, device=stored.device),
            )
        row, column, step = crops[:, :, None].unbind(1)
        rows = row + self._grid[0]
        columns = torch.addcmul(column, step, self._grid[1])
        cropped = stored[indices[:, None, None], rows[:, :, None], columns[:, None, :]]
        # Stored with channels last: a pixel is gathered at once, and the result is already in channels_last
        # layout, which GPUs like. On the CPU torch's BatchNorm adds such images up in float32 one number after
        # another and loses three digits (https://github.com/pytorch/pytorch/issues/121651); contiguous ones it adds
        # up exactly. Double precision has digits to lose.
        images = self._normalised(cropped).permute(0, 3, 1, 2)
        return images.contiguous() if images.is_cpu and images.dtype is torch.float32 else _laid_out(images)


# Prepared tasks of this process: a warm worker fills it before forking, so its children share the memory.
_TASKS: dict[tuple, Task] = {}

# What a prepared task depends on, besides device, precision and folder.
_KEYS = (
    "kind",
    "dataset",
    "classes",
    "normalize",
    "augment",
    "max_length",
    "vocab_size",
    "split",
    "synthetic",
)


def _origin(note: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record says of the data, from the note beside the prepared file."""
    about = note.get("set", {})
    digest = about.get("content_sha256", note.get("content_sha256"))
    return {"set": about.get("name"), "content_sha256": digest, "copy_of": about.get("copy_of")}


def _stored(path: Path, name: str, kind: str, data_dir: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays of a prepared file and the note beside it."""
    arrays = load_arrays(path, remedy=f"run: dualgrad data {name} --data-dir {data_dir}")
    note = read_note(path)
    held = note.get("set", {}).get("name", name)
    if held != name:
        remedy = f"delete it and run: dualgrad data {name} --data-dir {data_dir}"
        raise DataError(f"{path} is altered: it holds the data set {held}, not {name}; {remedy}")
    found = note.get("set", {}).get("kind", kind)
    if found != kind:
        raise DataError(f"task.kind: {kind}, but the data set {name} is of the kind {found}")
    return arrays, note


def _image_task(task: Mapping[str, Any], dtype: torch.dtype, data_dir: Path) -> Task:
    name, note = task["dataset"], dict[str, Any]()
    if task.get("synthetic"):
        arrays = synthetic.images(task)
    else:
        arrays, note = _stored(content_path(data_dir, name), name, "image", data_dir)
    source = task.get("split") or "train"
    if f"{source}_images" not in arrays:
        raise DataError(f"data set {name} has no split {source!r}")
    shape = arrays["train_images"].shape[1:]
    given = task.get("normalize") or note.get("set", {}).get("normalize")
    if given is None and task.get("synthetic"):  # the set would say, but it is not there
        given = {"mean": [0.5] * shape[0], "std": [0.25] * shape[0]}
    if given is None:
        raise DataError(f"task.normalize is missing, and {name} does not say how its images are normalised")
    if len(given["mean"]) != shape[0] or len(given["std"]) != shape[0]:
        raise DataError(
            f"task.normalize has {len(given['mean'])} means and {len(given['std'])} standard deviations, "
            f"but {name} has {shape[0]} channel(s)"
        )
    _check_classes(task, note)
    real: Any = np.float64 if dtype == torch.float64 else np.float32
    mean, std = np.asarray(given["mean"], dtype=real), np.asarray(given["std"], dtype=real)

    common: dict[str, Any] = {
        "name": name,
        "kind": "image",
        "classes": int(task["classes"]),
        "train_labels": torch.from_numpy(arrays[f"{source}_labels"]),
        "test_labels": torch.from_numpy(arrays["test_labels"]),
        "model_options": {"inputs": math.prod(shape), "shape": [int(size) for size in shape]},
        "origin": _origin(note) if note else {},
        "definition": note.get("set", {}).get("definition"),
    }
    augment = task.get("augment")
    # NumPy, not torch, does the arithmetic: it starts no OpenMP threads, which would not survive a fork.
    if not augment:
        stored: dict[str, Inputs] = {}
        for target, split in (("train", source), ("test", "test")):
            images = arrays[f"{split}_images"].astype(real) / real(255)
            images = (images - mean[:, None, None]) / std[:, None, None]
            stored[target] = (torch.from_numpy(images).to(dtype),)
        return Task(**common, train=stored["train"], test=stored["test"])
    padding = int(augment["crop_padding"])
    border = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    train = np.pad(arrays[f"{source}_images"].transpose(0, 2, 3, 1), border)
    test = np.ascontiguousarray(arrays["test_images"].transpose(0, 2, 3, 1))
    return Task(
        **common,
        train=(torch.from_numpy(train),),
        test=(torch.from_numpy(test),),
        padding=padding,
        flip=bool(augment["flip"]),
        dtype=dtype,
        mean=torch.from_numpy(mean).to(dtype),
        std=torch.from_numpy(std).to(dtype),
    )


def _check_classes(task: Mapping[str, Any], note: Mapping[str, Any]) -> None:
    held = note.get("set", {}).get("classes", task["classes"])
    if held != task["classes"]:
        raise DataError(f"task.classes: {task['classes']}, but the data set {task['dataset']} has {held}")


def _text_arrays(
    task: Mapping[str, Any], model: str, data_dir: Path
) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, Any]]:
    """Token numbers and labels of all splits, what the model has to know about them, and the note beside them."""
    name, reader, note = task["dataset"], reader_of(model), dict[str, Any]()
    if task.get("synthetic"):
        arrays = synthetic.token_ids(task, reader)
    else:
        arrays, note = _stored(tokens_path(data_dir, name, reader), name, "text", data_dir)
    _check_classes(task, note)
    options: dict[str, Any] = {"vocab_size": int(arrays["vocabulary"])}
    if "cut" in arrays:  # a vocabulary of the set's own: rarer words are unknown ones
        options["vocab_size"] = vocabulary = int(task.get("vocab_size") or arrays["cut"])
        for key in [key for key in arrays if key.endswith("_ids")]:
            arrays[key] = np.where(arrays[key] < vocabulary, arrays[key], UNKNOWN)
    pretrained = model == "distilbert" and task["model"].get("pretrained", True)
    if pretrained and model_folder(data_dir).is_dir():
        options["path"] = str(checked_model_folder(data_dir))
    return arrays, options, note


def _text_task(task: Mapping[str, Any], data_dir: Path) -> Task:
    model = (task.get("model") or {}).get("name", "")
    arrays, options, note = _text_arrays(task, model, data_dir)
    source = task.get("split") or "train"
    if f"{source}_ids" not in arrays:
        raise DataError(f"data set {task['dataset']} has no split {source!r}")
    inputs: dict[str, Inputs] = {}
    for target, split in (("train", source), ("test", "test")):
        ids = arrays[f"{split}_ids"]
        length = int(task.get("max_length") or ids.shape[1])
        full = np.zeros((len(ids), length), dtype=np.int64)
        kept = min(length, ids.shape[1])
        full[:, :kept] = ids[:, :kept]
        parts = (full,) if model == "textcnn" else (full, full != 0)
        inputs[target] = tuple(map(torch.from_numpy, parts))
    return Task(
        name=task["dataset"],
        kind="text",
        classes=int(task["classes"]),
        train_labels=torch.from_numpy(arrays[f"{source}_labels"]),
        test_labels=torch.from_numpy(arrays["test_labels"]),
        model_options=options,
        origin=_origin(note) if note else {},
        definition=note.get("set", {}).get("definition"),
        train=inputs["train"],
        test=inputs["test"],
    )


def load_task(
    run: Mapping[str, Any],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    data_dir: Path | str = "data",
) -> Task:
    """The task of a resolved run (or of its `task` block), with its examples on `device`.

    Prepared once per process for equal data, normalisation, augmentation, device and dtype; for a GPU on the host
    first, where a process that forks may have done it before.
    Raises DataError where the data are missing, damaged or do not fit the run.
    """
    task = run.get("task", run)
    device, data_dir = torch.device(device), Path(data_dir)
    model = task.get("model") or {}
    text_model = (model.get("name"), model.get("pretrained", True)) if task["kind"] == "text" else None
    what = (repr([task.get(name) for name in _KEYS]), text_model, dtype, str(data_dir.resolve()))
    host, here = (what, torch.device("cpu")), (what, device)
    if here not in _TASKS:
        if host not in _TASKS:
            if task["kind"] == "image":
                _TASKS[host] = _image_task(task, dtype, data_dir)
            elif task["kind"] == "text":
                _TASKS[host] = _text_task(task, data_dir)
            else:
                raise DataError(f"unknown task kind {task['kind']!r}; expected image or text")
        if here != host:
            _TASKS[here] = _TASKS[host].to(device)
    return _TASKS[here]
