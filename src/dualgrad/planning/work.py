"""How much a run trains: epochs, steps, and examples that pass through the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import accumulate
from math import ceil
from typing import Any

from dualgrad.census.run import has_two_gradients, trained_on, trusted_share
from dualgrad.planning.own_networks import measured

# Networks with dropout: their two gradients cannot share a forward pass (docs/specification/I-P.md#0).
DROPOUT = frozenset({"distilbert", "distilbert_mini", "textcnn", "vgg11_p2", "simplecnn_p2"})


@dataclass(frozen=True)
class Work:
    """What a run, or several, will do. Gates and stop rules end some runs sooner, so these are upper bounds.

    Attributes:
        runs: runs that train; a copy of another run does not.
        epochs: epochs.
        steps: optimizer steps.
        passes: examples that pass forward and back, for the structure gradient or for a value gradient of their own.
        shared: examples passed back once more, for a value gradient that shares the forward pass.
        evaluations: evaluations on the whole test set.
        evaluated: test examples passed forward in these.
    """

    runs: int = 0
    epochs: int = 0
    steps: int = 0
    passes: int = 0
    shared: int = 0
    evaluations: int = 0
    evaluated: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    @property
    def units(self) -> int:
        """Work in forward passes of one example; a backward pass counts as two."""
        return 3 * self.passes + 2 * self.shared + self.evaluated

    @property
    def units_published(self) -> int:
        """The same as the published loop did it: with a forward pass for every gradient (A-G.md#1.9)."""
        return self.units + self.shared


def work_of(run: Mapping[str, Any]) -> Work:
    """Count what a resolved run does."""
    if run["copy_of"]:
        return Work()
    task = run["task"]
    train, test = examples_of(run)
    batch = task["batch_size"]
    full, rest = divmod(train, batch)
    per_pass = max(1, full if task["drop_last"] or not rest else full + 1)
    per_epoch = task["steps_per_epoch"] or per_pass
    mean_batch = min(batch, train / per_pass)

    epochs = evaluations = 0
    sessions: list[int] = []  # steps of each; the value gradient's period runs on through a session
    for stage in run["stages"]:
        lengths = [(1, one["steps"]) if one.get("steps") else (one["epochs"], 0) for one in stage["segments"]]
        if run["max_steps"] is not None and lengths:
            lengths = [(1, run["max_steps"])]
        if run.get("max_epochs") is not None:
            lengths = _first_epochs(lengths, run["max_epochs"])
        if stage["start"]["kind"] != "continue":
            sessions.append(0)
        for count, steps in lengths:
            epochs += count
            sessions[-1] += steps or count * per_epoch
        evaluations += _evaluations(stage["evaluate"], [count for count, _ in lengths])
    steps = sum(sessions)
    apart, shared = _value_examples(run, sessions, mean_batch)
    passes = round(steps * mean_batch + apart)
    return Work(1, epochs, steps, passes, round(shared), evaluations, evaluations * test)


def _first_epochs(lengths: list[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """Return the epochs and steps of segments, without what lies beyond so many epochs."""
    ends = [0, *accumulate(count for count, _ in lengths)]
    return [
        (min(count, most - before), steps)
        for (count, steps), before in zip(lengths, ends[:-1], strict=True)
        if before < most
    ]


def examples_of(run: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many examples a run's epoch draws from, and how many it is evaluated on."""
    task, (train, test) = run["task"], (run["data"]["train"], run["data"]["test"])
    if isinstance(task["synthetic"], Mapping):
        train, test = task["synthetic"].get("train", train), task["synthetic"].get("test", test)
    train = task["subset"] or train
    left = trained_on(task, train)
    return left, test + train - left


def _evaluations(calendar: Mapping[str, Any], segments: list[int]) -> int:
    """Evaluations of a stage whose segments have so many epochs (training.plan says when)."""
    last = sum(segments)
    due = {last} if last else set()
    if calendar.get("at") == "segment_end":
        due.update(accumulate(segments))
    if calendar.get("every"):
        due.update(range(calendar["every"], last + 1, calendar["every"]))
    return len(due) + bool(calendar.get("before"))


def _value_examples(run: Mapping[str, Any], sessions: list[int], mean_batch: float) -> tuple[float, float]:
    """Examples passed for value gradients: with a forward pass of their own, and sharing the structure gradient's."""
    value, task = run["value"], run["task"]
    synthetic = value["synthetic"]
    if not has_two_gradients(run) or (synthetic and synthetic["about"] == "struct"):
        return 0.0, 0.0
    every = 1 if value["fresh_every_step"] else value["period"]
    steps = sum(ceil(updates / every) for updates in sessions)
    if value["labels"] == "trusted":  # those of the batch that are trusted
        return steps * mean_batch * trusted_share(value), 0.0
    if value["labels"] == "trusted_batches":
        trusted = trusted_share(value) * run["data"]["train"]
        return steps * trusted / ceil(trusted / task["batch_size"]), 0.0
    own = measured(run)
    if task["model"]["name"] in DROPOUT or (own is not None and own.apart):
        return steps * mean_batch, 0.0
    return 0.0, steps * mean_batch
