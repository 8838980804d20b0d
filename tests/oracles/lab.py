"""Tiny tasks and runs for the tests of the trainer, and what oracle and trainer may share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dualgrad import models
from dualgrad.census.run import Stage, read
from dualgrad.data.task import Task
from dualgrad.records import write_record
from dualgrad.training import checkpoints
from dualgrad.training.batches import StructureOrder, trusted_batches
from dualgrad.training.labels import Labels, make_labels
from dualgrad.training.streams import Streams
from dualgrad.training.trainer import Context, train
from oracles import plain

TOLERANCE = 1e-10
FLOAT = torch.float64


# Tasks ----------------------------------------


def vectors(n_train: int = 150, n_test: int = 60, classes: int = 4, size: int = 12) -> Task:
    """Overlapping clusters of vectors, kept as given: no augmentation."""
    g = torch.Generator().manual_seed(11)
    centres = torch.randn(classes, size, generator=g, dtype=FLOAT)

    def part(n: int) -> tuple[Tensor, Tensor]:
        labels = torch.arange(n) % classes
        return centres[labels] + 1.2 * torch.randn(n, size, generator=g, dtype=FLOAT), labels

    (train_x, train_y), (test_x, test_y) = part(n_train), part(n_test)
    return Task("vectors", "image", classes, train_y, test_y, (train_x,), (test_x,), dtype=FLOAT)


def pictures(n_train: int = 64, n_test: int = 24, classes: int = 3, size: int = 10) -> Task:
    """Small uint8 pictures that are cropped and flipped at random, for convolutional networks."""
    g = torch.Generator().manual_seed(12)
    padding = 1
    base = torch.randint(0, 256, (classes, size, size, 3), generator=g)

    def part(n: int, border: int) -> tuple[Tensor, Tensor]:
        labels = torch.arange(n) % classes
        noise = torch.randint(-90, 90, (n, size, size, 3), generator=g)
        images = (base[labels] + noise).clamp(0, 255).to(torch.uint8)
        return nn.functional.pad(images, (0, 0, border, border, border, border)), labels

    (train_x, train_y), (test_x, test_y) = part(n_train, padding), part(n_test, 0)
    return Task(
        "pictures",
        "image",
        classes,
        train_y,
        test_y,
        (train_x,),
        (test_x,),
        padding=padding,
        flip=True,
        dtype=FLOAT,
        mean=torch.tensor([0.5, 0.5, 0.5], dtype=FLOAT),
        std=torch.tensor([0.25, 0.25, 0.25], dtype=FLOAT),
    )


def sentences(masked: bool, n_train: int = 150, n_test: int = 40, length: int = 8, words: int = 30) -> Task:
    """Token sequences of two classes; with a mask for DistilBERT, without one for TextCNN."""
    g = torch.Generator().manual_seed(13)

    def part(n: int) -> tuple[tuple[Tensor, ...], Tensor]:
        labels = torch.arange(n) % 2
        tokens = torch.randint(2, words, (n, length), generator=g)
        marks = torch.where(torch.rand(n, length, generator=g) < 0.3, labels[:, None] + 2, tokens)
        lengths = torch.randint(length // 2, length + 1, (n, 1), generator=g)
        mask = torch.arange(length) < lengths
        tokens = torch.where(mask, marks, torch.zeros_like(marks))
        return ((tokens, mask) if masked else (tokens,)), labels

    (train_x, train_y), (test_x, test_y) = part(n_train), part(n_test)
    return Task("sentences", "text", 2, train_y, test_y, train_x, test_x, dtype=FLOAT)


class TinyDropout(nn.Module):
    """BatchNorm and dropout in one small network, in the order of P2's heads."""

    head_modules = ("net.4",)

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(12, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Dropout(0.5), nn.Linear(10, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TinyConvolutions(nn.Module):
    """Two BatchNorm layers over maps larger than one pixel, so that a batch of one example is legal."""

    head_modules = ("net.8",)

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(6 * 25, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


MLP = {"name": "mlp", "hidden": [10, 8], "inputs": 12}
RESNET = {"name": "resnet18_own", "width": 1 / 16}
# Tiny networks under the names of large ones, whose place they take: see Lab.
DROPOUT = {"name": "simplecnn_p2"}
CONVOLUTIONS = {"name": "simplecnn_p"}
BERT = {"name": "distilbert_mini", "dim": 8, "layers": 1, "heads": 2, "max_position": 8, "vocab_size": 30}
CNN = {"name": "textcnn", "dim": 6, "filters": 4, "vocab_size": 30}


# Runs ----------------------------------------


def stage(name: str = "main", segments: list | None = None, **changes) -> dict:
    """A stage as a run's entry writes it; ``segments`` may be (λ, epochs) or (λ, epochs, direction) tuples."""
    given = [
        s
        if isinstance(s, dict)
        else dict(zip(("lambda", "epochs", "direction"), (*s, None)[:3], strict=True))
        for s in segments or []
    ]
    own = {"name": name, "session": name, "segments": given, "evaluate": {"every": 1}, "save": True}
    return own | changes


def stage_model(*given, **changes) -> Stage:
    """The same as the trainer has it."""
    return Stage.model_validate(stage(*given, **changes))


def continued(name: str, session: str, segments: list, **changes) -> dict:
    """A stage that goes on with the session before it."""
    return stage(name, segments, start={"kind": "continue"}, session=session, schedule=None, **changes)


def multistep(*milestones: int) -> dict:
    """Schedule block of a stage."""
    return {"kind": "multistep", "milestones": list(milestones), "gamma": 0.1}


def run_of(task: Task, model: dict, stages: list[dict], /, *, name: str = "test/run", **changes) -> dict:
    """A resolved run on a tiny task, with the defaults of the run's models.

    ``changes`` replace whole blocks; ``value``, ``log`` and ``task`` are merged.
    """
    experiment, label = name.split("/")
    text = task.kind == "text"
    run = {
        **{"experiment": experiment, "run": label, "series": "A-Q", "edition": "test"},
        "seed": 3,
        "streams": {"group": experiment},
        "task": {
            "kind": task.kind,
            "dataset": task.name,
            "classes": task.classes,
            "normalize": None,
            "augment": None,
            "model": model,
            "batch_size": 16 if text else 32,
            "drop_last": text,
            "eval_batch_size": 25,
            "subset": 100 if text else None,
        },
        "noise": {"kind": "symmetric", "rate": 0.4, "seed_offset": 1000},
        "value": {},
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
        "stages": stages,
        "log": {"epochs": True},
        "saves": True,
    }
    if text:
        run |= {
            "noise": {"kind": "text_pool", "rate": 0.4, "seed_offset": 10000},
            "value": {"labels": "trusted_batches", "period": 1, "trusted": {"ratio": 0.25}},
            "optimizer": {"name": "adamw", "lr": 2e-3, "weight_decay": 0.01},
            "head_cosine_every": 3,
        }
    merged = {key: {**run[key], **changes.pop(key)} for key in ("value", "log", "task") if key in changes}
    return read({**run, **merged, **changes}).plain()


class Lab:
    """Trains runs on tiny tasks in a folder of its own, and gives the oracle what it may share with the trainer."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.context = Context(folder / "runs", folder / "checkpoints", folder / "data")
        self.tasks: dict[str, Task] = {}
        self.largest = 0.0
        monkeypatch.setattr(
            "dualgrad.training.trainer.load_task", lambda task, *rest: self.tasks[task["dataset"]]
        )
        for place, network in ((DROPOUT, TinyDropout), (CONVOLUTIONS, TinyConvolutions)):
            monkeypatch.setitem(
                models._BUILDERS, place["name"], lambda spec, classes, network=network: network(classes)
            )

    def add(self, task: Task) -> Task:
        """Make a task known to the trainer."""
        return self.tasks.setdefault(task.name, task)

    def train(self, run: dict, **context) -> tuple[dict, dict]:
        """Train a run; its record and weights are written where runs that need them look."""
        settings = Context(**{**self.context.__dict__, **context})
        record, weights = train(run, settings)
        name = f"{run['experiment']}/{run['run']}"
        if weights:
            checkpoints.save(
                settings.checkpoint_of(name), {"run": name, "seed": run["seed"], "stages": weights}
            )
        write_record(settings.records / f"{name}.json", record)
        return record, weights

    # ------------------------------------------------------------------ what the oracle shares

    def labels(self, run: dict, seed: int | None = None) -> Labels:
        """Label tables; their fixtures are tested elsewhere."""
        return make_labels(
            read(run), self.tasks[run["task"]["dataset"]].train_labels, run["seed"] if seed is None else seed
        )

    def streams(self, run: dict, seed: int, session: str) -> Streams:
        """The private streams of one session."""
        return Streams(run["streams"]["group"], run["streams"]["replicate"], seed, session)

    def model(self, run: dict, seed: int) -> nn.Module:
        """SEED(seed) and model, in double precision."""
        return models.build_model(run["task"]["model"], run["task"]["classes"], seed).to(FLOAT)

    def session(
        self,
        run: dict,
        label: str = "main",
        *,
        lr: float | None = None,
        offset: int = 0,
        base: int | None = None,
        weights: dict[str, Tensor] | None = None,
        optimizer=plain.sgd,
    ) -> Bench:
        """An oracle session: SEED(base + offset), model, weights if given, a new optimiser, t = 0, empty cache."""
        base = run["seed"] if base is None else base
        task, seed = self.tasks[run["task"]["dataset"]], base + offset
        streams, tables = self.streams(run, seed, label), self.labels(run, base)
        model = self.model(run, seed)
        if weights is not None:
            model.load_state_dict(weights)
        bench = Bench(task, run, streams, tables)
        session = plain.Session(
            model,
            optimizer(model, run["optimizer"]["lr"] if lr is None else lr),
            bench.images,
            tables.noisy,
            tables.value,
            begin_epoch=bench.begin_epoch,
            normals=bench.normals,
        )
        bench.session, bench.model = session, model
        return bench

    # ------------------------------------------------------------------ comparisons

    def close(self, found: float | None, wanted: float | None, what: str) -> None:
        """Assert that two numbers agree to 1e-10."""
        if wanted is None or found is None:
            assert found is None and wanted is None, f"{what}: {found} against {wanted}"
            return
        difference = abs(found - wanted)
        self.largest = max(self.largest, difference)
        assert difference <= TOLERANCE, f"{what}: {found} against {wanted}"

    def same_weights(self, found: dict[str, Tensor], model: nn.Module) -> None:
        """Assert that weights and BatchNorm buffers agree to 1e-10, counters exactly."""
        wanted = model.state_dict()
        assert found.keys() == wanted.keys()
        for name, tensor in wanted.items():
            if tensor.is_floating_point():
                difference = (found[name] - tensor).abs().max().item()
                self.largest = max(self.largest, difference)
                assert difference <= TOLERANCE, f"{name}: differs by {difference}"
            else:
                assert torch.equal(found[name], tensor), f"{name}: {found[name]} against {tensor}"

    def same_errors(
        self, record: dict, errors: list[float], losses: list[float] | None = None, **where
    ) -> None:
        """Assert that the evaluations of a record (of one stage: ``stage="…"``) are these, in this order."""
        rows = rows_of(record, "evaluations", **where)
        assert len(rows) == len(errors)
        for number, (row, error) in enumerate(zip(rows, errors, strict=True)):
            self.close(row["test_error"], error, f"error of evaluation {number}")
            if losses is not None:
                self.close(row["test_loss"], losses[number], f"loss of evaluation {number}")

    def same_epochs(
        self, record: dict, epochs: list[list[dict]], fields: tuple[str, ...] | None = None
    ) -> None:
        """Assert that the epoch log of a record has the means of these steps."""
        rows = rows_of(record, "epochs")
        assert len(rows) == len(epochs)
        means = {
            "loss_struct": "loss_struct",
            "norm_struct": "norm_struct",
            "norm_value": "norm_value",
            "norm_mix": "norm_mix",
            "cos_mix_value": "cos_mix_value",
            "loss_value": "loss_value",
        }
        for number, (row, steps) in enumerate(zip(rows, epochs, strict=True)):
            assert row["n_steps"] == len(steps)
            for field, key in means.items():
                if fields is not None and field not in fields:
                    continue
                known = any(step.get(key) is not None for step in steps)
                self.close(
                    row[field], plain.mean(steps, key) if known else None, f"{field} of epoch {number}"
                )
            cosines = [step[key] for step in steps for key in ("cos", "c_sv") if key in step]
            if cosines:
                self.close(row["cos_mean"], plain.mean(cosines), f"cos_mean of epoch {number}")
                self.close(row["cos_std"], plain.population_sd(cosines), f"cos_std of epoch {number}")
                self.close(row["cos_min"], min(cosines), f"cos_min of epoch {number}")
                self.close(row["cos_max"], max(cosines), f"cos_max of epoch {number}")


class Bench:
    """One oracle session with the batches, images and random numbers that the trainer has under the same names."""

    session: plain.Session
    model: nn.Module

    def __init__(self, task: Task, run: dict, streams: Streams, tables: Labels):
        self.task, self.run, self.streams, self.tables = task, run, streams, tables
        block = run["task"]
        self.order = StructureOrder(
            tables.structure, block["batch_size"], block["drop_last"], block["steps_per_epoch"], streams
        )
        self.errors: list[float] = []
        self.losses: list[float] = []
        self._generators: dict[str, torch.Generator] = {}

    def begin_epoch(self, epoch: int) -> None:
        """Fresh generators for the epoch's crops and random directions, and the seed of its dropout masks."""
        self._generators = {name: self.streams.generator(name, epoch) for name in ("augment", "direction")}
        torch.manual_seed(self.streams.seed_for("dropout", epoch))

    def images(self, indices: Tensor, epoch: int) -> tuple[Tensor, ...]:
        """Model inputs of a batch."""
        crops = self.task.crops(len(indices), self._generators["augment"]) if self.task.augments else None
        return self.task.inputs(indices, crops)

    def normals(self) -> Tensor:
        """Standard normal numbers, parameter after parameter."""
        draws = [
            torch.randn(p.shape, generator=self._generators["direction"], dtype=p.dtype)
            for p in self.model.parameters()
        ]
        return torch.cat([draw.reshape(-1) for draw in draws])

    def batches(self) -> Iterator[Tensor]:
        """Index batches of the session's next epoch."""
        return self.order.epoch(self.session.epochs)

    def value_batches(self) -> Iterator[Tensor]:
        """Trusted batches of the session's next epoch."""
        return trusted_batches(
            self.tables.trusted, self.run["task"]["batch_size"], self.session.epochs, self.streams
        )

    def evaluate(self) -> float:
        """Evaluate now and note error and loss."""
        inputs = self.task.test_inputs(0, self.task.n_test)
        error, loss = plain.evaluate(
            self.model, inputs, self.task.test_labels, self.run["task"]["eval_batch_size"]
        )
        self.errors.append(error)
        self.losses.append(loss)
        return error


def rows_of(record: dict, block: str, **where) -> list[dict]:
    """Rows of a block of a record's trajectory."""
    columns = record["trajectory"].get(block, {})
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [row for row in rows if all(row[key] == value for key, value in where.items())]


def finite(value) -> bool:
    """Whether nothing in a JSON value is NaN or infinite."""
    if isinstance(value, dict):
        return all(finite(v) for v in value.values())
    if isinstance(value, list):
        return all(finite(v) for v in value)
    return not isinstance(value, float) or math.isfinite(value)
