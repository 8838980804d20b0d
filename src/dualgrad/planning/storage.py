"""Memory and disk: what a run holds while it trains, and what it leaves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dualgrad.planning.networks import numbers_of
from dualgrad.planning.work import work_of

GIB = 2**30
MIB = 2**20
BYTES = {"float64": 8, "float32": 4, "published": 4}
# Bytes per example as the trainer holds it (images: at least uint8 with a border of 4; text: token numbers and mask).
RESIDENT = {"image": 3 * 40 * 40, "text": 9 * 128}
# A process with Python, torch and the networks' libraries; with CUDA those as well, and its context on the GPU.
PROCESS = {"cpu": 0.6 * GIB, "cuda": 3.0 * GIB}
CONTEXT = 0.6 * GIB
# Copies of the weights in a step: weights, both gradients, the cached value gradient, the mix and a temporary.
COPIES = 6
MOMENTS = {"sgd": 1, "adam": 2, "adamw": 2}
# Evaluation keeps nothing but a few layers' values at a time: about this share of what training keeps.
EVALUATION_SHARE = 0.25
# Allocators round up and hold back: the C library, told to keep what a step frees, more than a GPU's.
SLACK = {"cpu": 1.75, "cuda": 1.25}

# Bytes of a record: head and outcome, each stage, each row of its trajectory (least squares over the demo's records).
RECORD = {"head": 1750, "stage": 660, "evaluations": 70, "epochs": 240, "steps": 160}
# Tables hold the same in columns: about a fifth of the records (the demo's).
TABLES_SHARE = 0.2
# DistilBERT's published weights.
DISTILBERT = 268 * MIB


@dataclass(frozen=True)
class Memory:
    """Bytes that one run needs: ``host`` in main memory, ``device`` on the GPU (0 without one)."""

    host: int
    device: int


def memory(run: Mapping[str, Any], device: str = "cuda") -> Memory:
    """Estimate the memory of a resolved run, without importing torch (for a cluster's request: rather too much).

    Args:
        run: a resolved run of any edition that trains.
        device: ``cuda`` or ``cpu``.
    """
    task = run["task"]
    network, size = numbers_of(run), BYTES[run["precision"]]
    weights = (COPIES + MOMENTS[run["optimizer"]["name"]]) * network.parameters * size
    kept = max(task["batch_size"], EVALUATION_SHARE * task["eval_batch_size"]) * network.saved * size
    data = (run["data"]["train"] + run["data"]["test"]) * _resident(run, size)
    training = SLACK[device] * (weights + kept + data)
    if device == "cpu":
        return Memory(int(PROCESS["cpu"] + training + data), 0)
    return Memory(int(PROCESS["cuda"] + 2 * data), int(CONTEXT + training))


def _resident(run: Mapping[str, Any], size: int) -> int:
    """Bytes of an example as the trainer holds it: pictures as bytes with their border where they are cropped."""
    task, shape = run["task"], run["data"].get("shape")
    if task["kind"] != "image" or not shape:
        return RESIDENT[task["kind"]]
    channels, height, width = shape
    border = 2 * task["augment"]["crop_padding"] if task["augment"] else 0
    return max(
        RESIDENT["image"], channels * (height + border) * (width + border) * (1 if task["augment"] else size)
    )


def checkpoint_bytes(run: Mapping[str, Any]) -> int:
    """Return the size of the weights that a run leaves for others."""
    stages = sum(bool(stage.get("save")) for stage in run["stages"])
    return stages * numbers_of(run).parameters * BYTES[run["precision"]]


def record_bytes(run: Mapping[str, Any]) -> int:
    """Return about how large a run's record becomes."""
    work, log = work_of(run), run["log"]
    rows = {
        "stage": len(run["stages"]),
        "evaluations": work.evaluations,
        "epochs": work.epochs if log["epochs"] else 0,
        "steps": work.steps // log["steps_every"] if log["steps_every"] else 0,
    }
    return RECORD["head"] + sum(RECORD[name] * number for name, number in rows.items())


@dataclass(frozen=True)
class Disk:
    """Bytes on disk when everything is done."""

    records: int
    checkpoints: int
    tables: int
    data: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(asdict(self).values())


def disk(runs: Iterable[Mapping[str, Any]]) -> Disk:
    """Estimate what runs leave on disk, and the data sets that they read."""
    records = checkpoints = 0
    read: dict[str, int] = {}
    for run in runs:
        records += record_bytes(run)
        checkpoints += checkpoint_bytes(run)
        task = run["task"]
        if not task["synthetic"]:
            read[task["dataset"]] = run["data"]["bytes"]
            if task["model"]["name"] == "distilbert":
                read["distilbert"] = DISTILBERT
    return Disk(records, checkpoints, int(records * TABLES_SHARE), sum(read.values()))
