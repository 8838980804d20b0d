"""The published training loop, as a user of the notebooks ran it: what the benchmarks compare with.

Written from docs/specification (A-G.md#1, I-P.md#0, Q-R.md#1, S-T.md#0, Td-W.md#1, X-Y.md#1): PIL transforms in a
DataLoader with worker processes, a second forward pass on refresh steps, gradients as flat vectors that are cloned,
mixed and copied back parameter by parameter, torch's optimizers as they come, evaluation through a loader, models as
their libraries define them, cuDNN as published. It does what the loop did and nothing to make it slower.
Two liberties, so that both sides train the same: the batches of an epoch are given (in a small edition it has only a
few), and the arithmetic is that of the run (published: float32).

As a module (``python -m dualgrad.bench.baseline JOB.json``) it trains one whole run in a process of its own.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from dualgrad.census.run import Augment, Multistep, Normalize, Run, Warmup, read
from dualgrad.models import head_parameters

EPS = 1e-12
WORKERS = 4
OPTIMIZERS = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW, "adam": torch.optim.Adam}

# Experiments by the cuDNN switches of their notebooks (A-G.md#1.5, I-P.md#0, Q-R.md#1.3); later
# ones were deterministic.
_BENCHMARKED = {
    *("A", "B", "B2", "B3", "C", "D1", "D2", "D3", "G"),
    *("I", "J", "K", "L", "M1", "M2", "M3", "N1", "N2", "O", "P"),
}
_DEFAULTS = {"M3b", "P2", "Q1", "Q2", "Q3", "Q4"}
# Series whose notebooks measured the cosine between the two gradients at every step (I-P.md#0, Q-R.md#1.5,
# S-T.md#0.7).
_COSINES = tuple("IJKLMNOPQRS")


# ------------------------------------------------------------------------------------------------------- data


class Images(Dataset):
    """Images with their label and index, each decoded and transformed on its own, as torchvision's CIFAR sets are."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable):
        """``images``: uint8 (n, channels, height, width)."""
        self._images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        self._labels, self._transform = labels.tolist(), transform

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        from PIL import Image

        pixels = self._images[index]
        picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        return self._transform(picture), self._labels[index], index


def transforms(
    augment: Augment | None, normalize: Normalize, size: tuple[int, int], dtype: torch.dtype, train: bool
) -> Callable:
    """Return the transforms of a task's pictures (A-G.md#1.1): crop, flip, to tensor, normalise."""
    from torchvision import transforms as tv

    steps: list[Callable] = []
    if train and augment:
        steps.append(tv.RandomCrop(size, padding=augment.crop_padding))
        if augment.flip:
            steps.append(tv.RandomHorizontalFlip())
    # ToTensor makes float32, the published precision.
    double = dtype == torch.float64
    steps += [tv.PILToTensor(), tv.ConvertImageDtype(dtype)] if double else [tv.ToTensor()]
    steps.append(tv.Normalize(list(normalize.mean), list(normalize.std)))
    return tv.Compose(steps)


class Sentences(Dataset):
    """Token tensors of single sentences, with label and index."""

    def __init__(self, inputs: Sequence[Tensor], labels: Tensor):
        self._inputs, self._labels = [part.cpu() for part in inputs], labels.cpu()

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor | int, ...]:
        return *(part[index] for part in self._inputs), self._labels[index], index


class Passes:
    """A batch sampler over the passes of an epoch: each iteration is the next one.

    Attributes:
        batches: index batches by epoch and number of the pass within it.
    """

    def __init__(self, batches: Callable[[int, int], Iterable[Tensor]]):
        self.batches = batches
        self._epoch = self._again = 0

    def begin(self, epoch: int) -> None:
        """Begin an epoch."""
        self._epoch, self._again = epoch, 0

    def __iter__(self) -> Iterator[list[int]]:
        # A generator: loaders with processes ask for an iterator twice and use one of them.
        number, self._again = self._again, self._again + 1
        # All at once: numbers that lie on a GPU would make every batch wait for the step before it.
        yield from [batch.tolist() for batch in self.batches(self._epoch, number)]


# ------------------------------------------------------------------------------------------------- the update


def gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """Return the gradients that a backward pass has left."""
    return [p.grad for p in parameters if p.grad is not None]


def flat_gradient(model: nn.Module) -> Tensor:
    """Return all gradients as one vector of its own."""
    return torch.cat([one.view(-1) for one in gradients(model.parameters())]).clone()


def put_gradient(model: nn.Module, vector: Tensor) -> None:
    """Copy the pieces of a vector back into the parameters' gradients."""
    start = 0
    for one in gradients(model.parameters()):
        one.copy_(vector[start : start + one.numel()].view_as(one))
        start += one.numel()


@dataclass
class Loop:
    """The published loop over one training session.

    Attributes:
        run: the resolved run; its first stage is trained.
        model: on ``device``, in the arithmetic of the run.
        noisy, value: label tables on the device.
        trusted: (n,) mask of trusted examples on the device, or None.
        train, test: loaders of (inputs …, label, index).
        values: loader of trusted batches (text), or None.
        order, value_order: the batches of ``train`` and ``values``.
        total: updates planned (for the warm-up of the learning rate).
        min_trusted: fewest trusted examples of a batch that give a gradient (see the trainer).
        autocast: dtype of the training passes, or None.
    """

    run: Run
    model: nn.Module
    noisy: Tensor
    value: Tensor
    trusted: Tensor | None
    train: DataLoader
    test: DataLoader
    values: DataLoader | None
    order: Passes
    value_order: Passes
    device: torch.device
    total: int
    min_trusted: int = 1
    autocast: torch.dtype | None = None
    t: int = 0
    epochs: int = 0
    cache: Tensor | None = None

    def __post_init__(self) -> None:
        run, stage = self.run, self.run.stages[0]
        settings = {key: value for key, value in run.optimizer.plain().items() if key not in ("name", "lr")}
        lr = stage.lr if stage.lr is not None else run.optimizer.lr
        self.optimizer = OPTIMIZERS[run.optimizer.name](self.model.parameters(), lr=lr, **settings)
        self.per_epoch: torch.optim.lr_scheduler.LRScheduler | None = None
        self.per_update: torch.optim.lr_scheduler.LRScheduler | None = None
        schedule = stage.schedule
        if isinstance(schedule, Multistep):
            self.per_epoch = torch.optim.lr_scheduler.MultiStepLR(
                self.optimizer, list(schedule.milestones), schedule.gamma
            )
        elif isinstance(schedule, Warmup):
            warmup, total = int(schedule.warmup * self.total), self.total
            self.per_update = torch.optim.lr_scheduler.LambdaLR(
                self.optimizer, lambda k: k / warmup if k < warmup else (total - k) / max(1, total - warmup)
            )
        self.text = run.task.kind == "text"
        self.cosines: list[float] = []
        self.losses: list[tuple[float, float]] = []

    def _backward(
        self, inputs: Sequence[Tensor], labels: Tensor, retain: bool = False
    ) -> tuple[Tensor, Tensor]:
        self.optimizer.zero_grad()
        loss = self._loss(inputs, labels)
        loss.backward(retain_graph=retain)
        return loss, flat_gradient(self.model)

    def _loss(self, inputs: Sequence[Tensor], labels: Tensor) -> Tensor:
        with torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            logits = self.model(*inputs)
        return nn.functional.cross_entropy(logits.float() if self.autocast else logits, labels)

    def step(self, inputs: Sequence[Tensor], index: Tensor, lam: float, trusted: tuple | None = None) -> None:
        """Do one update; ``trusted``: inputs and indices of a batch of trusted examples (text)."""
        method = self.run.method
        if self.text:
            assert trusted is not None
            self._text(inputs, index, lam, *trusted)
        elif method == "dual":
            self._dual(inputs, index, lam)
        else:
            self.optimizer.zero_grad()
            noisy = self.noisy[index]
            if method == "lossmix":
                logits = self.model(*inputs)
                clean = nn.functional.cross_entropy(logits, self.value[index])
                loss = (1 - lam) * nn.functional.cross_entropy(logits, noisy) + lam * clean
            else:
                loss = self._loss(inputs, noisy)
            loss.backward()
        self.optimizer.step()
        if self.per_update is not None:
            self.per_update.step()
        self.t += 1

    def _dual(self, inputs: Sequence[Tensor], index: Tensor, lam: float) -> None:
        """DUAL and DUAL-TRUSTED (A-G.md#1.9): the value gradient of every K-th step stays in use until the next."""
        value = self.run.value
        _, structure = self._backward(inputs, self.noisy[index], retain=True)
        if self.t % value.period == 0 or self.cache is None:
            labels = self.value[index]
            if self.trusted is not None and value.labels == "trusted":
                where = self.trusted[index].nonzero().squeeze(1)
                if len(where) >= self.min_trusted:
                    _, self.cache = self._backward([part[where] for part in inputs], labels[where])
                elif self.cache is None:
                    self.cache = structure
            else:
                self.cache = value.sign * self._backward(inputs, labels)[1]
        structure = structure / (structure.norm() + EPS)
        cached = self.cache / (self.cache.norm() + EPS)
        if self.run.experiment.startswith(_COSINES):
            self.cosines.append(torch.dot(structure, cached).item())
        mixed = (1 - lam) * structure + lam * cached
        if self.run.renormalize:
            mixed = mixed / (mixed.norm() + EPS)
        put_gradient(self.model, mixed)

    def _text(
        self,
        inputs: Sequence[Tensor],
        index: Tensor,
        lam: float,
        trusted_inputs: Sequence[Tensor],
        trusted_index: Tensor,
    ) -> None:
        """The update of X and Y (X-Y.md#1.5): a batch of trusted examples at every step, no eps, no cache."""
        loss_s, structure = self._backward(inputs, self.noisy[index])
        heads = [self._head()]
        loss_v, value = self._backward(trusted_inputs, self.value[trusted_index])
        heads.append(self._head())
        self.losses.append((loss_s.item(), loss_v.item()))
        every = self.run.head_cosine_every
        if every and (self.t + 1) % every == 0:
            self.cosines.append(nn.functional.cosine_similarity(heads[0], heads[1], dim=0).item())
        units = []
        for gradient in (structure, value):
            norm = gradient.norm()
            units.append(gradient / norm if norm > 0 else gradient)
        put_gradient(self.model, (1 - lam) * units[0] + lam * units[1])

    def _head(self) -> Tensor:
        wanted = set(head_parameters(self.model))
        head = [p for name, p in self.model.named_parameters() if name in wanted]
        return torch.cat([one.view(-1).clone() for one in gradients(head)])

    def epoch(self, lam: float, after: Callable[[], None] = lambda: None) -> None:
        """Train one epoch; ``after`` is called after each step."""
        self.model.train()
        for order in (self.order, self.value_order):
            order.begin(self.epochs)
        self.epochs += 1
        values = iter(self.values) if self.values is not None else None
        for batch in self.train:
            inputs, index = self._moved(batch)
            trusted = None
            if self.values is not None and values is not None:
                try:
                    other = next(values)
                except StopIteration:  # "re-created whenever exhausted"
                    values = iter(self.values)
                    other = next(values)
                trusted = self._moved(other)
            self.step(inputs, index, lam, trusted)
            after()
        if self.per_epoch is not None:
            self.per_epoch.step()

    def _moved(self, batch: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        *inputs, _, index = (part.to(self.device, non_blocking=True) for part in batch)
        return inputs, index

    @torch.no_grad()
    def evaluate(self) -> float:
        """Return the error on the whole clean test set."""
        self.model.eval()
        correct = total = 0
        losses = []
        for batch in self.test:
            *inputs, labels, _ = (part.to(self.device, non_blocking=True) for part in batch)
            logits = self.model(*inputs)
            correct += (logits.argmax(dim=1) == labels).sum().item()
            total += len(labels)
            if self.text:
                losses.append(nn.functional.cross_entropy(logits, labels).item())
        self.model.train()
        return 1 - correct / total


@contextlib.contextmanager
def published_switches(experiment: str) -> Iterator[None]:
    """Set cuDNN's switches as an experiment's notebook did, for the duration of a block."""
    cudnn = torch.backends.cudnn
    before = (cudnn.benchmark, cudnn.deterministic, torch.are_deterministic_algorithms_enabled())
    cudnn.benchmark = experiment in _BENCHMARKED
    cudnn.deterministic = experiment not in _BENCHMARKED | _DEFAULTS
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before[:2]
        torch.use_deterministic_algorithms(before[2])


def keeps_workers(experiment: str) -> bool:
    """Return whether an experiment's notebook kept its loaders' processes from epoch to epoch."""
    return experiment in _BENCHMARKED


def main(path: Path) -> None:
    """Train the run of a job file ({run, data_dir, device, threads, workers}); write its errors to ``output``."""
    from dualgrad.bench.sides import make_sides

    job = json.loads(path.read_text())
    run = read(job["run"])
    sides = make_sides(
        run,
        Path(job["data_dir"]),
        torch.device(job["device"]),
        job["threads"],
        job["workers"],
    )
    errors = []
    with published_switches(run.experiment):
        for planned in sides.plan:
            sides.loop.epoch(planned.lam or 0.0)
            if planned.evaluate:
                errors.append(sides.loop.evaluate())
    Path(job["output"]).write_text(json.dumps({"test_errors": errors}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
